#!/usr/bin/env python3
"""Flags: evaluation, a change to many subscribers, memory of idle subscribers.

Evaluation is measured by a Swift program of its own. The fan-out and the memory are those of
`keelson serve` under flag_subscribers, beside a gRPC C++ server that sends messages of the same
size to the same subscribers.

The moment of the commit is not to be seen from outside. Both bounds are given: from the start of
the call that makes the change (before the commit) and from the earlier of its response and the
first arrival (after the commit).
"""

import argparse
import pathlib
import subprocess
import tempfile

import harness
import wire

# The product of Package.swift that measures evaluation.
EVALUATION_PRODUCT = "flag-rules-benchmark"

FLAG = "fan-out"
ENVIRONMENT = "production"
SERVICE = "/keelson.flags.v1.FlagService/"
PEER = "/keelson.benchmarks.Fanout/"
CONNECTIONS = 100
# Of the peer's messages: what a change of a boolean flag takes in WatchFlagsResponse, about.
PEER_PAYLOAD_BYTES = 80


def evaluation() -> int:
    print(f"## Evaluation ({EVALUATION_PRODUCT})\n", flush=True)
    command = ["swift", "run", "--package-path", str(harness.ROOT), "-c", "release"]
    return subprocess.run([*command, EVALUATION_PRODUCT]).returncode


class Contestant:
    """A server with the calls that subscribe to it and make a change."""

    def __init__(self, server: harness.Server, prepare, watch, publish):
        self.server = server
        #: (path, body) pairs called once before anything else.
        self.prepare = prepare
        self.watch_path, self.watch_body = watch
        self.publish_path, self.publish_bodies = publish

    def subscribers(self, streams: int) -> harness.Subscribers:
        return harness.Subscribers(
            self.server, streams, self.watch_path, self.watch_body, CONNECTIONS
        )


def keelson(folder: pathlib.Path) -> Contestant:
    toggles = [wire.toggle_flag_request(FLAG, ENVIRONMENT, on) for on in (True, False)]
    return Contestant(
        harness.keelson(folder / "data", ["--environment", ENVIRONMENT]),
        [(SERVICE + "CreateFlag", wire.create_flag_request(FLAG))],
        (SERVICE + "WatchFlags", wire.watch_flags_request(ENVIRONMENT)),
        (SERVICE + "ToggleFlag", toggles),
    )


def peer() -> Contestant:
    return Contestant(
        harness.grpc_peer(PEER_PAYLOAD_BYTES),
        [],
        (PEER + "Subscribe", b""),
        (PEER + "Publish", [b""]),
    )


def prepare(contestant: Contestant) -> None:
    with harness.Subscribers(
        contestant.server, 0, contestant.watch_path, b"", connections=1
    ) as caller:
        for path, body in contestant.prepare:
            caller.call(path, body)


def fan_out(contestant: Contestant, streams: int, changes: int) -> list[str]:
    """One row: milliseconds from a change to its last arrival, CPU per message."""
    server = contestant.server
    with contestant.subscribers(streams) as subscribers:
        # An even number, so that the first measured toggle changes something.
        subscribers.publish(10, contestant.publish_path, contestant.publish_bodies)
        before = server.cpu_seconds()
        measured = subscribers.publish(
            changes, contestant.publish_path, contestant.publish_bodies
        )
        cpu = server.cpu_seconds() - before
    messages = sum(change[3] for change in measured)
    calls = [call / 1e3 for call, *_ in measured]
    upper = [last / 1e3 for _, _, last, _ in measured]
    lower = [max(0.0, last - min(call, first)) / 1e3 for call, first, last, _ in measured]
    row = [server.name, f"{streams:,}", str(len(measured))]
    for values in (calls, lower, upper):
        p50, p99 = (harness.percentile(values, percent) for percent in (50, 99))
        row.append(f"{p50:.2f} / {p99:.2f}")
    row += [f"{max(upper):.2f}", f"{cpu * 1e6 / messages:.2f}", f"{messages / len(measured):,.0f}"]
    return row


def memory(contestant: Contestant, streams: int) -> list[str]:
    """One row: what the server holds before, during and after so many idle streams."""
    server = contestant.server
    before = server.memory_bytes("Rss")
    with contestant.subscribers(streams) as subscribers:
        during = server.memory_bytes("Rss")
        shared = server.memory_bytes("Pss")
        ready = subscribers.ready_milliseconds
    after = server.memory_bytes("Rss")
    each = (during - before) / streams
    row = [server.name, f"{streams:,}"]
    row += [f"{value / 2**20:.1f}" for value in (before, during, shared, after)]
    return [*row, f"{each / 1024:.2f}", f"{ready:.0f}"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev/bench flags", description=__doc__)
    parser.add_argument("--changes", type=int, default=200, help="for each number of subscribers")
    parser.add_argument("--subscribers", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--idle-streams", type=int, default=10_000)
    parser.add_argument(
        "--only", choices=["evaluation", "fan-out", "memory"], nargs="+", help="these parts"
    )
    parser.add_argument(
        "--without-keelson", action="store_true", help="only the peer, to try the method"
    )
    arguments = parser.parse_args()
    parts = arguments.only or ["evaluation", "fan-out", "memory"]

    print(f"machine: {harness.machine()}")
    print(f"commit: {harness.revision()}\n", flush=True)
    failed = 0
    if "evaluation" in parts:
        failed = evaluation()
        print(flush=True)
    makers = [] if arguments.without_keelson else [keelson]
    makers.append(lambda folder: peer())
    if "memory" in parts:
        memory_table(makers, arguments)
    if "fan-out" in parts:
        fan_out_table(makers, arguments)
    return failed


def memory_table(makers, arguments) -> None:
    print("## Memory of idle subscribers, MiB\n")
    rows = []
    for make in makers:
        # A server of its own, so that nothing done before is in its memory.
        with tempfile.TemporaryDirectory(dir=harness.BUILD) as folder:
            contestant = make(pathlib.Path(folder))
            with contestant.server:
                prepare(contestant)
                rows.append(memory(contestant, arguments.idle_streams))
    harness.print_table(
        ["server", "streams", "RSS before", "RSS during", "PSS during", "RSS after",
         "KiB a stream", "ms until all had their first message"],
        rows,
    )  # fmt: skip


def fan_out_table(makers, arguments) -> None:
    print(
        f"## A change to all subscribers over {CONNECTIONS} connections, milliseconds (p50 / p99)\n"
    )
    rows = []
    for make in makers:
        with tempfile.TemporaryDirectory(dir=harness.BUILD) as folder:
            contestant = make(pathlib.Path(folder))
            with contestant.server:
                prepare(contestant)
                for streams in arguments.subscribers:
                    rows.append(fan_out(contestant, streams, arguments.changes))
    harness.print_table(
        ["server", "subscribers", "changes", "call to response", "response to last arrival",
         "call to last arrival", "its max", "server CPU us a message", "messages a change"],
        rows,
    )  # fmt: skip


if __name__ == "__main__":
    harness.run(main)
