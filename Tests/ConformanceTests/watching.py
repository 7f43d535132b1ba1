"""Reads a WatchFlags stream, folds it into a state, and checks the promises on the way."""

import queue
import threading

import grpc

from client import flags


class Fold:
    """The rules that a subscriber holds, and what the stream may do to them.

    `snapshots` and `changes` are the revisions at which they came.
    """

    def __init__(self):
        self.revision = 0
        self.flags = {}
        self.segments = {}
        self.flag_set = None
        self.snapshots = []
        self.changes = []

    def apply(self, response):
        kind = response.WhichOneof("event")
        if kind == "snapshot":
            assert response.revision >= self.revision, "a snapshot of the past"
            snapshot = response.snapshot
            self.flags = {each.key: each for each in snapshot.flags}
            self.segments = {each.key: each.condition for each in snapshot.segments}
            self.flag_set = snapshot.flag_set
            assert len(self.flags) == len(snapshot.flags), "a flag twice in a snapshot"
            self.snapshots.append(response.revision)
        elif kind == "change":
            assert response.revision > self.revision, (
                f"revision {response.revision} after {self.revision}: not in order, or twice"
            )
            self.apply_change(response.change)
            self.changes.append(response.revision)
        else:
            assert kind == "heartbeat", f"an event of no kind: {response}"
            assert response.revision >= self.revision
            assert response.heartbeat.interval.ToTimedelta().total_seconds() > 0
        self.revision = response.revision
        return kind

    def apply_change(self, change):
        kind = change.WhichOneof("change")
        if kind == "flag":
            self.flags[change.flag.key] = change.flag
        elif kind == "removed_flag":
            self.flags.pop(change.removed_flag, None)
        elif kind == "segment":
            self.segments[change.segment.key] = change.segment.condition
        elif kind == "removed_segment":
            self.segments.pop(change.removed_segment, None)
        elif kind == "flag_set":
            self.flag_set = change.flag_set
        else:
            raise AssertionError(f"a change of no kind: {change}")

    def state(self):
        """Comparable; without revisions, which may differ where the rules do not."""

        def rules(each):
            copy = flags.FlagRules()
            copy.CopyFrom(each)
            copy.revision = 0
            copy.ClearField("variants")
            return copy, {name: each.variants[name] for name in each.variants}

        return (
            {key: rules(each) for key, each in self.flags.items()},
            self.segments,
            self.flag_set,
        )


def read_until(stream, fold, revision):
    """Applies messages until the fold has reached the revision."""
    while fold.revision < revision:
        fold.apply(next(stream))
    return fold


def snapshot(client, flag_set="", environment=""):
    """What a new subscriber gets first."""
    stream = client.watch(flag_set, environment)
    fold = Fold()
    assert fold.apply(next(stream)) == "snapshot"
    stream.cancel()
    return fold


def arriving(stream):
    """A queue that gets each message of a stream, and at last its error or None."""
    messages = queue.Queue()

    def read():
        try:
            for message in stream:
                messages.put(message)
            messages.put(None)
        except grpc.RpcError as error:
            messages.put(error)

    threading.Thread(target=read, daemon=True).start()
    return messages
