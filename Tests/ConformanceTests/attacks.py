"""A server under attack: a good client calls it all the while, and its memory is watched."""

import functools
import threading
import time

import grpc
from grpc_health.v1 import health_pb2 as standard

from client import Client
from wire import Wire

GOOD_CALL_SECONDS = 2
GOOD_CALLS = 100
SAMPLE_SECONDS = 0.02
MIB = 1024 * 1024

# Filled by the tests, printed at the end of the run: attack, MiB before, at most and after, calls
# of the good client, the slowest of them in milliseconds.
memory_table = []


class GoodClient:
    """Calls the server without a pause until it is stopped; each call has a deadline."""

    def __init__(self, address):
        self.client = Client(address).ready()
        self.calls, self.slowest, self.failures = 0, 0.0, []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.stopping.is_set():
            begin = time.monotonic()
            try:
                self.client.standard_health.Check(
                    standard.HealthCheckRequest(), timeout=GOOD_CALL_SECONDS
                )
            except grpc.RpcError as error:
                self.failures.append(f"{error.code()}: {error.details()}")
            self.slowest = max(self.slowest, time.monotonic() - begin)
            self.calls += 1

    def stop(self):
        self.stopping.set()
        self.thread.join(GOOD_CALL_SECONDS + 5)
        self.client.close()


class Memory:
    """The server's resident memory: before, and at most since."""

    def __init__(self, server):
        self.server = server
        self.before = self.peak = server.resident_bytes()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.stopping.wait(SAMPLE_SECONDS):
            self.peak = max(self.peak, self.server.resident_bytes())

    def stop(self):
        self.stopping.set()
        self.thread.join()
        self.after = self.server.resident_bytes()
        self.peak = max(self.peak, self.after)


class Attacked:
    """The server, its good client and its memory while an attack goes on."""

    def __init__(self, server, name):
        self.server, self.name = server, name

    def __enter__(self):
        self.memory = Memory(self.server)
        self.good = GoodClient(self.server.address)
        return self

    def __exit__(self, kind, *_):
        self.good.stop()
        self.memory.stop()
        memory, good = self.memory, self.good
        memory_table.append(
            (self.name, memory.before, memory.peak, memory.after, good.calls, good.slowest)
        )
        if kind is None:
            assert self.server.is_running(), self.server.log_text()[-3000:]
            assert good.calls > 0
            assert not good.failures, good.failures[:5]

    def wire(self, **options):
        return Wire(self.server.endpoint, **options)

    def grown(self):
        """Bytes by which the memory has grown at most."""
        return self.memory.peak - self.memory.before


def again_and_again(attack):
    """Carries an attack out until the good client has made a hundred calls."""

    @functools.wraps(attack)
    def run(attacked, **parameters):
        attack(attacked, **parameters)
        while attacked.good.calls < GOOD_CALLS and not attacked.good.failures:
            attack(attacked, **parameters)

    return run


def flood(wire, piece, times):
    """Sends a piece again and again; true once the server has closed or does not read any more."""
    wire.socket.settimeout(5)
    try:
        for _ in range(times):
            wire.socket.sendall(piece)
    except OSError:
        return True
    return False


def ending(wire, seconds=10):
    """The GOAWAY that the server sends before it closes: code and text; None without one.

    Fails when it does not close in time.
    """
    wire.socket.settimeout(seconds)
    goaway = wire.last_goaway()
    return None if goaway is None else (goaway.error_code, goaway.additional_data)


def create_large_flag(server, key, value_bytes):
    """A flag whose reading answers with about so many bytes."""
    client = Client(server.address).ready()
    size = 60_000
    variants = {f"v{number}": "x" * size for number in range(max(1, value_bytes // size))}
    client.create(key, variants=variants, default="v0")
    client.close()
