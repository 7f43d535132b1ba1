"""Gets that a client answers from its near cache, in the process of CachePeer (see its source)."""

import json
import pathlib
import subprocess
import time

import harness
from cache_calls import Bench
from load import CLIENT_CORE

SECONDS = 3
KEY = "bench:cache:entry:near"


class Peer:
    """A process with a client, told what to do line by line."""

    def __init__(self, binary: pathlib.Path, server: harness.Server) -> None:
        command = ["taskset", "--cpu-list", str(CLIENT_CORE), str(binary), server.address]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.await_line("ready")

    def await_line(self, beginning: str) -> list[str]:
        for line in self._process.stdout:
            if line.startswith(beginning):
                return line.split(maxsplit=2)
        raise harness.BenchmarkError("CachePeer has ended")

    def tell(self, line: str) -> None:
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def ask(self, line: str) -> list[str]:
        self.tell(line)
        return self.await_line(line.split()[0] + " ")

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def near(bench: Bench) -> None:
    server = bench.keelson("keelson-memory")
    times = []
    with Peer(harness.keelson_binary().with_name("CachePeer"), server) as peer:
        peer.ask(f"first set {KEY} {'v' * 100}")
        peer.ask("sync sync")
        for turn in range(bench.rounds):
            before = json.loads(peer.ask(f"a{turn} stats")[2])["near_hits"]
            peer.tell(f"poll{turn} poll {KEY} 0")
            peer.await_line(f"poll{turn} change")
            began = time.monotonic()
            time.sleep(SECONDS * min(bench.scale, 1))
            peer.tell(f"stop{turn} stop poll{turn}")
            reads, failures = peer.await_line(f"poll{turn} end")[2].split()
            took = time.monotonic() - began
            hits = json.loads(peer.ask(f"b{turn} stats")[2])["near_hits"] - before
            # Now and then a pong is late, and the server is asked; what is under way at the end
            # fails.
            if int(failures) > 1 or hits < int(reads) * 0.99:
                raise harness.BenchmarkError(
                    f"{hits} of {reads} reads were near, {failures} failed"
                )
            times.append(took * 1e9 / int(reads))
    print("\nA get by one task from the near cache, text of 100 bytes decoded, nanoseconds:\n")
    harness.print_table(
        ["min", "median", "max"], [[f"{each:,.0f}" for each in harness.spread(times)]]
    )
