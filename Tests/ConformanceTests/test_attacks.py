"""Clients that send what costs them little and the server much; docs/operations.md has the table.

Each attack is carried out while a good client on another connection makes calls that must all
succeed in time, and the server's memory must stay bounded.
"""

import gzip
import struct
import zlib

import pytest
from hyperframe import frame as frames

from attacks import MIB, Attacked, again_and_again, create_large_flag, ending, flood
from frame_cases import CANCELLED, DATA, END_HEADERS, END_STREAM, HEADERS, grow, setting
from wire import (
    CHECK,
    ENHANCE_YOUR_CALM,
    PROTOCOL_ERROR,
    STREAM_CLOSED,
    WATCH,
    Wire,
    frame_bytes,
    message,
)

PRIORITY, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 2, 3, 4, 6, 8, 9
GET_FLAG = "/keelson.flags.v1.FlagService/GetFlag"
RESOURCE_EXHAUSTED, INTERNAL = "8", "13"
LIMITS = [
    "idle-frame-burst=300",
    "idle-frame-rate=10",
    "stream-reset-burst=300",
    "stream-reset-rate=10",
    "connection-request-buffer-size=8MiB",
    "request-buffer-size=16MiB",
    "connection-send-queue-size=4MiB",
    "write-timeout=1s",
]
MEMORY_BYTES = 96 * MIB


@pytest.fixture(scope="module")
def small(binary, tmp_path_factory):
    """A server whose limits are soon reached."""
    from server import KeelsonServer

    server = KeelsonServer(tmp_path_factory.mktemp("attacked"), limits=LIMITS).start()
    create_large_flag(server, "large", 500_000)
    yield server
    server.stop()


@pytest.fixture
def attacked(small, request):
    name = request.node.name.removeprefix("test_")
    with Attacked(small, name) as attacked:
        yield attacked
        assert attacked.grown() < MEMORY_BYTES, f"{attacked.grown() // MIB} MiB"


@again_and_again
def test_rapid_reset(attacked):
    """CVE-2023-44487: each request is taken back at once."""
    with attacked.wire() as wire:
        pairs = [
            wire.headers(WATCH, 2 * n + 1).serialize()
            + wire.data(message(), 2 * n + 1).serialize()
            + frame_bytes(RST_STREAM, 0, 2 * n + 1, CANCELLED)
            for n in range(5000)
        ]
        wire.send(b"".join(pairs))
        code, said = ending(wire)
        assert (code, b"RST_STREAM" in said) == (ENHANCE_YOUR_CALM, True), said


@again_and_again
def test_continuation_flood(attacked):
    """CVE-2024-28182: a header block that never ends."""
    with attacked.wire() as wire:
        wire.send(wire.headers(end_headers=False))
        wire.send(frame_bytes(CONTINUATION, 0, 1, b"\x00\x01x\x01y") * 5000)
        assert ending(wire)[0] == ENHANCE_YOUR_CALM


FLOODS = {
    "settings": (setting(4, 65535), b"SETTINGS"),
    "settings_without_parameters": (frame_bytes(SETTINGS, 0, 0, b""), b"SETTINGS"),
    "ping": (frame_bytes(PING, 0, 0, b"12345678"), b"too_many_pings"),
    "priority": (frame_bytes(PRIORITY, 0, 1, b"\0\0\0\3\x10"), b"PRIORITY"),
    "priority_of_itself": (frame_bytes(PRIORITY, 0, 1, b"\0\0\0\1\x10"), b"PRIORITY"),
    "window_update": (grow(0, 1), b"WINDOW_UPDATE"),
    "empty_data": (frame_bytes(DATA, 0, 1, b""), b"empty DATA"),
    "padded_empty_data": (frame_bytes(DATA, 8, 1, b"\x03abc"), b"empty DATA"),
}


@pytest.mark.parametrize("kind", FLOODS)
@again_and_again
def test_flood(attacked, kind):
    piece, text = FLOODS[kind]
    with attacked.wire() as wire:
        wire.send(wire.headers(WATCH, 1), piece * 2000)
        code, said = ending(wire)
        assert (code, text in said) == (ENHANCE_YOUR_CALM, True), said


@again_and_again
def test_frames_of_unknown_types_are_borne(attacked):
    """They cost as much to send as to skip."""
    with attacked.wire() as wire:
        assert not flood(wire, frame_bytes(0x77, 0, 0, b"") * 1000, 100)
        wire.check()


@again_and_again
def test_hpack_bomb(attacked):
    """A small block that unpacks into a large one: refused, and after a while cut off."""
    with attacked.wire() as wire:
        name = b"\x40\x01x\x7f\xa1\x1e" + b"y" * 4000  # 4,000 bytes into the table
        first = wire.encoder.encode(
            [(":method", "POST"), (":scheme", "http"), (":path", CHECK), (":authority", "x")]
        )
        wire.send(frame_bytes(HEADERS, END_HEADERS | END_STREAM, 1, first + name + b"\xbe" * 12000))
        fields, _, _ = wire.answer(1)
        assert (fields[":status"], fields["grpc-status"]) == ("431", RESOURCE_EXHAUSTED)
        bomb = b"\x83\x86\x84\x01\x01x" + b"\xbe" * 9  # POST http / of x, and 36,000 bytes
        bombs = [
            frame_bytes(HEADERS, END_HEADERS | END_STREAM, 2 * n + 3, bomb) for n in range(1000)
        ]
        wire.send(*bombs)
        code, said = ending(wire)
        assert (code, b"header lists" in said) == (ENHANCE_YOUR_CALM, True), said


def one_reset(wire, way, stream):
    """What makes the server reset a stream of a running call."""
    match way:
        case "window_overflow":
            return [wire.headers(WATCH, stream), grow(stream, 2**31 - 1)]
        case "body_over_its_length":
            return [wire.headers(WATCH, stream, content_length="3"), wire.data(message(), stream)]
        case "body_short_of_its_length":
            return [wire.headers(WATCH, stream, content_length="9"), wire.data(message(), stream)]
        case "malformed_trailers":
            trailers = frame_bytes(HEADERS, END_HEADERS, stream, b"\x00\x01x\x01y")
            return [wire.headers(WATCH, stream), trailers]
        case "malformed_request":
            return [wire.headers(WATCH, stream, Upper="x")]


@pytest.mark.parametrize(
    "way",
    [
        "window_overflow",
        "body_over_its_length",
        "body_short_of_its_length",
        "malformed_trailers",
        "malformed_request",
    ],
)
@again_and_again
def test_made_you_reset(attacked, way):
    """CVE-2025-8671: the server is made to reset streams, whose handlers go on."""
    with attacked.wire() as wire:
        for each in range(1000):
            wire.send(*one_reset(wire, way, 2 * each + 1))
        code, said = ending(wire)
        assert (code, b"reset" in said) == (ENHANCE_YOUR_CALM, True), said


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (grow(1, 0), PROTOCOL_ERROR),
        (frame_bytes(DATA, END_STREAM, 1, b"more"), STREAM_CLOSED),
        (frame_bytes(RST_STREAM, 0, 1, b""), 6),
    ],
    ids=["zero_increment", "data_on_a_half_closed_stream", "reset_without_a_code"],
)
@again_and_again
def test_made_you_reset_ends_the_connection(attacked, frame, code):
    """What could be answered with a reset, and is answered with GOAWAY the first time."""
    with attacked.wire() as wire:
        wire.send(wire.headers(WATCH, 1), wire.data(message(), 1), frame)
        assert ending(wire)[0] == code


@again_and_again
def test_outbound_queue_of_acknowledgements(attacked):
    """Causes answers and reads none of them."""
    with attacked.wire(receive_bytes=4096) as wire:
        request = wire.headers("/no.such/Method", 1)
        block = request.data
        number = 1
        wire.socket.settimeout(5)
        try:
            while number < 400_000:
                pieces = []
                for _ in range(500):
                    pieces.append(frame_bytes(HEADERS, END_HEADERS | END_STREAM, number, block))
                    number += 2
                wire.socket.sendall(b"".join(pieces))
        except OSError:
            return
        raise AssertionError("the server went on")


@again_and_again
def test_outbound_queue_of_large_answers(attacked):
    """Asks for far more than it reads: the calls beyond the queue's limit are refused."""
    body = message(b"\x12\x05large")
    with attacked.wire() as wire:
        wire.send(setting(4, 2**31 - 1))
        calls = 600
        for _ in range(calls):
            request = wire.headers(GET_FLAG)
            wire.send(request, wire.data(body, request.stream_id))
        refused = 0
        while refused < calls - 20:
            frame = wire.read()
            if isinstance(frame, frames.HeadersFrame):
                fields = dict(wire.decoder.decode(frame.data))
                refused += fields.get("grpc-status") == RESOURCE_EXHAUSTED
        # Some got their answer into the queue; all others were told to come back.
        assert refused < calls


@again_and_again
def test_messages_that_never_end(attacked):
    """A thousand streams with most of a message each: the buffer has a limit."""
    part = message(bytes(300_000), length=4_000_000)
    with attacked.wire() as wire:
        opened = [wire.headers(CHECK) for _ in range(200)]
        refused = set()
        for request in opened:
            wire.send(request)
            for start in range(0, len(part), 16384):
                piece = part[start : start + 16384]
                wire.send(frame_bytes(DATA, 0, request.stream_id, piece))
        while len(refused) < 100:
            frame = wire.read()
            if isinstance(frame, frames.HeadersFrame):
                fields = dict(wire.decoder.decode(frame.data))
                assert fields["grpc-status"] == RESOURCE_EXHAUSTED
                assert "grpc-status-details-bin" in fields
                refused.add(frame.stream_id)


@again_and_again
def test_message_over_the_limit(attacked):
    """Refused at its length, whatever would come."""
    with attacked.wire() as wire:
        for each in range(100):
            request = wire.headers()
            prefix = message(b"x", length=0xFFFFFFFF - each)
            wire.send(request, wire.data(prefix, request.stream_id, end_stream=False))
            fields, _, _ = wire.answer(request.stream_id)
            assert fields["grpc-status"] == RESOURCE_EXHAUSTED
        wire.check()


def gzipped(size):
    """So many zeros, compressed to a thousandth."""
    squeezer = zlib.compressobj(9, zlib.DEFLATED, 31)
    piece = bytes(MIB)
    return b"".join(squeezer.compress(piece) for _ in range(size // MIB)) + squeezer.flush()


@again_and_again
def test_compressed_bomb(attacked):
    """256 KiB that inflate to 256 MiB, on twenty calls."""
    bomb = message(gzipped(256 * MIB), compressed=1)
    assert len(bomb) < MIB // 2
    with attacked.wire() as wire:
        for _ in range(20):
            request = wire.headers(CHECK, grpc_encoding="gzip")
            wire.send(request)
            for start in range(0, len(bomb), 16384):
                piece = bomb[start : start + 16384]
                is_last = start + 16384 >= len(bomb)
                wire.send(wire.data(piece, request.stream_id, end_stream=is_last))
            fields, _, _ = wire.answer(request.stream_id)
            assert fields["grpc-status"] == RESOURCE_EXHAUSTED, fields


@again_and_again
def test_compressed_garbage(attacked):
    """What is no gzip, or ends too early, is an error of its call alone."""
    good = gzip.compress(b"")
    with attacked.wire() as wire:
        for body in (b"", b"\x1f\x8b", good[:-1], b"x" * 5000, good + b"more", bytes(9)):
            request = wire.headers(CHECK, grpc_encoding="gzip")
            wire.send(request, wire.data(message(body, compressed=1), request.stream_id))
            fields, _, _ = wire.answer(request.stream_id)
            assert fields["grpc-status"] == INTERNAL, (body, fields)
        wire.check()


GARBAGE = {
    "preface_with_a_flaw": b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,
    "zeros": b"\0" * 24,
    "all_bytes": bytes(range(256)) * 200,
    "a_long_line": b"A" * 100_000,
}


def everything(endpoint, sent):
    """All that the server says to these bytes until it closes."""
    received = b""
    with Wire(endpoint, greet=False) as wire:
        wire.send(sent)
        while True:
            try:
                data = wire.socket.recv(65536)
            except ConnectionResetError:
                return received
            if not data:
                return received
            received += data


@pytest.mark.parametrize("kind", GARBAGE)
@again_and_again
def test_garbage_before_the_preface(attacked, kind):
    for _ in range(50):
        received = everything(attacked.server.endpoint, GARBAGE[kind])
        # At most SETTINGS and a GOAWAY of PROTOCOL_ERROR.
        assert len(received) < 200
        assert b"HTTP/1.1 2" not in received


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /grpc.health.v1.Health/Check HTTP/1.0\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    ],
)
@again_and_again
def test_http1_is_told_to_speak_http2(attacked, request_bytes):
    received = everything(attacked.server.endpoint, request_bytes)
    head, _, text = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 505 ")
    assert b"HTTP/2" in text
    assert struct.pack(">I", 0) not in received  # no frame behind it
