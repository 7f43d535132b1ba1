"""Peers that take their time: each phase of a connection has a limit, and others are served."""

import select
import threading
import time

import pytest
from hyperframe import frame as frames

from attacks import MIB, Attacked, create_large_flag
from frame_cases import grow, setting
from wire import CANCEL, CHECK, PREFACE, frame_bytes, message

pytestmark = pytest.mark.waits

SETTINGS = 4
GET_FLAG = "/keelson.flags.v1.FlagService/GetFlag"
GET_LARGE = message(b"\x12\x05large")
DEADLINE_EXCEEDED = "4"
LIMIT_SECONDS = 1
# Each limit is a second; what it ends has to be over after that, and not much later.
LATEST_SECONDS = LIMIT_SECONDS + 4
# What eight stalled readers ask for comes to 380 MiB; each may have 4 MiB of it waiting. On a busy
# machine answers on their way from the database come on top of that.
ANSWERS, ANSWER_BYTES = 100, 480_000
MEMORY_BYTES = 224 * MIB
LIMITS = [
    "preface-timeout=1s",
    "headers-timeout=1s",
    "request-message-timeout=1s",
    "write-timeout=1s",
    "stream-stall-timeout=1s",
    "connection-idle-timeout=2s",
    "connection-send-queue-size=4MiB",
]


@pytest.fixture(scope="module")
def impatient(binary, tmp_path_factory):
    """A server that waits a second for anything."""
    from server import KeelsonServer

    server = KeelsonServer(tmp_path_factory.mktemp("impatient"), limits=LIMITS).start()
    create_large_flag(server, "large", ANSWER_BYTES)
    yield server
    server.stop()


@pytest.fixture
def attacked(impatient, request):
    with Attacked(impatient, request.node.name.removeprefix("test_")) as attacked:
        yield attacked
        assert attacked.grown() < MEMORY_BYTES


def in_parallel(count, run):
    """Runs `run` so many times at once; fails when one of them does."""
    failures = []

    def guarded():
        try:
            run()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=guarded) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if failures:
        raise failures[0]


def dribble(wire, pieces, pause_seconds=0.2):
    """Sends piece after piece until the server has had enough; seconds that it took."""
    begin = time.monotonic()
    wire.socket.settimeout(pause_seconds)
    for piece in pieces:
        try:
            wire.socket.sendall(piece)
            while True:
                if not wire.socket.recv(65536):
                    return time.monotonic() - begin
        except TimeoutError:
            pass
        except OSError:
            return time.monotonic() - begin
        if time.monotonic() - begin > LATEST_SECONDS:
            break
    raise AssertionError(f"still open after {time.monotonic() - begin:.1f} s")


def endless(piece):
    while True:
        yield piece


PHASES = {
    "connected_and_silent": lambda wire: endless(b""),
    "half_a_preface": lambda wire: [PREFACE[:10], *[b""] * 100],
    "preface_byte_by_byte": lambda wire: (bytes([byte]) for byte in PREFACE),
    "preface_without_settings": lambda wire: [PREFACE, *[b""] * 100],
    "half_of_settings": lambda wire: [
        PREFACE + frame_bytes(SETTINGS, 0, 0, bytes(3), 6),
        *[b""] * 100,
    ],
    "half_a_header_block": lambda wire: [
        PREFACE + frame_bytes(SETTINGS, 0, 0, b""),
        wire.headers(end_headers=False).serialize(),
        *[b""] * 100,
    ],
    "header_block_byte_by_byte": lambda wire: [
        PREFACE + frame_bytes(SETTINGS, 0, 0, b""),
        *[bytes([byte]) for byte in wire.headers(end_headers=False).serialize()],
    ],
}


@pytest.mark.parametrize("phase", PHASES)
def test_slowloris(attacked, phase):
    def run():
        with attacked.wire(greet=False) as wire:
            took = dribble(wire, PHASES[phase](wire))
            assert took > LIMIT_SECONDS / 2

    in_parallel(20, run)


@pytest.mark.parametrize("kind", ["nothing", "part_of_a_message", "a_byte_now_and_then", "no_end"])
def test_a_request_that_does_not_get_whole(attacked, kind):
    """A unary call whose message is begun and never ended, or whose request is."""

    def run():
        with attacked.wire() as wire:
            begin = time.monotonic()
            request = wire.headers(CHECK)
            stream = request.stream_id
            wire.send(request)
            if kind != "nothing":
                body = message() if kind == "no_end" else message(bytes(1000), length=4000)
                wire.send(wire.data(body, stream, end_stream=False))
            stop = threading.Event()

            def trickle():
                while not stop.wait(0.3):
                    wire.send(wire.data(b"x", stream, end_stream=False))

            writer = threading.Thread(target=trickle)
            if kind == "a_byte_now_and_then":
                writer.start()
            fields, _, _ = wire.answer(stream)
            stop.set()
            if writer.ident:
                writer.join()
            assert fields["grpc-status"] == DEADLINE_EXCEEDED
            assert LIMIT_SECONDS / 2 < time.monotonic() - begin < LATEST_SECONDS
            wire.check()

    in_parallel(10, run)


def stalled_reader(attacked, reads):
    """Asks for much and reads nothing, or a byte now and then."""
    with attacked.wire(greet=False, receive_bytes=4096) as wire:
        reader = wire.socket
        wire.send(PREFACE, setting(4, 2**31 - 1), grow(0, 2**31 - 1 - 65535))
        begin = time.monotonic()
        for _ in range(ANSWERS):
            request = wire.headers(GET_FLAG)
            wire.send(request, wire.data(GET_LARGE, request.stream_id))
        closed = select.poll()
        closed.register(reader, select.POLLRDHUP)
        while not closed.poll(100):
            assert time.monotonic() - begin < LATEST_SECONDS, "the server went on waiting"
            if reads:
                reader.recv(1)


@pytest.mark.parametrize("reads", [False, True], ids=["nothing", "a_byte_now_and_then"])
def test_stalled_reader(attacked, reads):
    in_parallel(8, lambda: stalled_reader(attacked, reads))


@pytest.mark.parametrize("shut", ["stream", "connection"])
def test_zero_window(attacked, shut):
    """A window that is never opened: the stream is reset, the connection lives on."""

    def run():
        with attacked.wire() as wire:
            wire.send(setting(4, 0 if shut == "stream" else 2**31 - 1))
            begin = time.monotonic()
            request = wire.headers(GET_FLAG)
            wire.send(request, wire.data(GET_LARGE, request.stream_id))
            while True:
                frame = wire.read()
                if isinstance(frame, frames.HeadersFrame):
                    wire.decoder.decode(frame.data)
                if isinstance(frame, frames.RstStreamFrame):
                    break
            assert frame.error_code == CANCEL
            assert LIMIT_SECONDS / 2 < time.monotonic() - begin < LATEST_SECONDS
            wire.send(grow(0, 100_000), setting(4, 65535))
            wire.check()

    in_parallel(8, run)


def test_an_idle_connection_is_ended_in_order(attacked):
    with attacked.wire() as wire:
        wire.check()
        begin = time.monotonic()
        assert wire.goaway() == 0
        assert time.monotonic() - begin < LATEST_SECONDS + 2
