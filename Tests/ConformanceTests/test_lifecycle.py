"""Starting, refusing to start, draining."""

import json
import signal
import socket
import threading
import time

import grpc
import pytest

from client import flags
from server import run
from watching import arriving
from wire import Wire

Code = grpc.StatusCode


def refused_start(*arguments, code=(1,)):
    """Runs a `serve` that must end by itself; the sentence it says on stderr."""
    ended = run("serve", *arguments)
    assert ended.returncode in code, (ended.returncode, ended.stdout, ended.stderr)
    assert "is serving on" not in ended.stdout
    said = [line for line in ended.stderr.splitlines() if line and not line.startswith("{")]
    assert said, f"no sentence on stderr: {ended.stderr!r}"
    text = " ".join(said)
    for word in ("Fatal error", "fatalError", "Thread 0", "KeelsonError(", "0x"):
        assert word not in text, text
    return text


def test_says_where_it_serves(private):
    assert private.lines == [f"Keelson {private.version} is serving on {private.address}"]
    host, port = private.endpoint
    assert host == "127.0.0.1"
    assert port > 0


def test_second_server_on_the_same_data_is_refused(private, dial):
    client = dial(private)
    client.create("a")
    text = refused_start("--listen", "127.0.0.1:0", "--data", private.data)
    assert str(private.data) in text
    assert client.toggle("a", False).key == "a"
    assert client.evaluate("a").reason == flags.REASON_DISABLED


def test_data_is_free_after_kill_9(launch, dial):
    server = launch()
    dial(server).create("a")
    server.kill()
    server.start()
    assert dial(server).evaluate("a").variant == "off"


def test_port_in_use_is_refused(private, dial, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        text = refused_start("--listen", address, "--data", tmp_path / "other")
        assert address in text
    text = refused_start("--listen", private.address, "--data", tmp_path / "another")
    assert private.address in text
    dial(private).create("a")


def test_unix_socket_of_a_running_server_is_refused(launch, dial, tmp_path):
    path = f"unix:{tmp_path}/k.sock"
    server = launch(listen=(path,))
    text = refused_start("--listen", path, "--data", tmp_path / "other")
    assert f"{tmp_path}/k.sock" in text
    dial(server).create("a")


def test_stale_unix_socket_is_replaced(launch, dial, tmp_path):
    server = launch(listen=(f"unix:{tmp_path}/k.sock",))
    server.kill()
    server.start()
    dial(server).create("a")


def test_file_that_is_no_socket_is_left_alone(tmp_path):
    path = tmp_path / "precious"
    path.write_text("precious")
    text = refused_start("--listen", f"unix:{path}", "--data", tmp_path / "data")
    assert str(path) in text
    assert path.read_text() == "precious"


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
def test_plaintext_beyond_loopback_is_refused(tmp_path, address):
    refused_start("--listen", address, "--data", tmp_path / "data")


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:70000", "127.0.0.1:", "unix:", ""])
def test_bad_address_is_refused(tmp_path, address):
    refused_start("--listen", address, "--data", tmp_path / "data", code=(1, 2))


def test_bad_arguments_are_refused(tmp_path):
    data = tmp_path / "data"
    refused_start("--listen", "127.0.0.1:0", "--log-level", "loud", "--data", data, code=(1, 2))
    refused_start("--no-such-option", code=(2,))
    refused_start("--listen", "127.0.0.1:0", "--environment", "", "--data", data, code=(1, 2))


def test_data_that_cannot_be_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    text = refused_start("--listen", "127.0.0.1:0", "--data", file / "data")
    assert str(file) in text
    refused_start("--listen", "127.0.0.1:0", "--data", file)


def test_starts_and_stops_at_once(launch):
    begin = time.monotonic()
    server = launch()
    started = time.monotonic() - begin
    server.stop()
    assert started < 5
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_well(launch, kind):
    server = launch()
    server.process.send_signal(kind)
    assert server.wait() == 0


def test_watchers_and_calls_are_ended_well(launch, dial):
    """SIGTERM amid calls and open watches: what was acknowledged stays, the rest is told."""
    server = launch()
    client = dial(server)
    client.create("a")
    streams = [arriving(dial(server).watch()) for _ in range(5)]
    for messages in streams:
        assert messages.get(timeout=10).WhichOneof("event") == "snapshot"
    acknowledged, ends = [], []
    writing = threading.Event()

    def write(number, connection):
        count = 0
        try:
            while True:
                count += 1
                acknowledged.append(connection.create(f"w{number}-{count}").key)
                if len(acknowledged) >= 100:
                    writing.set()
        except grpc.RpcError as error:
            ends.append(error)

    threads = [threading.Thread(target=write, args=(number, dial(server))) for number in range(4)]
    for thread in threads:
        thread.start()
    assert writing.wait(30)
    begin = time.monotonic()
    server.terminate()
    assert server.wait() == 0
    assert time.monotonic() - begin < 20
    for thread in threads:
        thread.join(30)
    assert {error.code() for error in ends} == {Code.UNAVAILABLE}, [e.details() for e in ends]
    for messages in streams:
        seen = set()
        while True:
            message = messages.get(timeout=10)
            if message is None or isinstance(message, grpc.RpcError):
                break
            assert message.revision not in seen
            seen.add(message.revision)
        assert message is None or message.code() == Code.UNAVAILABLE, message

    server.start()
    client = dial(server)
    for key in acknowledged:
        client.get(key)


def test_drain_says_goaway_and_ends_idle_connections(launch):
    server = launch()
    with Wire(server.endpoint) as wire:
        wire.check()
        server.terminate()
        assert wire.goaway() == 0
    assert server.wait() == 0


@pytest.mark.waits
def test_clients_that_stay_do_not_hold_it_up(launch):
    """A peer that ignores GOAWAY and one that never says a word."""
    server = launch()
    with (
        Wire(server.endpoint, timeout_seconds=60) as wire,
        Wire(server.endpoint, greet=False) as silent,
    ):
        half = wire.headers()
        wire.send(half)
        silent.send(b"PRI")
        server.terminate()
        assert server.wait() == 0


def test_new_connections_are_refused_after_the_end(launch):
    server = launch()
    endpoint = server.endpoint
    server.stop()
    with pytest.raises(OSError):
        socket.create_connection(endpoint, timeout=2).close()


def test_second_life_has_the_same_version_and_data(launch, dial):
    server = launch()
    made = dial(server).create("a")
    version = server.version
    server.stop()
    server.start()
    assert server.version == version
    assert dial(server).get("a") == made


def test_log_lines_are_json_with_the_correlation_id(launch, dial):
    server = launch()
    client = dial(server)
    client.flags.CreateFlag(
        flags.CreateFlagRequest(flag=flags.Flag(key="logged")),
        metadata=[("x-correlation-id", "find-me-in-the-log")],
    )
    server.stop()
    lines = [line for line in server.log_text().splitlines() if line]
    assert lines
    parsed = [json.loads(line) for line in lines]
    for entry in parsed:
        assert {"time", "level", "message"} <= set(entry), entry
    assert any("find-me-in-the-log" in line for line in lines)
