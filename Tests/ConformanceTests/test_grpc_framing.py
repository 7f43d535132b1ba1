"""gRPC framing on raw HTTP/2: bad prefixes, missing messages, half-closed and cut calls."""

import time

import pytest
from grpc_health.v1 import health_pb2 as standard
from hyperframe import frame as frames

from client import flags
from wire import CANCEL, CHECK, WATCH, Wire, frame_bytes, message

OK, CANCELLED, INVALID_ARGUMENT, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED = 0, 1, 3, 4, 8
UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 12, 13, 14
RST_STREAM = 3


@pytest.fixture
def wire(server):
    with Wire(server.endpoint) as wire:
        yield wire


@pytest.fixture(autouse=True)
def good_client_keeps_working(client):
    yield
    answer = client.standard_health.Check(standard.HealthCheckRequest())
    assert answer.status == standard.HealthCheckResponse.SERVING


def status_of(wire, body, *, path=CHECK, **headers):
    """The gRPC status of a call with that body; the connection must still work after it."""
    request = wire.headers(path, **headers)
    wire.send(request, wire.data(body, request.stream_id))
    fields, _, reset = wire.answer(request.stream_id)
    assert fields.get(":status") == "200", (fields, reset)
    assert "grpc-status" in fields, (fields, reset)
    wire.check()
    return int(fields["grpc-status"]), fields


def test_a_good_call(wire):
    for _ in range(3):
        wire.check()


def test_answers_have_the_content_type_and_no_message(wire):
    status, fields = status_of(wire, message())
    assert status == OK
    assert fields["content-type"].startswith("application/grpc")
    assert not fields.get("grpc-message")


@pytest.mark.parametrize(
    "body",
    [
        b"",  # no message at all
        b"\0",  # a prefix cut short
        b"\0\0\0\0",
        message(b"ab", length=3),  # a message cut short
        message(b"", length=100),
        message() + message(),  # two for a call that takes one
        message() + b"\0\0",
        message(b"", compressed=1),  # compressed, but no encoding named
        message(b"", compressed=2),  # a flag that does not exist
        message(b"", compressed=255),
    ],
)
def test_bad_message_framing_is_an_error(wire, body):
    status, _ = status_of(wire, body)
    assert status in (INTERNAL, INVALID_ARGUMENT, UNIMPLEMENTED)


def test_length_beyond_the_limit_is_refused_before_the_bytes_come(wire):
    request = wire.headers()
    prefix = message(b"x", length=0xFFFFFFFF)
    wire.send(request, wire.data(prefix, request.stream_id, end_stream=False))
    fields, _, _ = wire.answer(request.stream_id)
    assert fields.get("grpc-status") == str(RESOURCE_EXHAUSTED), fields
    wire.check()


def test_message_may_come_in_single_bytes(wire):
    body = message(standard.HealthCheckRequest(service="no.such").SerializeToString())
    request = wire.headers()
    wire.send(request)
    for position, byte in enumerate(body):
        wire.send(wire.data(bytes([byte]), request.stream_id, end_stream=position == len(body) - 1))
    fields, _, _ = wire.answer(request.stream_id)
    assert fields["grpc-status"] == "5"


def test_empty_data_frames_are_ignored(wire):
    request = wire.headers()
    stream = request.stream_id
    empty = wire.data(b"", stream, end_stream=False)
    wire.send(request, empty, wire.data(message(), stream, end_stream=False), empty)
    wire.send(wire.data(b"", stream))
    assert wire.answer(stream)[0]["grpc-status"] == "0"


def test_padded_data_is_read(wire):
    request = wire.headers()
    stream = request.stream_id
    padded = frame_bytes(0, 1 | 8, stream, b"\x20" + message() + b"\0" * 32)
    wire.send(request, padded)
    assert wire.answer(stream)[0]["grpc-status"] == "0"


@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain", "application/grp", None, ""]
)
def test_wrong_content_type_is_415(wire, content_type):
    request = wire.headers(content_type=content_type)
    wire.send(request, wire.data(message(), request.stream_id))
    fields, _, _ = wire.answer(request.stream_id)
    assert fields[":status"] == "415"
    wire.check()


@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc+proto"])
def test_right_content_type_is_accepted(wire, content_type):
    assert status_of(wire, message(), content_type=content_type)[0] == OK


def test_other_http_methods_are_refused(wire):
    for method in ("GET", "PUT", "DELETE"):
        request = wire.headers(p_method=method, end_stream=True)
        wire.send(request)
        fields, _, reset = wire.answer(request.stream_id)
        assert (
            fields.get(":status", "").startswith("4")
            or int(fields.get("grpc-status", 0)) > 0
            or reset
        ), fields
        wire.check()


def test_unknown_encoding_is_unimplemented_and_names_the_known(wire):
    status, fields = status_of(wire, message(b"x", compressed=1), grpc_encoding="snappy-9")
    assert status == UNIMPLEMENTED
    assert "grpc-accept-encoding" in fields


def test_error_message_is_percent_encoded(wire):
    request = standard.HealthCheckRequest(service="pröbe 100%\n").SerializeToString()
    status, fields = status_of(wire, message(request))
    assert status == 5
    assert all(0x20 <= ord(letter) <= 0x7E for letter in fields["grpc-message"])


def test_half_closed_without_a_message_is_an_error(wire):
    for path in (CHECK, WATCH):
        request = wire.headers(path, end_stream=True)
        wire.send(request)
        fields, _, _ = wire.answer(request.stream_id)
        assert int(fields["grpc-status"]) in (INTERNAL, INVALID_ARGUMENT, UNIMPLEMENTED)
    wire.check()


def test_reset_mid_message_leaves_the_connection(wire):
    for _ in range(20):
        request = wire.headers()
        stream = request.stream_id
        wire.send(
            request,
            wire.data(message(b"x" * 10, length=1000), stream, end_stream=False),
            frame_bytes(RST_STREAM, 0, stream, b"\0\0\0\x08"),
        )
    wire.check()


def test_reset_after_the_request_leaves_the_connection(wire):
    for path in (CHECK, WATCH):
        request = wire.headers(path)
        stream = request.stream_id
        wire.send(
            request, wire.data(message(), stream), frame_bytes(RST_STREAM, 0, stream, b"\0\0\0\x08")
        )
    request = wire.headers()
    wire.send(request, wire.data(message(), request.stream_id))
    assert wire.answer(request.stream_id)[0]["grpc-status"] == "0"


def test_deadline_is_kept_by_the_server(wire):
    request = wire.headers(WATCH, grpc_timeout="300m")
    begin = time.monotonic()
    wire.send(request, wire.data(message(), request.stream_id))
    fields, body, reset = wire.answer(request.stream_id)
    assert 0.2 < time.monotonic() - begin < 30
    assert body, "not even the snapshot"
    assert fields.get("grpc-status") == str(DEADLINE_EXCEEDED) or reset == CANCEL, (fields, reset)
    wire.check()


def test_deadline_too_short_for_anything_is_exceeded(wire):
    request = wire.headers(WATCH, grpc_timeout="1n")
    wire.send(request, wire.data(message(), request.stream_id))
    fields, _, reset = wire.answer(request.stream_id)
    assert fields.get("grpc-status") == str(DEADLINE_EXCEEDED) or reset == CANCEL, (fields, reset)
    wire.check()


@pytest.mark.parametrize("timeout", ["", "abc", "10", "1x", "-1S", "123456789S", "S"])
def test_bad_deadline_is_an_error(wire, timeout):
    assert status_of(wire, message(), grpc_timeout=timeout)[0] in (INTERNAL, INVALID_ARGUMENT)


@pytest.mark.parametrize("timeout", ["1H", "1M", "60S", "60000m", "60000000u", "99999999H"])
def test_every_unit_of_a_deadline_is_read(wire, timeout):
    assert status_of(wire, message(), grpc_timeout=timeout)[0] == OK


def test_connections_cut_mid_request_leave_nothing_behind(server, client):
    for round in range(60):
        wire = Wire(server.endpoint)
        request = wire.headers()
        parts = [
            [wire.data(message(b"x" * 100, length=5000), request.stream_id, end_stream=False)],
            [wire.data(message(), request.stream_id)],
            [],
        ][round % 3]
        wire.send(request, *parts)
        wire.cut()
    client.standard_health.Check(standard.HealthCheckRequest())


def test_stream_with_a_closed_window_does_not_block_others(wire, client, flag_set):
    """A watcher that grants no bytes waits alone; others on the connection go on."""
    for number in range(30):
        client.create(f"f{number}", flag_set=flag_set, metadata={"k": "x" * 4000})
    shrink = frames.SettingsFrame(0, {frames.SettingsFrame.INITIAL_WINDOW_SIZE: 0})
    wire.send(shrink)
    watch = wire.headers(WATCH)
    body = message(flags.WatchFlagsRequest(flag_set=flag_set).SerializeToString())
    wire.send(watch, wire.data(body, watch.stream_id))
    other = wire.headers()
    grow = frames.WindowUpdateFrame(other.stream_id, 1000)
    wire.send(other, wire.data(message(), other.stream_id), grow)
    assert wire.answer(other.stream_id)[0]["grpc-status"] == "0"
