"""Above its limits the server refuses at once, and says when to come again."""

import threading
import time

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2 as standard

from client import Client, details, refused
from wire import CHECK, WATCH, Wire, message

CAP = 20
REFUSALS = 2000
RESOURCE_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture
def full(launch):
    """A server whose running calls are all taken by watches that go on; and their connection."""
    server = launch(
        limits=[f"running-calls={CAP}", "overload-retry-delay=1500ms", "connections=10"]
    )
    with Wire(server.endpoint) as wire:
        for _ in range(CAP):
            request = wire.headers(WATCH)
            wire.send(request, wire.data(message(), request.stream_id))
            # Its first message: the handler runs.
            while not getattr(wire.read(), "data", b"").startswith(b"\0\0"):
                pass
        yield server, wire


def test_calls_above_the_cap_are_refused_quickly(full, terminal):
    server, wire = full
    client = Client(server.address).ready()
    took = []
    for _ in range(REFUSALS):
        begin = time.monotonic()
        with pytest.raises(grpc.RpcError) as caught:
            client.standard_health.Check(standard.HealthCheckRequest(), timeout=2)
        took.append(time.monotonic() - begin)
        assert caught.value.code() == RESOURCE_EXHAUSTED
    (retry,) = details(caught.value, error_details_pb2.RetryInfo)
    assert retry.retry_delay.ToTimedelta().total_seconds() == 1.5
    assert f"({CAP})" in caught.value.details()
    took.sort()
    p99 = took[int(0.99 * REFUSALS)]
    p50 = took[REFUSALS // 2]
    terminal(f"refusal for overload: p50 {p50 * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms")
    assert p99 < 0.25
    assert server.log_text().count("A call was refused") < 20, "one line a second at most"
    assert server.log_text().count("RESOURCE_EXHAUSTED") == 0
    # One that ends makes room for one.
    wire.close()
    answered = threading.Event()
    for _ in range(200):
        try:
            client.standard_health.Check(standard.HealthCheckRequest(), timeout=2)
            answered.set()
            break
        except grpc.RpcError as error:
            assert error.code() == RESOURCE_EXHAUSTED
    assert answered.is_set()
    client.close()


def test_streams_above_the_cap_are_refused_as_well(full):
    server, _ = full
    client = Client(server.address).ready()
    refused(client.watch, code=RESOURCE_EXHAUSTED)
    client.close()


def test_a_connection_has_a_cap_of_its_own(launch):
    server = launch(limits=["running-calls-per-connection=3"])
    greedy, modest = Client(server.address).ready(), Client(server.address).ready()
    streams = [greedy.watch() for _ in range(3)]
    for stream in streams:
        next(stream)
    error = refused(
        greedy.standard_health.Check, standard.HealthCheckRequest(), code=RESOURCE_EXHAUSTED
    )
    assert "This connection" in error.details()
    assert modest.standard_health.Check(standard.HealthCheckRequest()).status == 1
    for stream in streams:
        stream.cancel()
    greedy.close()
    modest.close()


@pytest.mark.parametrize(
    "limit", ["connections=3", "connections-per-loopback-address=3"], ids=["all", "address"]
)
def test_connections_above_the_cap_are_closed(launch, limit):
    server = launch(limits=[limit])
    held = [Wire(server.endpoint) for _ in range(3)]
    for _ in range(50):
        with Wire(server.endpoint, greet=False) as late:
            assert late.goaway() is None
    held.pop().close()
    # The server hears of the end in its own time, and then takes the next.
    while True:
        try:
            with Wire(server.endpoint) as next_one:
                next_one.check()
            break
        except (OSError, EOFError, Exception) as error:
            assert type(error).__name__ in ("Ended", "ConnectionResetError"), error
    for wire in held:
        wire.check()
        wire.close()
    assert server.log_text().count("A connection was refused") < 10, "one line a second at most"
