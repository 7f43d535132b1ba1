"""Frames that break HTTP/2: the connection or stream ends with the right error, others live."""

import struct

import pytest
from grpc_health.v1 import health_pb2 as standard
from hyperframe import frame as frames

from wire import (
    COMPRESSION_ERROR,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
    WATCH,
    Ended,
    Wire,
    frame_bytes,
    message,
)

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY = range(8)
WINDOW_UPDATE, CONTINUATION = 8, 9
END_STREAM, END_HEADERS, PADDED, ACK = 1, 4, 8, 1


@pytest.fixture(autouse=True)
def good_client_keeps_working(client, flag_set):
    """A stream that was open before still gets changes after; calls still work."""
    client.create("a", flag_set=flag_set)
    stream = client.watch(flag_set)
    next(stream)
    yield
    changed = client.toggle("a", False, flag_set=flag_set)
    assert next(stream).revision == changed.revision
    stream.cancel()
    answer = client.standard_health.Check(standard.HealthCheckRequest())
    assert answer.status == standard.HealthCheckResponse.SERVING


@pytest.fixture
def wire(server):
    with Wire(server.endpoint) as wire:
        yield wire


def many_continuations(wire):
    """A header block that never ends."""
    parts = [wire.headers(end_headers=False)]
    parts += [frame_bytes(CONTINUATION, 0, 1, b"\x00\x01x\x01y") for _ in range(2000)]
    return parts


CONNECTION_ERRORS = {
    "data_on_stream_0": (
        lambda wire: [frame_bytes(DATA, END_STREAM, 0, b"x")],
        {PROTOCOL_ERROR},
    ),
    "data_on_an_idle_stream": (
        lambda wire: [frame_bytes(DATA, END_STREAM, 7, b"x")],
        {PROTOCOL_ERROR, STREAM_CLOSED},
    ),
    "headers_on_stream_0": (
        lambda wire: [frame_bytes(HEADERS, END_HEADERS, 0, wire.headers().data)],
        {PROTOCOL_ERROR},
    ),
    "headers_on_an_even_stream": (
        lambda wire: [wire.headers(stream=2, end_stream=True)],
        {PROTOCOL_ERROR},
    ),
    "frame_over_the_maximum_size": (
        lambda wire: [
            wire.headers(),
            frame_bytes(DATA, 0, 1, b"x" * (wire.max_frame_size + 1)),
        ],
        {FRAME_SIZE_ERROR},
    ),
    "hpack_index_out_of_range": (
        lambda wire: [frame_bytes(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\x7f")],
        {COMPRESSION_ERROR},
    ),
    "hpack_text_cut_short": (
        lambda wire: [frame_bytes(HEADERS, END_HEADERS | END_STREAM, 1, b"\x40\x0aab")],
        {COMPRESSION_ERROR},
    ),
    "hpack_table_larger_than_allowed": (
        lambda wire: [frame_bytes(HEADERS, END_HEADERS | END_STREAM, 1, b"\x3f\xff\xff\xff\x07")],
        {COMPRESSION_ERROR},
    ),
    "continuation_without_headers": (
        lambda wire: [frame_bytes(CONTINUATION, END_HEADERS, 1, b"")],
        {PROTOCOL_ERROR},
    ),
    "ping_within_a_header_block": (
        lambda wire: [wire.headers(end_headers=False), frame_bytes(PING, 0, 0, b"x" * 8)],
        {PROTOCOL_ERROR},
    ),
    "continuation_of_another_stream": (
        lambda wire: [
            wire.headers(end_headers=False),
            frame_bytes(CONTINUATION, END_HEADERS, 3, b""),
        ],
        {PROTOCOL_ERROR},
    ),
    "continuation_flood": (many_continuations, {PROTOCOL_ERROR, ENHANCE_YOUR_CALM, None}),
    "settings_of_5_bytes": (
        lambda wire: [frame_bytes(SETTINGS, 0, 0, b"12345")],
        {FRAME_SIZE_ERROR},
    ),
    "settings_acknowledgement_with_content": (
        lambda wire: [frame_bytes(SETTINGS, ACK, 0, b"123456")],
        {FRAME_SIZE_ERROR},
    ),
    "settings_on_a_stream": (
        lambda wire: [frame_bytes(SETTINGS, 0, 1, b"")],
        {PROTOCOL_ERROR},
    ),
    "settings_push_of_2": (
        lambda wire: [frame_bytes(SETTINGS, 0, 0, struct.pack(">HI", 2, 2))],
        {PROTOCOL_ERROR},
    ),
    "settings_window_too_large": (
        lambda wire: [frame_bytes(SETTINGS, 0, 0, struct.pack(">HI", 4, 2**31))],
        {FLOW_CONTROL_ERROR},
    ),
    "settings_frame_size_too_small": (
        lambda wire: [frame_bytes(SETTINGS, 0, 0, struct.pack(">HI", 5, 100))],
        {PROTOCOL_ERROR},
    ),
    "reset_of_an_idle_stream": (
        lambda wire: [frame_bytes(RST_STREAM, 0, 9, b"\0\0\0\x08")],
        {PROTOCOL_ERROR},
    ),
    "reset_on_stream_0": (
        lambda wire: [frame_bytes(RST_STREAM, 0, 0, b"\0\0\0\x08")],
        {PROTOCOL_ERROR},
    ),
    "reset_of_3_bytes": (
        lambda wire: [wire.headers(), frame_bytes(RST_STREAM, 0, 1, b"\0\0\0")],
        {FRAME_SIZE_ERROR},
    ),
    "ping_of_7_bytes": (
        lambda wire: [frame_bytes(PING, 0, 0, b"1234567")],
        {FRAME_SIZE_ERROR},
    ),
    "ping_on_a_stream": (
        lambda wire: [frame_bytes(PING, 0, 1, b"12345678")],
        {PROTOCOL_ERROR},
    ),
    "connection_window_overflow": (
        lambda wire: [frame_bytes(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1))] * 2,
        {FLOW_CONTROL_ERROR},
    ),
    "connection_window_update_of_0": (
        lambda wire: [frame_bytes(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0))],
        {PROTOCOL_ERROR},
    ),
    "window_update_of_3_bytes": (
        lambda wire: [frame_bytes(WINDOW_UPDATE, 0, 0, b"\0\0\1")],
        {FRAME_SIZE_ERROR},
    ),
    "push_promise_from_a_client": (
        lambda wire: [
            wire.headers(),
            frame_bytes(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + wire.encoder.encode([])),
        ],
        {PROTOCOL_ERROR},
    ),
    "padding_longer_than_the_frame": (
        lambda wire: [wire.headers(), frame_bytes(DATA, PADDED, 1, b"\x09abc")],
        {PROTOCOL_ERROR},
    ),
    "goaway_on_a_stream": (
        lambda wire: [frame_bytes(GOAWAY, 0, 1, b"\0" * 8)],
        {PROTOCOL_ERROR},
    ),
}


@pytest.mark.parametrize("name", CONNECTION_ERRORS)
def test_connection_error(wire, name):
    make, codes = CONNECTION_ERRORS[name]
    wire.send(*make(wire))
    code = wire.goaway()
    assert code in codes, f"GOAWAY with {code}, expected one of {codes}"


STREAM_ERRORS = {
    "uppercase_header": [(":method", "POST"), (":scheme", "http"), (":path", "/x"), ("Te", "x")],
    "no_method": [(":scheme", "http"), (":path", "/x")],
    "no_path": [(":method", "POST"), (":scheme", "http")],
    "empty_path": [(":method", "POST"), (":scheme", "http"), (":path", "")],
    "method_twice": [
        (":method", "POST"),
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/x"),
    ],
    "pseudo_header_after_others": [
        (":method", "POST"),
        (":scheme", "http"),
        ("te", "trailers"),
        (":path", "/x"),
    ],
    "unknown_pseudo_header": [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/x"),
        (":colour", "red"),
    ],
    "connection_header": [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/x"),
        ("connection", "close"),
    ],
}


@pytest.mark.parametrize("name", STREAM_ERRORS)
def test_malformed_request_ends_its_stream(wire, name):
    fields = [*STREAM_ERRORS[name], (":authority", "x")]
    if name != "pseudo_header_after_others":
        fields = [fields[-1], *fields[:-1]]
    wire.send(frame_bytes(HEADERS, END_HEADERS | END_STREAM, 1, wire.encoder.encode(fields)))
    wire.next_stream = 3
    answered, _, reset = wire.answer(1)
    refused = answered.get(":status", "").startswith("4")
    assert reset == PROTOCOL_ERROR or refused, (answered, reset)
    wire.check()


def test_stream_window_overflow_ends_the_stream(wire):
    request = wire.headers(WATCH)
    grow = frame_bytes(WINDOW_UPDATE, 0, request.stream_id, struct.pack(">I", 2**31 - 1))
    wire.send(request, grow, grow)
    _, _, reset = wire.answer(request.stream_id)
    assert reset == FLOW_CONTROL_ERROR
    wire.check()


def test_data_after_the_end_of_the_stream_is_an_error(server):
    with Wire(server.endpoint) as wire:
        request = wire.headers(WATCH)
        stream = request.stream_id
        wire.send(request, wire.data(message(), stream), wire.data(b"more", stream))
        try:
            while True:
                frame = wire.read()
                if isinstance(frame, frames.RstStreamFrame | frames.GoAwayFrame):
                    assert frame.error_code == STREAM_CLOSED
                    break
        except Ended:
            raise AssertionError("closed without a word") from None


@pytest.mark.parametrize(
    "preface",
    [
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,  # TLS
        b"\0" * 24,
        bytes(range(256)) * 20,
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /keelson.flags.v1.FlagService/GetFlag HTTP/1.0\r\n\r\n",
    ],
)
def test_what_is_not_http2_is_turned_away(server, preface):
    with Wire(server.endpoint, greet=False) as wire:
        wire.send(preface)
        received = b""
        while True:
            try:
                data = wire.socket.recv(65536)
            except ConnectionResetError:
                break
            if not data:
                break
            received += data
            assert len(received) < 10_000
        assert not received.startswith(b"HTTP/1.1 2")


def test_preface_must_be_followed_by_settings(server):
    with Wire(server.endpoint, greet=False) as wire:
        wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frame_bytes(PING, 0, 0, b"12345678"))
        assert wire.goaway() in (PROTOCOL_ERROR, None)


def test_preface_may_come_byte_by_byte(server):
    with Wire(server.endpoint, greet=False) as wire:
        for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame_bytes(SETTINGS, 0, 0, b""):
            wire.send(bytes([byte]))
        wire.await_settings()
        wire.check()


def test_server_names_its_limits(wire):
    limits = wire.settings
    assert 1 <= limits.get(frames.SettingsFrame.MAX_CONCURRENT_STREAMS, 2**32) <= 100_000
    assert limits.get(frames.SettingsFrame.MAX_HEADER_LIST_SIZE, 2**32) <= 1024 * 1024


def test_streams_over_the_limit_are_refused(wire):
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


def test_unknown_frames_and_settings_are_ignored(wire):
    wire.send(
        frame_bytes(0x77, 0xFF, 0, b"whatever"),
        frame_bytes(0x77, 0, 1, b""),
        frame_bytes(SETTINGS, 0, 0, struct.pack(">HI", 0x7777, 12345)),
        frame_bytes(PRIORITY, 0, 5, b"\0\0\0\3\x10"),
    )
    wire.check()


def test_ping_is_answered(wire):
    wire.send(frame_bytes(PING, 0, 0, b"12345678"))
    while True:
        frame = wire.read()
        if isinstance(frame, frames.PingFrame):
            assert "ACK" in frame.flags
            assert frame.opaque_data == b"12345678"
            break
    wire.check()


@pytest.mark.parametrize(
    "flood",
    [
        frame_bytes(PING, 0, 0, b"12345678"),
        frame_bytes(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535)),
    ],
)
def test_flood_of_control_frames_is_ended_or_borne(server, client, flood):
    before = server.resident_bytes()
    with Wire(server.endpoint) as wire:
        try:
            for _ in range(50):
                wire.socket.settimeout(0.5)
                wire.socket.sendall(flood * 1000)
        except OSError:
            pass  # Closed, or no longer read: both end the flood.
        assert client.standard_health.Check(standard.HealthCheckRequest(), timeout=5).status == 1
    assert server.resident_bytes() - before < 64 * 1024 * 1024


def test_rapid_reset_is_ended_or_borne(server, client):
    before = server.resident_bytes()
    with Wire(server.endpoint) as wire:
        wire.socket.settimeout(0.5)
        try:
            for _ in range(5000):
                request = wire.headers(WATCH)
                reset = frame_bytes(RST_STREAM, 0, request.stream_id, b"\0\0\0\x08")
                wire.socket.sendall(
                    request.serialize()
                    + wire.data(message(), request.stream_id).serialize()
                    + reset
                )
        except OSError:
            pass
        assert client.standard_health.Check(standard.HealthCheckRequest(), timeout=5).status == 1
    assert server.resident_bytes() - before < 64 * 1024 * 1024
