"""Load by h2load, in rounds that go from server to server, and what the rounds came to.

A round counts only when every call in it ended with status 200 and the bytes of a good answer; a
sample of each kind of call has its messages counted and its grpc-status looked at.
"""

import dataclasses
import os
import pathlib
import re
import struct
import subprocess
import tempfile

import harness
import wire

SERVER_CORE = 0
CLIENT_CORE = 1

PING_PONG_MESSAGES = 1_000

HEADERS = ["-H", "content-type: application/grpc", "-H", "te: trailers"]


@dataclasses.dataclass(frozen=True)
class Call:
    """One kind of call, made over and over."""

    path: str
    #: All of the request's body, prefixes included.
    body: bytes
    #: The length of a good answer's body.
    answer_bytes: int
    #: How many messages its answer has.
    answers: int = 1
    #: By how many bytes answers differ from that at most, on average: none but where they tell a
    #: time or count something.
    slack_bytes: int = 0

    def file(self) -> pathlib.Path:
        return harness.body_file(self.body)


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A server, and the call as it knows it."""

    server: harness.Server
    call: Call

    @property
    def name(self) -> str:
        return self.server.name


@dataclasses.dataclass(frozen=True)
class Load:
    """How many calls, over how many connections, with how many at once on each."""

    calls: int
    connections: int = 10
    streams: int = 20

    def smaller(self, by: int) -> "Load":
        return dataclasses.replace(self, calls=max(self.calls // by, self.connections))

    def __str__(self) -> str:
        return f"h2load -c{self.connections} -m{self.streams}, {self.calls:,} calls a round"


@dataclasses.dataclass
class Figures:
    """What the rounds of one server came to."""

    cpu_microseconds: list[float] = dataclasses.field(default_factory=list)
    calls_per_second: list[float] = dataclasses.field(default_factory=list)
    threads: int = 0

    @property
    def median(self) -> float:
        return harness.spread(self.cpu_microseconds)[1]

    def cells(self, each: int = 1) -> list[str]:
        """Microseconds a call, or an `each`-th of it: min, median, max."""
        return [f"{value / each:.2f}" for value in harness.spread(self.cpu_microseconds)]


def make_calls(contestant: Contestant, load: Load, *options: str) -> float:
    """Makes the calls, all of which must succeed. Returns the calls per second."""
    server, call = contestant.server, contestant.call
    command = ["taskset", "--cpu-list", str(CLIENT_CORE), "h2load", *HEADERS, *options]
    command += [f"-n{load.calls}", f"-c{load.connections}", f"-m{load.streams}"]
    command += ["-d", str(call.file()), server.url + call.path]
    output = subprocess.run(command, capture_output=True, text=True).stdout
    succeeded = re.search(r"(\d+) succeeded", output)
    good = re.search(r"status codes: (\d+) 2xx", output)
    data = re.search(r"\((\d+)\) data", output)
    rate = re.search(r"([\d.]+) req/s", output)
    if not (succeeded and good and data and rate):
        raise harness.BenchmarkError(f"h2load says of {server.name}:\n{output}")
    if server.is_secure and "TLSv1.3" not in output:
        raise harness.BenchmarkError(f"{server.name} did not speak TLS 1.3:\n{output}")
    # A call that fails has no message, so the bytes say whether each had its own.
    expected = (load.calls, load.calls, load.calls * call.answer_bytes)
    found = (int(succeeded[1]), int(good[1]), int(data[1]))
    is_near = abs(found[2] - expected[2]) <= load.calls * call.slack_bytes
    if found[:2] != expected[:2] or not is_near:
        raise harness.BenchmarkError(
            f"{server.name}: of {load.calls} calls {found[0]} succeeded, {found[1]} with status"
            f" 200, {found[2]} bytes of messages instead of {expected[2]}"
        )
    return float(rate[1])


def nghttp(file: pathlib.Path) -> list[str]:
    """The command that makes one call with the bytes of a file, but for its URL."""
    command = ["nghttp", "--no-dep", "--no-verify-peer", *HEADERS, "-d", str(file)]
    # Flow control of a size that h2load has too.
    return [*command, "--window-bits=30", "--connection-window-bits=30"]


def ask(server: harness.Server, path: str, message: bytes) -> bytes:
    """Makes a unary call. Returns the message it is answered with."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(wire.frame(message))
        file.flush()
        command = nghttp(pathlib.Path(file.name))
        answer = subprocess.run([*command, server.url + path], capture_output=True).stdout
        if len(answer) < 5 or len(answer) != 5 + struct.unpack_from(">I", answer, 1)[0]:
            told = subprocess.run([*command, "-nv", server.url + path], capture_output=True)
            raise harness.BenchmarkError(
                f"{server.name} did not answer {path}:\n{told.stdout.decode(errors='replace')}"
            )
    return answer[5:]


def check_sample(contestant: Contestant) -> None:
    """Makes the call once, counts its messages and looks at its grpc-status."""
    server, call = contestant.server, contestant.call
    command = nghttp(call.file())
    url = server.url + call.path
    answer = subprocess.run([*command, url], capture_output=True).stdout
    messages, position = 0, 0
    while position + 5 <= len(answer):
        position += 5 + struct.unpack_from(">I", answer, position + 1)[0]
        messages += 1
    is_near = abs(len(answer) - call.answer_bytes) <= call.slack_bytes
    if not is_near or (messages, position) != (call.answers, len(answer)):
        raise harness.BenchmarkError(
            f"{server.name} answered {call.path} with {messages} messages in {len(answer)} bytes"
            f" instead of {call.answers} in {call.answer_bytes}"
        )
    told = subprocess.run([*command, "-nv", url], capture_output=True).stdout
    if b"grpc-status: 0\n" not in told:
        raise harness.BenchmarkError(f"{server.name} did not end {call.path} with grpc-status 0")


def play_ping_pong(contestant: Contestant, load: Load) -> float:
    """Streams as many as the load's calls at once, each with a thousand messages, of which every
    one waits for its answer. Returns the streams per second."""
    server, call = contestant.server, contestant.call
    command = ["taskset", "--cpu-list", str(CLIENT_CORE), str(harness.BUILD / "ping_pong")]
    command += [str(server.port), str(load.connections), str(load.streams)]
    command += [str(PING_PONG_MESSAGES), call.path, str(call.file()), str(call.answer_bytes)]
    played = subprocess.run(command, capture_output=True, text=True)
    if played.returncode != 0:
        raise harness.BenchmarkError(f"{server.name}: {played.stderr}")
    return load.calls / float(played.stdout.split()[1])


def measure(
    contestants: list[Contestant], load: Load, rounds: int, make=make_calls
) -> dict[str, Figures]:
    """Rounds in turns, after a warm-up: the first server, the second, …, the first again."""
    figures = {contestant.name: Figures() for contestant in contestants}
    for contestant in contestants:
        if contestant.server.speaks_grpc:
            check_sample(contestant)
        make(contestant, load.smaller(10))
    for number in range(rounds):
        for contestant in contestants:
            server, figure = contestant.server, figures[contestant.name]
            before = server.cpu_seconds()
            rate = make(contestant, load)
            used = (server.cpu_seconds() - before) * 1e6 / load.calls
            figure.cpu_microseconds.append(used)
            figure.calls_per_second.append(rate)
            figure.threads = server.threads()
            print(
                f"round {number + 1}: {contestant.name:9} {used:9.2f} us, {rate:,.0f} calls/s",
                flush=True,
            )
    for contestant in contestants:
        if contestant.server.speaks_grpc:
            check_sample(contestant)
    return figures


def need_two_cores() -> None:
    if (os.cpu_count() or 1) < 2:
        raise harness.BenchmarkError("server and client need a core each")
