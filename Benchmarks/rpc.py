#!/usr/bin/env python3
"""Server CPU per call and per message, latency and allocations: Keelson, gRPC C++ and nghttpd.

Each server runs on core 0 and h2load on core 1. Rounds go from server to server and around again,
so that whatever else the machine does meets all of them. CPU is user and system time of the
server's process from /proc/PID/stat before and after a round, divided by the calls in it.
"""

import argparse
import contextlib
import pathlib
import tempfile

import allocations
import harness
import latency
import load
import throughput

SECTIONS = {
    "unary": throughput.unary,
    "streaming": throughput.streaming,
    "payloads": throughput.payloads,
    "tls": throughput.tls,
    "connections": throughput.connections,
    "latency": latency.at_half_load,
    "allocations": allocations.per_call,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev/bench rpc", description=__doc__)
    parser.add_argument(
        "--only", metavar="SECTION", action="append", choices=list(SECTIONS),
        help=f"one section, or several by giving it again: {', '.join(SECTIONS)}",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=7, help="of each measurement")
    parser.add_argument("--scale", type=float, default=1, help="of the number of calls in a round")
    parser.add_argument(
        "--without-keelson", action="store_true", help="only the peers, to try the method"
    )
    arguments = parser.parse_args()
    load.need_two_cores()

    print(f"machine: {harness.machine()}")
    print(f"commit: {harness.revision()}")
    print(f"method: {arguments.rounds} rounds in turns, scale {arguments.scale:g}\n", flush=True)
    for name in arguments.only or SECTIONS:
        print(f"== {name}\n", flush=True)
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(dir=harness.BUILD))
            bench = throughput.Bench(
                pathlib.Path(folder), stack, arguments.rounds, arguments.scale,
                not arguments.without_keelson,
            )  # fmt: skip
            SECTIONS[name](bench)
    print(f"machine: {harness.machine(when='at the end')}")
    return 0


if __name__ == "__main__":
    harness.run(main)
