"""Servers whose cache is on Redis, and readers that watch for anything old."""

import threading
import time

import grpc
import pytest
from keelson.cache.v1 import cache_pb2 as cache

from caching import Cache

STALENESS_SECONDS = 0.1
TIMEOUT_SECONDS = 20
# Redis is tried again soon, so that tests are short.
SOON = ["cache-breaker-open=200ms"]


def until(condition, what, timeout_seconds=TIMEOUT_SECONDS):
    """Asks again and again; what it came to. `what` is a text, or gives one."""
    deadline = time.monotonic() + timeout_seconds
    pause = threading.Event()
    while not (found := condition()):
        in_time = time.monotonic() < deadline
        assert in_time, f"never: {what() if callable(what) else what}"
        pause.wait(0.005)
    return found


class Node(Cache):
    """A server, and its cache."""

    def __init__(self, server, client):
        super().__init__(client)
        self.server, self.client = server, client

    def engine(self):
        return cache.CacheEngineKind.Name(self.statistics().engine).removeprefix(
            "CACHE_ENGINE_KIND_"
        )

    def serves_from(self, engine):
        """Waits until that engine serves."""
        until(
            lambda: self.engine() == engine, lambda: f"{engine}: {self.server.log_text()[-2000:]}"
        )
        return self

    def invalidate_surely(self, **names):
        """Again and again until it is acknowledged; when that was."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        pause = threading.Event()
        while True:
            try:
                self.invalidate(**names)
                return time.monotonic()
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.UNAVAILABLE, error
                assert time.monotonic() < deadline, error
                pause.wait(0.01)

    def set_surely(self, key, value, **fields):
        """Until all servers have it; when that was."""
        until(
            lambda: (done := self.set(key, value, **fields)).stored and not done.fallback,
            f"{key} is stored",
        )
        return time.monotonic()

    def gone(self, key, old, since):
        """Asks until it is another: who asks 100 ms after `since` does not get the old one."""
        while True:
            began = time.monotonic()
            found = self.get(key)
            if found != old:
                return found
            late = began - since
            assert late < STALENESS_SECONDS, f"{old} was given {late * 1e3:.0f} ms later"


@pytest.fixture
def node(launch, dial):
    """Starts servers on a Redis."""

    def node(url, limits=SOON, **options):
        server = launch(arguments=["--cache", url], limits=limits, **options)
        return Node(server, dial(server))

    return node


class Readers:
    """Get keys through servers again and again, each in a thread of its own. No get may fail, none
    may take long, and none that begins 100 ms after a value was replaced may give it."""

    LONGEST_SECONDS = 2.5

    def __init__(self, nodes, keys):
        self.found = []
        self.replaced = {}
        self.failures = []
        self.ending = threading.Event()
        self.threads = [
            threading.Thread(target=self._read, args=(node, keys), daemon=True) for node in nodes
        ]

    def _read(self, node, keys):
        try:
            while not self.ending.is_set():
                for key in keys:
                    began = time.monotonic()
                    value = node.get(key)
                    self.found.append((key, value, began, time.monotonic()))
        except Exception as error:
            self.failures.append(error)

    def over(self, key, value, since):
        """This value was replaced or made void then."""
        self.replaced[key, value] = min(since, self.replaced.get((key, value), since))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, *_):
        self.ending.set()
        for thread in self.threads:
            thread.join(60)
        if kind is None:
            self.check()

    def settle(self):
        """Waits until every reader has asked for every key, well after what was replaced."""
        asked = time.monotonic() + 2 * STALENESS_SECONDS
        begun = len(self.found)
        until(
            lambda: self.failures
            or len(self.found) > begun and min(self._latest().values()) > asked,
            "everything is read once more",
        )

    def _latest(self):
        latest = dict.fromkeys({key for key, *_ in self.found[-5_000:]}, 0)
        for key, _, began, _ in self.found[-5_000:]:
            latest[key] = max(latest[key], began)
        return latest

    def check(self):
        assert not self.failures, self.failures
        assert len(self.found) > 10
        slowest = max(end - began for _, _, began, end in self.found)
        assert slowest < self.LONGEST_SECONDS, f"a get took {slowest:.1f} s"
        late = [
            (key, value, f"{(began - self.replaced[key, value]) * 1e3:.0f} ms late")
            for key, value, began, _ in self.found
            if began - self.replaced.get((key, value), began) > STALENESS_SECONDS
        ]
        assert not late, f"{len(late)} old values: {late[:5]} … {late[-1]}"
