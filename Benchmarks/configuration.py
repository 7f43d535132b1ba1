#!/usr/bin/env python3
"""Configuration: a change of one setting to many watchers, beside etcd with as many watchers.

Both servers keep what they are given on the same disk before they answer: `keelson serve` in
SQLite, with history, audit entry and event; etcd in its log. The watchers are those of
flag_subscribers: many streams in one cheap process, over 100 connections.

The moment of the commit is not to be seen from outside. Both bounds are given: from the start of
the call that makes the change (before the commit) and from the earlier of its response and the
first arrival (after the commit).
"""

import argparse
import pathlib
import tempfile

import harness
import wire

APPLICATION, ENVIRONMENT, KEY = "shop", "production", "Checkout:Limit"
SERVICE = "/keelson.configuration.v1.ConfigurationService/"
CONNECTIONS = 100
# Values of the same length, in turn, so that each sets another.
VALUES = ["a" * 32, "b" * 32]


class Contestant:
    """A server with the calls that watch it and make a change."""

    def __init__(self, server, watch, publish, is_etcd=False):
        self.server = server
        self.watch_path, self.watch_body = watch
        self.publish_path, self.publish_bodies = publish
        self.is_etcd = is_etcd

    def subscribers(self, streams: int) -> harness.Subscribers:
        return harness.Subscribers(
            self.server, streams, self.watch_path, self.watch_body, CONNECTIONS, self.is_etcd
        )


def keelson(folder: pathlib.Path) -> Contestant:
    bodies = [wire.set_setting_request(APPLICATION, ENVIRONMENT, KEY, each) for each in VALUES]
    return Contestant(
        harness.keelson(folder / "data", ["--environment", ENVIRONMENT]),
        (SERVICE + "WatchSettings", wire.watch_settings_request(APPLICATION, ENVIRONMENT)),
        (SERVICE + "SetSetting", bodies),
    )


def etcd(folder: pathlib.Path) -> Contestant:
    return Contestant(
        harness.etcd(folder / "data"),
        ("/etcdserverpb.Watch/Watch", wire.etcd_watch_request(KEY)),
        ("/etcdserverpb.KV/Put", [wire.etcd_put_request(KEY, each) for each in VALUES]),
        is_etcd=True,
    )


def fan_out(contestant: Contestant, streams: int, changes: int) -> list[str]:
    """One row: milliseconds from a change to its last arrival, CPU per message."""
    server = contestant.server
    with contestant.subscribers(streams) as subscribers:
        # An even number, so that the first measured one changes something.
        subscribers.publish(20, contestant.publish_path, contestant.publish_bodies)
        before = server.cpu_seconds()
        measured = subscribers.publish(
            changes, contestant.publish_path, contestant.publish_bodies
        )
        cpu = server.cpu_seconds() - before
        ready = subscribers.ready_milliseconds
    messages = sum(change[3] for change in measured)
    calls = [call / 1e3 for call, *_ in measured]
    upper = [last / 1e3 for _, _, last, _ in measured]
    lower = [max(0.0, last - min(call, first)) / 1e3 for call, first, last, _ in measured]
    row = [server.name, f"{streams:,}", str(len(measured))]
    for values in (calls, lower, upper):
        p50, p99 = (harness.percentile(values, percent) for percent in (50, 99))
        row.append(f"{p50:.2f} / {p99:.2f}")
    memory = server.memory_bytes("Rss") / 2**20
    row += [f"{max(upper):.2f}", f"{cpu * 1e6 / messages:.2f}", f"{ready:.0f}", f"{memory:.0f}"]
    return row


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev/bench configuration", description=__doc__)
    parser.add_argument("--changes", type=int, default=500, help="for each number of watchers")
    parser.add_argument("--watchers", type=int, nargs="+", default=[1_000])
    parser.add_argument("--rounds", type=int, default=3, help="both servers in turn, each time")
    parser.add_argument(
        "--without-keelson", action="store_true", help="only etcd, to try the method"
    )
    arguments = parser.parse_args()
    makers = [etcd] if arguments.without_keelson else [keelson, etcd]

    print(f"machine: {harness.machine()}")
    print(f"commit: {harness.revision()}\n", flush=True)
    print(
        f"## A change to all watchers over {CONNECTIONS} connections, milliseconds (p50 / p99)\n"
    )
    rows = []
    for streams in arguments.watchers:
        for _ in range(arguments.rounds):
            for make in makers:
                with tempfile.TemporaryDirectory(dir=harness.BUILD) as folder:
                    contestant = make(pathlib.Path(folder))
                    with contestant.server:
                        rows.append(fan_out(contestant, streams, arguments.changes))
    harness.print_table(
        ["server", "watchers", "changes", "call to response", "response to last arrival",
         "call to last arrival", "its max", "server CPU us a message",
         "ms until all watched", "RSS after, MiB"],
        rows,
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    harness.run(main)
