"""SIGTERM, seen frame by frame, by grpcio, and under h2load: no accepted call is lost."""

import json
import re
import shutil
import subprocess
import threading
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2 as standard
from hyperframe import frame as frames

from client import Client
from server import KeelsonServer
from wire import CHECK, NO_ERROR, WATCH, Wire, message

ALL_STREAMS = 2**31 - 1
UNAVAILABLE = "14"


def next_of(wire, kind):
    while True:
        frame = wire.read()
        if isinstance(frame, frames.HeadersFrame):
            wire.fields = dict(wire.decoder.decode(frame.data))
        if isinstance(frame, kind):
            return frame


def acknowledge(wire, ping):
    answer = frames.PingFrame(0, ping.opaque_data)
    answer.flags.add("ACK")
    wire.send(answer)


def test_goaway_comes_twice_and_running_calls_finish(launch):
    # On a busy machine the answer to the ping may take its time.
    server = launch(limits=["shutdown-notice-timeout=20s"])
    with Wire(server.endpoint) as wire:
        running = wire.headers()
        wire.send(running)
        wire.check()
        server.terminate()
        both = [next_of(wire, (frames.GoAwayFrame, frames.PingFrame)) for _ in range(2)]
        ping, warning = sorted(both, key=lambda frame: frame.type)
        assert (warning.last_stream_id, warning.error_code) == (ALL_STREAMS, NO_ERROR)
        # Sent by a client that has not seen the warning: served.
        late = wire.headers()
        wire.send(late, wire.data(message(), late.stream_id))
        acknowledge(wire, ping)
        end = next_of(wire, frames.GoAwayFrame)
        assert (end.last_stream_id, end.error_code) == (late.stream_id, NO_ERROR)
        # Opened against the server's word: not looked at.
        forbidden = wire.headers()
        wire.send(forbidden, wire.data(message(), forbidden.stream_id))
        wire.send(wire.data(message(), running.stream_id))
        answered = {}
        while True:
            try:
                frame = wire.read()
            except Exception as ended:
                assert type(ended).__name__ == "Ended"
                break
            if isinstance(frame, frames.HeadersFrame):
                fields = dict(wire.decoder.decode(frame.data))
                answered.setdefault(frame.stream_id, {}).update(fields)
        assert answered[running.stream_id]["grpc-status"] == "0"
        assert forbidden.stream_id not in answered
    assert server.wait() == 0


def test_the_second_goaway_does_not_wait_for_ever(launch):
    """A client that does not answer the ping."""
    server = launch(limits=["shutdown-notice-timeout=200ms"])
    with Wire(server.endpoint) as wire:
        running = wire.headers()
        wire.send(running)
        wire.check()
        server.terminate()
        assert next_of(wire, frames.GoAwayFrame).last_stream_id == ALL_STREAMS
        assert next_of(wire, frames.GoAwayFrame).last_stream_id == 3
        wire.send(wire.data(message(), running.stream_id))
        assert wire.answer(running.stream_id)[0]["grpc-status"] == "0"
    assert server.wait() == 0


def test_calls_are_cancelled_when_the_grace_is_over(launch):
    server = launch(arguments=["--drain-seconds", "1"])
    with Wire(server.endpoint) as wire:
        running = wire.headers()
        wire.send(running)
        wire.check()
        begin = time.monotonic()
        server.terminate()
        while wire.__dict__.get("fields", {}).get("grpc-status") is None:
            next_of(wire, frames.HeadersFrame)
        assert wire.fields["grpc-status"] == UNAVAILABLE
        assert 0.9 < time.monotonic() - begin < 30
        assert wire.goaway() in (None, NO_ERROR)
    assert server.wait() == 0


def test_new_connections_go_to_the_next_server(launch, tmp_path):
    """The port is free as soon as the drain begins: the next server takes over while calls run."""
    first = launch()
    host, port = first.endpoint
    with Wire(first.endpoint) as wire:
        running = wire.headers()
        wire.send(running)
        wire.check()
        first.terminate()
        next_of(wire, frames.GoAwayFrame)
        second = launch(listen=(f"{host}:{port}",))
        with Wire(second.endpoint) as other:
            other.check()
        wire.send(wire.data(message(), running.stream_id))
        assert wire.answer(running.stream_id)[0]["grpc-status"] == "0"
    assert first.wait() == 0


def test_grpcio_loses_no_call_that_was_accepted(launch):
    """Callers without a pause: after SIGTERM the only failure is UNAVAILABLE, and what the server
    says it served is what callers got."""
    server = launch(log_level="debug")
    succeeded, failures = [], []
    begun = threading.Event()

    def call():
        client = Client(server.address).ready()
        count = 0
        try:
            while True:
                client.standard_health.Check(standard.HealthCheckRequest(), timeout=10)
                count += 1
                if count == 50:
                    begun.set()
        except grpc.RpcError as error:
            failures.append(error.code())
        succeeded.append(count)
        client.close()

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    assert begun.wait(20)
    server.terminate()
    assert server.wait() == 0
    for thread in threads:
        thread.join(20)
    assert set(failures) == {grpc.StatusCode.UNAVAILABLE}
    assert served(server) == sum(succeeded)


def served(server):
    """How many health checks the server's log says it answered with OK."""
    log = server.log_text()
    assert "log lines were dropped" not in log
    lines = (json.loads(line) for line in log.splitlines() if "Health/Check" in line)
    return sum(line["fields"]["status"] == "OK" for line in lines)


class Load:
    """h2load against one server, and what came of it."""

    SUMMARY = re.compile(
        r"requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, "
        r"(\d+) errored, (\d+) timeout"
    )

    def __init__(self, endpoint, folder, requests):
        body = folder / "request"
        body.write_bytes(message())
        self.log = folder / f"h2load-{requests}.log"
        self.process = subprocess.Popen(
            [
                *("h2load", "-n", str(requests), "-c", "8", "-m", "10", "-t", "1"),
                *("-d", str(body), "--log-file", str(self.log)),
                *("-H", "content-type: application/grpc", "-H", "te: trailers"),
                "http://%s:%d%s" % (*endpoint, CHECK),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def end(self):
        text, _ = self.process.communicate(timeout=60)
        found = self.SUMMARY.search(text)
        assert found, text
        self.total, self.started, _, self.succeeded, self.failed, *_ = map(int, found.groups())
        # One line for each request that was answered or given up: time, status, microseconds.
        statuses = [line.split()[1] for line in self.log.read_text().splitlines()]
        self.given_up = sum(status != "200" for status in statuses)
        return self


@pytest.mark.skipif(not shutil.which("h2load"), reason="the package nghttp2-client is not there")
def test_h2load_loses_no_call_that_was_accepted(launch, tmp_path, terminal):
    """Eight connections with ten streams each while the server drains and another takes over.

    What the first server says it served is what h2load saw succeed; what h2load had begun beyond
    that was refused by the GOAWAY's last stream, so that it may be sent anew; and everything sent
    to the second succeeds.
    """
    first = launch(log_level="debug")
    load = Load(first.endpoint, tmp_path, 1_000_000)
    checks = 0
    with Wire(first.endpoint) as wire:
        # Some thousand calls into the run, by the server's own log.
        while first.log.stat().st_size < 2_000_000:
            wire.check()
            checks += 1
    first.terminate()
    assert first.wait() == 0
    host, port = first.endpoint
    second = launch(listen=(f"{host}:{port}",))
    first_load = load.end()
    accepted = served(first) - checks
    second_load = Load(second.endpoint, tmp_path, 5_000).end()
    terminal(
        f"h2load over a drain: the first server served {accepted} calls and h2load saw "
        f"{first_load.succeeded} succeed, {first_load.given_up} begun were not accepted; the "
        f"second server served {second_load.succeeded} of {second_load.total}"
    )
    assert first_load.succeeded == accepted
    assert first_load.given_up <= 8 * 10
    assert second_load.succeeded == second_load.total
