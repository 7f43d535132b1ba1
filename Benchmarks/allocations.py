"""Allocations of a server per call and per streamed message.

peers/allocation_count.c is preloaded into the server: it stands before malloc, calloc, realloc and
the aligned ones, for all libraries, and counts into a file that is mapped here.
"""

import mmap
import struct

import calls
import harness
from load import SERVER_CORE, Contestant, Load, check_sample, make_calls
from throughput import STREAMS, Bench

LIBRARY = harness.BUILD / "allocation_count.so"


class Counter:
    """Counts what a server allocates that is started with it."""

    def __init__(self, bench: Bench, name: str):
        file = bench.folder / f"allocations-{name.replace(' ', '-')}"
        file.write_bytes(bytes(mmap.PAGESIZE))
        with open(file, "r+b") as opened:
            self._page = mmap.mmap(opened.fileno(), mmap.PAGESIZE)
        self.environment = {"LD_PRELOAD": str(LIBRARY), "ALLOCATION_COUNT_FILE": str(file)}

    def value(self) -> int:
        return struct.unpack_from("=Q", self._page)[0]


def per_call(bench: Bench) -> None:
    rows = [_row(bench, "gRPC C++", harness.test_server(core=SERVER_CORE))]
    if bench.with_keelson:
        serve = harness.keelson(bench.folder / "data", ["--loops", "1"], core=SERVER_CORE)
        rows.append(_row(bench, "keelson", harness.interop_server(core=SERVER_CORE), serve))
    print("\nAllocations of the server:\n")
    header = ["server", "unary call", *(f"message, {kind}" for kind in STREAMS)]
    harness.print_table(header, rows)


def _row(
    bench: Bench, name: str, streamer: harness.Server, checker: harness.Server | None = None
) -> list[str]:
    """A health check of one server, and messages of the other if there is one."""
    counter = _start(bench, streamer, f"{name} streams")
    unary = _start(bench, checker, f"{name} calls") if checker else counter
    server = checker or streamer
    row = [name, _count(unary, Contestant(server, calls.HEALTH_CHECK), bench.load(20_000), 1)]
    for call, messages in STREAMS.values():
        load = bench.load(200, connections=10, streams=1)
        row.append(_count(counter, Contestant(streamer, call), load, messages))
    return row


def _start(bench: Bench, server: harness.Server, name: str) -> Counter:
    counter = Counter(bench, name)
    server.environment = counter.environment
    bench.start(server)
    return counter


def _count(counter: Counter, contestant: Contestant, load: Load, each: int) -> str:
    check_sample(contestant)
    make_calls(contestant, load)
    before = counter.value()
    make_calls(contestant, load)
    allocated = (counter.value() - before) / load.calls / each
    print(f"{contestant.name}: {contestant.call.path} {allocated:.3f}", flush=True)
    return f"{allocated:.2f}"
