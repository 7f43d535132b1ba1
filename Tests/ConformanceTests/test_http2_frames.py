"""Frames that break HTTP/2: the connection or stream ends with the right error, others live.

Named by the section of RFC 9113 or RFC 7541 that has the rule; the tables stand in frame_cases.py
and field_cases.py.
"""

import struct

import pytest
from grpc_health.v1 import health_pb2 as standard
from hyperframe import frame as frames

from field_cases import GOOD, MALFORMED, ODD_BUT_GOOD
from frame_cases import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_CASES,
    GOAWAY,
    HEADERS,
    PING,
    SETTINGS,
    GoAway,
    Reset,
    Works,
    grow,
    setting,
)
from wire import (
    FLOW_CONTROL_ERROR,
    NO_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    WATCH,
    Wire,
    frame_bytes,
    message,
)


@pytest.fixture(autouse=True)
def good_client_keeps_working(client, quiet_watch):
    """Calls on another connection still work, and a stream that was open before lives."""
    yield
    answer = client.standard_health.Check(standard.HealthCheckRequest(), timeout=20)
    assert answer.status == standard.HealthCheckResponse.SERVING


@pytest.fixture
def wire(server):
    with Wire(server.endpoint) as wire:
        yield wire


def fields_frame(wire, fields, flags=END_HEADERS | END_STREAM, stream=1):
    wire.next_stream = stream + 2
    return frame_bytes(HEADERS, flags, stream, wire.encoder.encode(fields))


def status_of(wire, stream):
    fields, _, reset = wire.answer(stream)
    assert reset in (None, NO_ERROR)
    return fields.get("grpc-status")


@pytest.mark.parametrize("name", FRAME_CASES)
def test_frame(wire, name):
    make, expected = FRAME_CASES[name]
    wire.send(*make(wire))
    match expected:
        case GoAway(codes):
            code = wire.goaway()
            assert code in codes, f"GOAWAY with {code}, expected one of {codes}"
        case Reset(codes, stream):
            _, _, code = wire.answer(stream, until_reset=True)
            assert code in codes, f"RST_STREAM with {code}, expected one of {codes}"
            wire.check(stream=1001)
        case Works():
            wire.check(stream=1001)


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_request(wire, name):
    wire.send(fields_frame(wire, MALFORMED[name]))
    answered, _, reset = wire.answer(1)
    assert (answered, reset) == ({}, PROTOCOL_ERROR)
    wire.check()


@pytest.mark.parametrize("name", ODD_BUT_GOOD)
def test_odd_request(wire, name):
    wire.send(fields_frame(wire, ODD_BUT_GOOD[name], END_HEADERS), wire.data(message(), 1))
    assert status_of(wire, 1) == "0"


@pytest.mark.parametrize("kind", ["short", "long", "none", "twice"])
def test_rfc9113_8_1_1_content_length(wire, kind):
    """A body that is not as long as content-length says makes the request malformed."""
    given = {"short": ["9"], "long": ["3"], "none": ["5"], "twice": ["5", "5"]}[kind]
    fields = [*GOOD, *[("content-length", each) for each in given]]
    if kind == "none":
        wire.send(fields_frame(wire, fields))
    else:
        wire.send(fields_frame(wire, fields, END_HEADERS), wire.data(message(), 1))
    answered, _, reset = wire.answer(1)
    assert (answered, reset) == ({}, PROTOCOL_ERROR)
    wire.check()


def test_rfc9113_8_1_1_content_length_that_fits(wire):
    wire.send(fields_frame(wire, [*GOOD, ("content-length", "5")], END_HEADERS))
    wire.send(wire.data(message(), 1))
    assert status_of(wire, 1) == "0"


def test_rfc9113_8_1_trailers_of_a_request(wire):
    wire.send(
        fields_frame(wire, GOOD, END_HEADERS),
        wire.data(message(), 1, end_stream=False),
        fields_frame(wire, [("x-trailer", "x")]),
    )
    assert status_of(wire, 1) == "0"


@pytest.mark.parametrize(
    ("fields", "flags"),
    [
        ([("x-trailer", "x")], END_HEADERS),  # 8.1: trailers must end the stream
        ([(":path", "/x")], END_HEADERS | END_STREAM),  # 8.3: no pseudo fields in trailers
        ([("X-Upper", "x")], END_HEADERS | END_STREAM),
    ],
)
def test_rfc9113_8_1_malformed_trailers(wire, fields, flags):
    wire.send(fields_frame(wire, GOOD, END_HEADERS), fields_frame(wire, fields, flags))
    _, _, reset = wire.answer(1)
    assert reset == PROTOCOL_ERROR
    wire.check()


def test_rfc9113_4_3_blocks_of_malformed_requests_are_decoded(wire):
    """The table of the compression holds what a refused block put into it."""
    wire.send(fields_frame(wire, [*GOOD, ("x-remembered", "by both"), ("X-Upper", "x")]))
    assert wire.answer(1)[2] == PROTOCOL_ERROR
    again = fields_frame(wire, [*GOOD, ("x-remembered", "by both")], END_HEADERS, stream=3)
    assert b"remembered" not in again
    wire.send(again, wire.data(message(), 3))
    assert status_of(wire, 3) == "0"


def read_until(wire, kind):
    while True:
        frame = wire.read()
        if isinstance(frame, frames.HeadersFrame):
            wire.decoder.decode(frame.data)
        if isinstance(frame, kind):
            return frame


def test_rfc9113_6_7_ping_is_answered_with_its_bytes(wire):
    wire.send(frame_bytes(PING, 0, 0, b"12345678"))
    frame = read_until(wire, frames.PingFrame)
    assert ("ACK" in frame.flags, frame.opaque_data) == (True, b"12345678")
    wire.check()


def test_rfc9113_6_5_3_settings_are_acknowledged_in_order(wire):
    wire.send(setting(4, 100), setting(4, 200), frame_bytes(PING, 0, 0, b"12345678"))
    seen = []
    while not seen or seen[-1] != "ping":
        frame = wire.read()
        if "ACK" in frame.flags:
            seen.append("ping" if isinstance(frame, frames.PingFrame) else "settings")
    assert seen.count("settings") >= 2


def test_rfc9113_6_5_3_the_last_value_counts(wire):
    parameters = struct.pack(">HIHI", 4, 0, 4, 3)
    wire.send(frame_bytes(SETTINGS, 0, 0, parameters))
    request = wire.headers()
    wire.send(request, wire.data(message(), request.stream_id))
    frame = read_until(wire, frames.DataFrame)
    assert len(frame.data) == 3


def test_rfc9113_6_9_1_no_data_beyond_the_window(wire):
    wire.send(setting(4, 2))
    request = wire.headers()
    stream = request.stream_id
    wire.send(request, wire.data(message(), stream), frame_bytes(PING, 0, 0, b"12345678"))
    data = read_until(wire, frames.DataFrame)
    assert len(data.data) == 2
    wire.send(grow(stream, 1))
    assert len(read_until(wire, frames.DataFrame).data) == 1
    wire.send(grow(stream, 1000))
    assert status_of(wire, stream) == "0"


def test_rfc9113_6_9_2_a_window_below_zero_grows_again(wire):
    wire.send(setting(4, 3))
    request = wire.headers()
    stream = request.stream_id
    wire.send(request, wire.data(message(), stream))
    assert len(read_until(wire, frames.DataFrame).data) == 3
    wire.send(setting(4, 0), grow(stream, 3), frame_bytes(PING, 0, 0, b"12345678"))
    # The window is 0 now: the answer to the ping comes ahead of any more data.
    frame = read_until(wire, (frames.PingFrame, frames.DataFrame))
    assert isinstance(frame, frames.PingFrame)
    wire.send(grow(stream, 100))
    assert status_of(wire, stream) == "0"


def test_rfc9113_6_9_2_settings_open_a_shut_window(wire):
    wire.send(setting(4, 0))
    requests = [wire.headers() for _ in range(3)]
    for request in requests:
        wire.send(request, wire.data(message(), request.stream_id))
    wire.send(frame_bytes(PING, 0, 0, b"12345678"))
    assert isinstance(read_until(wire, (frames.PingFrame, frames.DataFrame)), frames.PingFrame)
    wire.send(setting(4, 1000))
    for request in requests:
        read_until(wire, frames.DataFrame)
    wire.check()


def test_rfc9113_6_9_1_data_beyond_the_servers_window(launch):
    """More than the window at once, in one piece: the server sees it before it can open it."""
    server = launch(limits=["stream-window-size=65535", "connection-window-size=65535"])
    with Wire(server.endpoint) as wire:
        piece = frame_bytes(DATA, 0, 1, message(bytes(16379)))
        wire.send(wire.headers(WATCH, 1), piece * 7)
        assert wire.goaway() == FLOW_CONTROL_ERROR
    with Wire(server.endpoint) as other:
        other.check()


def test_rfc9113_6_8_calls_go_on_after_the_clients_goaway(wire):
    request = wire.headers()
    wire.send(request, frame_bytes(GOAWAY, 0, 0, bytes(8)), wire.data(message(), request.stream_id))
    assert status_of(wire, request.stream_id) == "0"


def test_rfc9113_5_1_2_the_limit_is_announced(wire):
    limits = wire.settings
    assert limits[frames.SettingsFrame.MAX_CONCURRENT_STREAMS] == 1000
    assert limits[frames.SettingsFrame.MAX_HEADER_LIST_SIZE] == 16384


def test_rfc9113_5_1_2_streams_over_the_limit(wire):
    limit = wire.settings[frames.SettingsFrame.MAX_CONCURRENT_STREAMS]
    requests = [wire.headers(WATCH) for _ in range(limit + 1)]
    wire.send(*requests)
    # RFC 9113, 5.1.2, has a stream error here, and 5.4.1 lets an endpoint treat that as an error
    # of the connection, which nghttp2 does once its SETTINGS have been acknowledged.
    try:
        _, _, reset = wire.answer(requests[-1].stream_id)
    except AssertionError as closed:
        assert "GOAWAY 1" in str(closed)
    else:
        assert reset in (REFUSED_STREAM, PROTOCOL_ERROR)


def test_rfc9113_3_4_preface_must_be_followed_by_settings(server):
    with Wire(server.endpoint, greet=False) as wire:
        wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frame_bytes(PING, 0, 0, b"12345678"))
        assert wire.goaway() in (PROTOCOL_ERROR, None)


def test_rfc9113_3_4_preface_may_come_byte_by_byte(server):
    with Wire(server.endpoint, greet=False) as wire:
        for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame_bytes(SETTINGS, 0, 0, b""):
            wire.send(bytes([byte]))
        wire.await_settings()
        wire.check()
