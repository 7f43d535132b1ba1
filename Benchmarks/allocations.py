"""Allocations of a server per call and per streamed message.

peers/allocation_count.c is preloaded into the server: it stands before malloc, calloc, realloc and
the aligned ones, for all libraries, and counts into a file that is mapped here.
"""

import mmap
import struct

import calls
import harness
from load import Contestant, check_sample, make_calls
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
    rows = []
    makers = {"gRPC C++": harness.test_server}
    if bench.with_keelson:
        makers["keelson"] = harness.interop_server
    for name, make in makers.items():
        server = make(core=0)
        counter = _start(bench, server, name)
        row = [name]
        load = bench.load(20_000)
        row.append(_count(counter, Contestant(server, calls.unary(0, 0)), load, 1))
        for call, messages in STREAMS.values():
            row.append(_count(counter, Contestant(server, call), bench.load(200, 10, 1), messages))
        rows.append(row)
    if bench.with_keelson:
        server = harness.keelson(bench.folder / "data", ["--loops", "1"], core=0)
        counter = _start(bench, server, "serve")
        row = ["keelson serve, health check"]
        row.append(_count(counter, Contestant(server, calls.HEALTH_CHECK), bench.load(20_000), 1))
        rows.append([*row, "", "", ""])
    print("\nAllocations of the server:\n")
    header = ["server", "unary call", *(f"message, {kind} stream" for kind in STREAMS)]
    harness.print_table([*header[:-1], "message, both streams"], rows)


def _start(bench: Bench, server: harness.Server, name: str) -> Counter:
    counter = Counter(bench, name)
    server.environment = counter.environment
    bench.start(server)
    return counter


def _count(counter: Counter, contestant: Contestant, load, each: int) -> str:
    check_sample(contestant)
    make_calls(contestant, load)
    before = counter.value()
    make_calls(contestant, load)
    allocated = (counter.value() - before) / load.calls / each
    print(f"{contestant.name}: {contestant.call.path} {allocated:.3f}", flush=True)
    return f"{allocated:.2f}"
