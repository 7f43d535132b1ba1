"""A Redis server of the benchmark's own, and redis-benchmark against it."""

import pathlib
import re
import subprocess
import sys

import harness
from load import CLIENT_CORE

sys.path.insert(0, str(harness.ROOT / "Tests" / "ConformanceTests"))

from redis_server import RedisConnection  # noqa: E402

#: What redis-benchmark calls the key it sets and gets when it is not told to use many.
KEY = "key:__rand_int__"


class Redis(harness.Server):
    """Everything in memory, all settings Redis's own; gone when its `with` block ends."""

    speaks_grpc = False

    def __init__(self, folder: pathlib.Path, core: int | None = None) -> None:
        port = harness.free_port()
        folder.mkdir()
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port)]
        super().__init__("redis-server", [*command, "--save", "", "--dir", str(folder)], port, core)

    @property
    def cache(self) -> str:
        """For `keelson serve --cache`."""
        return f"redis://{self.address}"

    def say(self, *words: str | bytes | int):
        connection = RedisConnection(self.port)
        try:
            return connection(*words)
        finally:
            connection.close()

    def information(self, section: str) -> dict[str, str]:
        lines = self.say("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def _made(self, command: str) -> int:
        """How many of these it has carried out; of GET those that found something."""
        if command == "get":
            return int(self.information("stats")["keyspace_hits"])
        told = self.information("commandstats").get(f"cmdstat_{command}", "calls=0,")
        return int(re.match(r"calls=(\d+),", told)[1])

    def benchmark(self, command: str, calls: int, pipeline: int, value_bytes: int) -> float:
        """redis-benchmark's `get` or `set`, with 50 connections and so many commands at once on
        each. Returns the commands per second."""
        self.say("SET", KEY, bytes(value_bytes))
        before = self._made(command)
        arguments = ["taskset", "--cpu-list", str(CLIENT_CORE), "redis-benchmark", "--csv"]
        arguments += ["-p", str(self.port), "-t", command, "-n", str(calls), "-c", "50"]
        arguments += ["-P", str(pipeline), "-d", str(value_bytes)]
        done = subprocess.run(arguments, capture_output=True, text=True)
        rate = re.search(rf'^"{command.upper()}","([\d.]+)"', done.stdout, re.MULTILINE)
        made = self._made(command) - before
        # It sends whole pipelines: up to one more for each connection.
        if done.returncode != 0 or not rate or not calls <= made <= calls + 50 * pipeline:
            raise harness.BenchmarkError(
                f"redis-benchmark: {made} of {calls}\n{done.stdout}{done.stderr}"
            )
        return float(rate[1])
