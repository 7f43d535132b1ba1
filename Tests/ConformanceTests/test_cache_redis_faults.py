"""Redis away, slow, emptied, older than it was: nobody is failed, and nothing old is given."""

import json
import threading
import time

import grpc
import pytest
from google.rpc import error_details_pb2
from keelson.cache.v1 import cache_pb2 as cache
from keelson.health.v1 import health_pb2 as health

from cache_nodes import SOON, Readers, node, until  # noqa: F401  (a fixture)
from client import details, refused
from fault_fleet import CuttingProxy
from redis_server import PrivateRedis, restartable_port

Code = grpc.StatusCode


def component(answer):
    return next(each for each in answer.components if each.name == "cache")


def healthy(node, status):
    """Waits for what health says of the cache."""
    for answer in node.client.health.WatchHealth(health.WatchHealthRequest(), timeout=30):
        if component(answer).status == status:
            assert answer.ready
            return component(answer)
    raise AssertionError("the watch ended")


def next_event(stream):
    for response in stream:
        if response.WhichOneof("content") == "event":
            return response.event
    raise AssertionError("the subscription ended")


@pytest.fixture
def way(redis):
    """A way to Redis that can be cut off: what is said on it, and whether it may be taken."""
    open_ = [("127.0.0.1", redis.port)]
    proxy = CuttingProxy(lambda: list(open_))

    def close():
        open_.clear()
        proxy.cut()

    proxy.close_way, proxy.open_way = close, lambda: open_.append(("127.0.0.1", redis.port))
    proxy.url = f"redis://{proxy.address}"
    yield proxy
    proxy.close()


@pytest.mark.waits
def test_a_server_starts_without_redis_and_finds_it_later(node):
    port = restartable_port()
    cached = node(f"redis://127.0.0.1:{port}")
    assert cached.engine() == "FALLBACK"
    stored = cached.set("a:b:c:1", b"here")
    assert stored.stored and stored.fallback
    told = healthy(cached, health.STATUS_DEGRADED)
    assert "Redis" in told.message and not told.essential
    redis = PrivateRedis(port=port)
    try:
        redis.port = port
        cached.serves_from("REDIS")
        cached.set_surely("a:b:c:1", b"shared")
        assert cached.get("a:b:c:1") == b"shared"
        healthy(cached, health.STATUS_HEALTHY)
    finally:
        redis.remove()


@pytest.mark.waits
def test_the_circuit_breaker(redis, way, node):
    """One server is cut off from Redis, the other is not."""
    cut, other = node(way.url), node(redis.url())
    events = cut.client.subscribe("keelson.cache.CacheFallback*", after_revision=0)
    for key in ("mine", "others", "void", "tagged"):
        cut.set_surely(f"a:b:c:{key}", b"old", tags=["t"] if key == "tagged" else [])
    watch = cut.watch()
    assert not watch.start.fallback
    way.close_way()
    # Calls go on: each that finds Redis away is done in memory, and after five it is left alone.
    for _ in range(20):
        assert cut.get("a:b:c:others") in (None, b"old")
    assert cut.engine() == "FALLBACK"
    assert cut.get("a:b:c:others") is None
    activated = next_event(events)
    assert activated.type == "keelson.cache.CacheFallbackActivated"
    assert json.loads(activated.text_data)["cause"]
    events_of_watch, pong = watch.ping()
    assert events_of_watch[-1].start.fallback and not pong.in_sync
    assert "memory" in cut.server.log_text()

    stored = cut.set("a:b:c:mine", b"new", ttl=3600)
    assert stored.stored and stored.fallback
    assert cut.get("a:b:c:mine") in (None, b"new")
    until(lambda: cut.get("a:b:c:mine") is None, "what is stored here lives for a short time")
    lease = cut.lease("a:b:c:leased")
    assert lease.HasField("lease") and cut.lease("a:b:c:leased").leased
    assert cut.set("a:b:c:leased", b"loaded", lease=lease.lease).stored
    assert cut.get("a:b:c:leased") in (None, b"loaded")
    for names in ({"keys": ["a:b:c:void"]}, {"tags": ["t"]}):
        error = refused(cut.invalidate, **names, code=Code.UNAVAILABLE)
        assert details(error, error_details_pb2.RetryInfo), error.details()
    assert details(
        refused(cut.delete, "a:b:c:void", code=Code.UNAVAILABLE), error_details_pb2.RetryInfo
    )
    other.set_surely("a:b:c:others", b"new")
    healthy(cut, health.STATUS_DEGRADED)

    way.open_way()
    cut.serves_from("REDIS")
    ended = next_event(events)
    assert ended.type == "keelson.cache.CacheFallbackEnded"
    assert json.loads(ended.text_data)["duration_seconds"] > 0
    # What was written here meanwhile has made the old void, for all; what others wrote is there.
    for each in (cut, other):
        found = [each.get(f"a:b:c:{key}") for key in ("mine", "others", "void", "tagged", "leased")]
        assert found == [None, b"new", None, None, None]
    until(
        lambda: [each for each in watch.ping()[0] if each.HasField("start")], "a watch begins anew"
    )
    assert cut.statistics().fallbacks == 1
    healthy(cut, health.STATUS_HEALTHY)
    watch.close()
    events.cancel()


def test_more_than_is_noted_makes_everything_void_on_return(redis, way, node):
    cut = node(way.url, limits=[*SOON, "cache-outage-log=10"])
    other = node(redis.url())
    other.set_surely("a:b:c:bystander", b"value")
    way.close_way()
    for number in range(20):
        cut.set(f"a:b:c:{number}")
    cut.serves_from("FALLBACK")
    way.open_way()
    cut.serves_from("REDIS")
    assert cut.get("a:b:c:bystander") is None
    assert other.get("a:b:c:bystander") is None


def test_a_redis_that_comes_back_empty_is_a_new_cache(redis, node):
    first, second = node(redis.url()), node(redis.url())
    first.set_surely("a:b:c:1", b"old")
    watch = second.watch()
    with Readers([first, second], ["a:b:c:1"]) as readers:
        redis.kill()
        for each in (first, second):
            each.serves_from("FALLBACK")
        redis.start()
        readers.over("a:b:c:1", b"old", time.monotonic())
        for each in (first, second):
            each.serves_from("REDIS")
        readers.settle()
    first.set_surely("a:b:c:1", b"new")
    assert second.get("a:b:c:1") == b"new"
    epoch = first.statistics().epoch
    assert epoch != watch.start.epoch

    def begun():
        starts = [each.start for each in watch.ping()[0] if each.HasField("start")]
        return starts and starts[-1].epoch == epoch

    until(begun, "the watch begins anew")
    watch.close()


KEYS = [f"a:b:c:{kind}" for kind in ("set", "keys", "tags", "patterns")]


def test_nothing_of_an_old_dump_is_given(start_redis, node):
    """It holds what was replaced and made void since it was written."""
    redis = start_redis(dump=True)
    first, second = node(redis.url()), node(redis.url())
    for key in KEYS:
        first.set_surely(key, b"old", tags=["t"] if key.endswith("tags") else [])
    redis.say("SAVE")
    with Readers([first, second], KEYS) as readers:
        readers.over(KEYS[0], b"old", first.set_surely(KEYS[0], b"new"))
        names = {"keys": [KEYS[1]], "tags": ["t"], "patterns": ["a:*:patterns"]}
        for key, (kind, value) in zip(KEYS[1:], names.items()):
            readers.over(key, b"old", first.invalidate_surely(**{kind: value}))
        redis.restart()
        for each in (first, second):
            each.serves_from("REDIS")
        assert "keys loaded: " in "".join(redis.said), "the dump was not loaded"
        for each in (first, second):
            each.set_surely("a:b:c:other", b"works")
        readers.settle()


def test_flushall_is_a_new_cache(redis, node):
    first, second = node(redis.url()), node(redis.url())
    with Readers([first, second], ["a:b:c:1"]) as readers:
        for round_ in range(5):
            old = f"{round_}".encode()
            first.set_surely("a:b:c:1", old)
            until(lambda: second.get("a:b:c:1") == old, "both have it")
            redis.say("FLUSHALL")
            readers.over("a:b:c:1", old, time.monotonic())
            # At once, by who does not know of it: what is acknowledged holds.
            replaced = f"{round_}, replaced".encode()
            second.set_surely("a:b:c:1", replaced)
            since = first.invalidate_surely(keys=["a:b:c:1"])
            readers.over("a:b:c:1", replaced, since)
            for each in (first, second):
                assert each.gone("a:b:c:1", replaced, since) is None
        readers.settle()
    assert first.statistics().epoch == second.statistics().epoch


@pytest.mark.parametrize("kind", ["pubsub", "normal"])
def test_connections_that_redis_ends_lose_nothing(redis, node, kind):
    first, second = node(redis.url()), node(redis.url())
    with Readers([second], ["a:b:c:1"]) as readers:
        for round_ in range(30):
            old = f"{round_}".encode()
            first.set_surely("a:b:c:1", old, tags=["t"])
            if round_ % 3 == 0:
                assert redis.say("CLIENT", "KILL", "TYPE", kind) > 0
            names = ({"tags": ["t"]}, {"keys": ["a:b:c:1"]}, {"patterns": ["a:*"]})[round_ % 3]
            since = first.invalidate_surely(**names)
            readers.over("a:b:c:1", old, since)
            second.gone("a:b:c:1", old, since)
        readers.settle()
    first.serves_from("REDIS")
    second.serves_from("REDIS")


def test_a_redis_that_stands_still_fails_nobody(redis, node):
    first, second = node(redis.url()), node(redis.url())
    pause = threading.Event()
    with Readers([first, second], ["a:b:c:1"]) as readers:
        for round_ in range(2):
            old = f"{round_}".encode()
            first.set_surely("a:b:c:1", old, tags=["t"])
            redis.pause()
            # So long it stands still; the readers go on.
            pause.wait(0.6)
            redis.resume()
            readers.over("a:b:c:1", old, first.invalidate_surely(tags=["t"]))
            first.serves_from("REDIS")
            second.serves_from("REDIS")
        readers.settle()


def test_what_redis_carries_out_late_replaces_nothing_newer(redis, node):
    """Sets that had no answer lie in the connection, and Redis carries them out when it goes on."""
    first, second = node(redis.url()), node(redis.url())
    keys = [f"a:b:c:{number}" for number in range(20)]
    redis.pause()
    try:
        for key in keys:
            stored = first.set(key, b"late" + bytes(50_000))
            assert not stored.stored or stored.fallback
    finally:
        redis.resume()
    with Readers([first, second], keys) as readers:
        for key in keys:
            readers.over(key, b"late" + bytes(50_000), second.set_surely(key, b"new"))
        for each in (first, second):
            each.serves_from("REDIS")
        readers.settle()


def test_a_redis_that_takes_no_writes(redis, node):
    cached = node(redis.url())
    cached.set_surely("a:b:c:1", b"old")
    with Readers([cached], ["a:b:c:1"]) as readers:
        redis.say("REPLICAOF", "127.0.0.1", restartable_port())
        until(lambda: cached.set("a:b:c:1", b"local").fallback, "it is done in memory")
        error = refused(cached.invalidate, keys=["a:b:c:1"], code=Code.UNAVAILABLE)
        assert details(error, error_details_pb2.RetryInfo), error.details()
        cached.serves_from("FALLBACK")
        readers.over("a:b:c:1", b"old", time.monotonic())
        redis.say("REPLICAOF", "NO", "ONE")
        cached.serves_from("REDIS")
        since = cached.set_surely("a:b:c:1", b"new")
        readers.over("a:b:c:1", b"local", since)
        readers.settle()
    assert cached.get("a:b:c:1") == b"new"
