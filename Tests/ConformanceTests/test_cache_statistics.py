"""How the cache is used: statistics, events, metrics and health."""

import json

import grpc
import pytest
from keelson.cache.v1 import cache_pb2 as cache
from keelson.cache.v1 import cache_pb2_grpc as cache_grpc
from keelson.events.v1 import events_pb2 as events
from keelson.health.v1 import health_pb2 as health

from client import plain, refused
from test_job_health import metrics, next_event

TELEMETRY = [events.EVENT_CLASS_TELEMETRY]


def use(client):
    """Two entries, three hits of which two of one key, a miss, and invalidations of each kind."""
    calls = cache_grpc.CacheServiceStub(client.channel)
    for name in "ab":
        calls.SetEntry(cache.SetEntryRequest(key=f"acme:shop:item:{name}", value=b"123"))
    for name in "aabc":
        calls.GetEntry(cache.GetEntryRequest(key=f"acme:shop:item:{name}"))
    calls.InvalidateEntries(
        cache.InvalidateEntriesRequest(
            keys=["acme:shop:item:b"], tags=["x", "y"], patterns=["acme:mail:*"]
        )
    )
    return calls


def test_statistics_count_what_is_done(private, dial):
    client = dial(private)
    calls = use(client)
    found = calls.GetStatistics(cache.GetStatisticsRequest(hottest=2))
    assert (found.hits, found.misses, found.sets, found.hit_ratio) == (3, 1, 2, 0.75)
    invalidations = (
        found.key_invalidations, found.tag_invalidations, found.pattern_invalidations,
    )
    assert invalidations == (1, 2, 1)
    assert found.engine == cache.CACHE_ENGINE_KIND_MEMORY
    assert found.entries == 1 and 0 < found.memory_bytes < found.memory_limit_bytes
    assert found.epoch and found.sequence >= 4
    assert [(each.key, each.count) for each in found.hottest_keys][0] == ("acme:shop:item:a", 2)
    assert len(found.hottest_keys) == 2
    assert not calls.GetStatistics(cache.GetStatisticsRequest(hottest=0)).hottest_keys

    request = cache.WatchStatisticsRequest()
    request.interval.FromMilliseconds(100)
    watch = calls.WatchStatistics(request, timeout=60)
    assert next(watch).hits == 3
    calls.GetEntry(cache.GetEntryRequest(key="acme:shop:item:a"))
    while next(watch).hits < 4:
        pass
    watch.cancel()

    counted = metrics(private)
    assert counted["keelson_cache_hits_total"] == "4"
    assert counted["keelson_cache_misses_total"] == "1"
    assert counted["keelson_cache_entries"] in ("0", "1")
    shown = next(
        each for each in client.health.GetHealth(health.GetHealthRequest()).components
        if each.name == "cache"
    )
    assert shown.status == health.STATUS_HEALTHY and not shown.essential
    details = plain(shown.details)
    assert details["engine"] == "memory" and details["reachable"] is True
    assert details["memory_limit_bytes"] == 256 << 20 and "memory_bytes" in details


def test_bad_requests_are_refused(client):
    calls = cache_grpc.CacheServiceStub(client.channel)
    for hottest in (-1, 101):
        request = cache.GetStatisticsRequest(hottest=hottest)
        error = refused(calls.GetStatistics, request, code=grpc.StatusCode.INVALID_ARGUMENT)
        assert "hottest: " in error.details()
    for milliseconds in (0, 99, 3_600_001):
        request = cache.WatchStatisticsRequest()
        request.interval.FromMilliseconds(milliseconds)
        error = refused(calls.WatchStatistics, request, code=grpc.StatusCode.INVALID_ARGUMENT)
        assert "interval: " in error.details()


@pytest.mark.waits
def test_whoever_listens_hears_of_it(launch, dial):
    client = dial(launch(limits=["cache-statistics-interval=100ms"]))
    stream = client.subscribe(
        "keelson.cache.*", "keelson.health.CacheHealthChecked", classes=TELEMETRY
    )
    assert next(stream).WhichOneof("content")
    use(client)
    heard = {}
    wanted = {"CacheEntryAdded", "CacheInvalidated", "CacheStatisticsCollected",
              "CacheHealthChecked"}
    while wanted - heard.keys():
        event = next_event(stream)
        heard.setdefault(event.type.rsplit(".", 1)[1], (event, json.loads(event.text_data)))
    stream.cancel()
    data = heard["CacheEntryAdded"][1]
    assert data["key"] == "acme:shop:item:a" and data["bytes"] == 3 and "value" not in data
    assert heard["CacheInvalidated"][1]["keys"] == ["acme:shop:item:b"]
    assert heard["CacheHealthChecked"][1]["details"]["engine"] == "memory"
