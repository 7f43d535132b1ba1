#!/usr/bin/env python3
"""The cache: server CPU of a get and a set in memory and through Redis, beside redis-benchmark on
the same Redis; hit ratio, memory, invalidation by pattern, and gets from a client's near cache.

The servers run on core 0, h2load and redis-benchmark on core 1. Rounds go from one to the next and
around again, so that whatever else the machine does meets all of them. CPU is user and system time
from /proc/PID/stat before and after a round, divided by the calls in it.
"""

import argparse
import contextlib
import pathlib
import tempfile

import cache_calls
import cache_engine
import cache_near
import cache_on_redis
import harness
import load


def memory(bench: cache_calls.Bench) -> None:
    cache_engine.memory()
    cache_on_redis.memory(bench)


def pattern(bench: cache_calls.Bench) -> None:
    cache_engine.pattern()
    cache_on_redis.pattern(bench)


SECTIONS = {
    "calls": cache_calls.calls,
    "engine": lambda bench: cache_engine.engine(),
    "hit-ratio": lambda bench: cache_engine.hit_ratio(),
    "memory": memory,
    "pattern": pattern,
    "near": cache_near.near,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev/bench cache", description=__doc__)
    parser.add_argument(
        "--only", metavar="SECTION", action="append", choices=list(SECTIONS),
        help=f"one section, or several by giving it again: {', '.join(SECTIONS)}",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=7, help="of each measurement")
    parser.add_argument(
        "--scale", type=float, default=1, help="of the number of calls and of entries"
    )
    options = parser.parse_args()
    load.need_two_cores()
    harness.BUILD.mkdir(parents=True, exist_ok=True)

    print(f"machine: {harness.machine()}")
    print(f"commit: {harness.revision()}")
    print(f"method: {options.rounds} rounds in turns, scale {options.scale:g}\n", flush=True)
    for name in options.only or SECTIONS:
        print(f"== {name}\n", flush=True)
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(dir=harness.BUILD))
            SECTIONS[name](
                cache_calls.Bench(pathlib.Path(folder), stack, options.rounds, options.scale)
            )
    print(f"machine: {harness.machine(when='at the end')}")
    return 0


if __name__ == "__main__":
    harness.run(main)
