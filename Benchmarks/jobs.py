"""Jobs on both stores, beside pgqueuer on the same PostgreSQL and beanstalkd with fsync.

Each round measures all of them one after the other, so that what else the machine does hits all
alike; the tables show the median round. All parts share the machine's cores: the store, the
server, two worker processes, and whoever creates. docs/benchmarks.md says what the columns mean.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import harness
from postgres import Postgres

PEERS = pathlib.Path(__file__).resolve().parent / "peers"
WORKERS = 2
REQUIREMENTS = PEERS / "requirements.txt"


def python() -> str:
    """A Python that has pgqueuer: made once."""
    home = harness.BUILD / "python"
    stamp = home / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != REQUIREMENTS.read_text():
        shutil.rmtree(home, ignore_errors=True)
        for command in (
            [sys.executable, "-m", "venv", str(home)],
            [str(home / "bin" / "pip"), "install", "-q", "-r", str(REQUIREMENTS)],
        ):
            subprocess.run(command, check=True, stdout=sys.stderr)
        shutil.copy(REQUIREMENTS, stamp)
    return str(home / "bin" / "python")


class Program:
    """A process that prints one JSON object when it ends."""

    def __init__(self, *command: object):
        self._command = [str(word) for word in command]
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)

    def stop(self) -> dict:
        self.stopping()
        return self.figures()

    def stopping(self) -> float:
        """Asks it to end; when that was."""
        self._process.send_signal(signal.SIGTERM)
        return time.monotonic()

    def figures(self) -> dict:
        said, _ = self._process.communicate(timeout=600)
        if self._process.returncode != 0:
            raise harness.BenchmarkError(f"{' '.join(self._command)} failed: {said}")
        figures = json.loads(said.splitlines()[-1])
        # JobsBenchmark prints lists only.
        return {
            name: value[0] if isinstance(value, list) and name != "pickups" else value
            for name, value in figures.items()
        }


class Contestant:
    """A queue: what creates jobs in it, and what works them off."""

    def __init__(self, name: str):
        self.name = name

    def create(self, jobs: int, batch: int, callers: int) -> float:
        """Jobs a second."""
        raise NotImplementedError

    def drain(self, jobs: int) -> float:
        """Works off what was created; jobs a second."""
        raise NotImplementedError

    def drain_for(self, seconds: int) -> float:
        """Works for a while; jobs a second."""
        workers = [self.worker() for _ in range(WORKERS)]
        time.sleep(seconds)
        start = min(worker.stopping() for worker in workers)
        figures = [worker.figures() for worker in workers]
        ran = start - min(each["start"] for each in figures)
        return sum(each["jobs"] for each in figures) / ran

    def worker(self) -> Program:
        raise NotImplementedError

    def steady(self, jobs: int, per_second: int) -> Program:
        raise NotImplementedError


class Keelson(Contestant):
    def __init__(self, name: str, server: harness.Server):
        super().__init__(name)
        self.server = server
        self.queue = "q0"
        self._number = 0

    def next_queue(self) -> None:
        """Its counters then start at 0."""
        self._number += 1
        self.queue = f"q{self._number}"

    def _program(self, mode: str, *numbers: int) -> Program:
        binary = harness.keelson_binary().with_name("JobsBenchmark")
        return Program(binary, mode, self.server.address, self.queue, *numbers)

    def create(self, jobs: int, batch: int, callers: int) -> float:
        return self._program("create", jobs, batch, callers).figures()["per_second"]

    def drain(self, jobs: int) -> float:
        workers = [self.worker() for _ in range(WORKERS)]
        end = self._program("await", jobs).figures()["end"]
        start = min(worker.stop()["start"] for worker in workers)
        return jobs / (end - start)

    def worker(self) -> Program:
        return self._program("work", 1_000)

    def steady(self, jobs: int, per_second: int) -> Program:
        return self._program("steady", jobs, per_second)


class PgQueuer(Contestant):
    """With the batches of its own benchmark, or larger ones."""

    def __init__(self, name: str, url: str, batch: int):
        super().__init__(name)
        self.url = url
        self._batch = batch
        self._program("install").figures()

    def _program(self, mode: str, *numbers: int) -> Program:
        return Program(python(), "-B", PEERS / "pgqueuer_jobs.py", mode, self.url, *numbers)

    def create(self, jobs: int, batch: int, callers: int) -> float:
        programs = [self._program("enqueue", jobs // callers, batch) for _ in range(callers)]
        return sum(program.figures()["per_second"] for program in programs)

    def drain(self, jobs: int) -> float:
        workers = [self._program("drain", self._batch) for _ in range(WORKERS)]
        figures = [worker.figures() for worker in workers]
        start = min(each["start"] for each in figures)
        return jobs / (max(each["end"] for each in figures) - start)

    def worker(self) -> Program:
        return self._program("work", self._batch)

    def steady(self, jobs: int, per_second: int) -> Program:
        return self._program("steady", jobs, per_second)


class Beanstalkd(Contestant):
    def __init__(self, server: harness.Server):
        super().__init__("beanstalkd 1.12, fsync")
        self.server = server

    def _program(self, mode: str, *numbers: int) -> Program:
        script = PEERS / "beanstalkd_jobs.py"
        return Program(sys.executable, "-B", script, mode, self.server.port, *numbers)

    def create(self, jobs: int, batch: int, callers: int) -> float:
        return self._program("put", jobs, batch, callers).figures()["per_second"]

    def drain(self, jobs: int) -> float:
        workers = [self._program("drain", 100) for _ in range(WORKERS)]
        figures = [worker.figures() for worker in workers]
        start = min(each["start"] for each in figures)
        return jobs / (max(each["end"] for each in figures) - start)

    def worker(self) -> Program:
        return self._program("work")

    def steady(self, jobs: int, per_second: int) -> Program:
        return self._program("steady", jobs, per_second)


def beanstalkd(folder: pathlib.Path) -> harness.Server:
    port = harness.free_port()
    command = ["beanstalkd", "-l", "127.0.0.1", "-p", str(port), "-b", str(folder), "-f", "0"]
    return harness.Server("beanstalkd", command, port)


def median_table(title: str, columns: list[str], rounds: dict[str, list[list[float]]]) -> None:
    print(f"\n{title}\n")
    rows = []
    for name, measured in rounds.items():
        middle = [statistics.median(column) for column in zip(*measured)]
        rows.append([name, *(f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
                             for value in middle)])  # fmt: skip
    harness.print_table(["", *columns], rows)


def creation(contestants: list[Contestant], rounds: int, jobs: int) -> None:
    measured: dict[str, list[list[float]]] = {}
    for _ in range(rounds):
        for contestant in contestants:
            row = []
            for batch, callers, share in ((1, 1, 20), (1, 32, 4), (100, 2, 1)):
                if isinstance(contestant, Keelson):
                    contestant.next_queue()
                if isinstance(contestant, PgQueuer):
                    callers = min(callers, 4)
                count = max(batch * callers, jobs // share)
                row.append(contestant.create(count, batch, callers))
                contestant.drain(count // (batch * callers) * (batch * callers))
            measured.setdefault(contestant.name, []).append(row)
    median_table(
        "Created jobs a second: one caller, 32 callers (pgqueuer: 4 processes), 2 callers with "
        "100 jobs a call.",
        ["one caller", "32 callers", "100 a call"], measured,
    )  # fmt: skip


def drains(
    contestants: list[Contestant], rounds: int, jobs: int, title: str
) -> None:
    measured: dict[str, list[list[float]]] = {}
    for _ in range(rounds):
        for contestant in contestants:
            if isinstance(contestant, Keelson):
                contestant.next_queue()
            contestant.create(jobs, 100, 2)
            measured.setdefault(contestant.name, []).append([contestant.drain(jobs)])
    median_table(title, ["jobs a second"], measured)


def pickups(contestants: list[Contestant], rounds: int, seconds: int) -> None:
    for rate in (20, 300):
        measured: dict[str, list[list[float]]] = {}
        for _ in range(rounds):
            for contestant in contestants:
                if isinstance(contestant, Keelson):
                    contestant.next_queue()
                workers = [contestant.worker() for _ in range(WORKERS)]
                # Python needs a moment to load what it runs.
                time.sleep(2)
                contestant.steady(rate * seconds, rate).figures()
                time.sleep(2)
                figures = [worker.stop() for worker in workers]
                jobs = sum(each["jobs"] for each in figures)
                if jobs != rate * seconds:
                    raise harness.BenchmarkError(f"{contestant.name} ran {jobs} jobs")
                took = [each for worker in figures for each in worker["pickups"]]
                row = [harness.percentile(took, percent) for percent in (50, 99)]
                measured.setdefault(contestant.name, []).append(row)
        median_table(
            f"From the call that creates a job to the beginning of its handler, {rate} jobs a "
            "second, milliseconds.",
            ["p50", "p99"], measured,
        )  # fmt: skip


@contextlib.contextmanager
def held_transaction(postgres: Postgres, database: str):
    """A transaction that has read and does not end."""
    command = [
        str(postgres.programs / "psql"), "-h", "127.0.0.1", "-p", str(postgres.port), "-U", "bench",
        "-d", database,
    ]  # fmt: skip
    held = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    held.stdin.write("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class;\n")
    held.stdin.flush()
    held.stdout.readline()
    try:
        yield
    finally:
        held.stdin.close()
        held.wait(timeout=30)


SECTIONS = ["create", "drain", "pickup", "backlog", "held"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="dev/bench jobs", description=__doc__)
    parser.add_argument("--only", choices=SECTIONS, nargs="+", default=SECTIONS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--backlog", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=10, help="of each pickup measurement")
    parser.add_argument("--without-peers", action="store_true")
    parser.add_argument(
        "--folder", default="/var/tmp", help="where all of them write; the disk is measured"
    )
    options = parser.parse_args()
    harness.BUILD.mkdir(parents=True, exist_ok=True)
    print(f"{harness.machine()}; commit {harness.revision()}")

    folder = pathlib.Path(tempfile.mkdtemp(prefix="keelson-bench-", dir=options.folder))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        postgres = stack.enter_context(Postgres(folder.parent))
        on_sqlite = stack.enter_context(harness.keelson(folder / "sqlite"))
        url = postgres.database("keelson")
        on_postgres = stack.enter_context(
            harness.keelson(folder / "postgres", ["--database", url])
        )
        ours = [
            Keelson("Keelson, SQLite", on_sqlite), Keelson("Keelson, PostgreSQL", on_postgres)
        ]  # fmt: skip
        contestants: list[Contestant] = list(ours)
        if not options.without_peers:
            (folder / "beanstalkd").mkdir()
            contestants += [
                PgQueuer("pgqueuer 1.6", postgres.database("pgqueuer"), 10),
                PgQueuer("pgqueuer, batches of 500", postgres.database("pgqueuer_500"), 500),
                Beanstalkd(stack.enter_context(beanstalkd(folder / "beanstalkd"))),
            ]
        if "create" in options.only:
            creation(contestants, options.rounds, options.jobs)
        if "drain" in options.only:
            drains(
                contestants, options.rounds, options.jobs,
                f"{options.jobs:,} jobs that do nothing worked off by two workers.",
            )  # fmt: skip
        if "pickup" in options.only:
            pickups(contestants, options.rounds, options.seconds)
        if "held" in options.only:
            database = [each for each in contestants if not isinstance(each, Beanstalkd)]
            with held_transaction(postgres, "keelson"), contextlib.ExitStack() as more:
                if len(database) > len(ours):
                    for name in ("pgqueuer", "pgqueuer_500"):
                        more.enter_context(held_transaction(postgres, name))
                drains(
                    database, options.rounds, options.jobs,
                    "The same while a transaction is held open in each of PostgreSQL's databases.",
                )  # fmt: skip
        if "backlog" in options.only:
            for contestant in contestants:
                if isinstance(contestant, Keelson):
                    contestant.queue = "backlog"
                print(f"filling {contestant.name}", file=sys.stderr)
                contestant.create(options.backlog, 100, 2)
            drains_of_backlog(contestants, options)


def drains_of_backlog(contestants: list[Contestant], options: argparse.Namespace) -> None:
    """Works for a while with so many pending: how many are done a second."""
    measured: dict[str, list[list[float]]] = {}
    for _ in range(options.rounds):
        for contestant in contestants:
            measured.setdefault(contestant.name, []).append(
                [contestant.drain_for(options.seconds)]
            )
    median_table(
        f"With {options.backlog:,} jobs pending in the same queue, two workers.",
        ["jobs a second"], measured,
    )  # fmt: skip


if __name__ == "__main__":
    harness.run(main)
