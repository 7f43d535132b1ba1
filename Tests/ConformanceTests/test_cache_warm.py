"""Warm sets: kept, loaded on demand and on start, from values and by URL."""

import json

import grpc
import pytest
from keelson.cache.v1 import cache_pb2 as cache
from keelson.cache.v1 import cache_pb2_grpc as cache_grpc

from client import refused
from worker_process import LocalServer

Run = cache.WarmSetRun


@pytest.fixture
def shop():
    server = LocalServer()
    yield server
    server.close()


def stub(client):
    return cache_grpc.CacheServiceStub(client.channel)


def warm_set(name, *sources, **fields):
    """Texts are URLs, bytes are values."""
    made = cache.WarmSet(name=name, **fields)
    for index, source in enumerate(sources):
        entry = made.entries.add(key=f"acme:shop:{name}:{index}")
        if isinstance(source, str):
            entry.url = source
        else:
            entry.value = source
    return made


def create(client, *arguments, **fields):
    request = cache.CreateWarmSetRequest(warm_set=warm_set(*arguments, **fields))
    return stub(client).CreateWarmSet(request)


def load(client, name):
    """Loads a set; its run once that has ended."""
    begun = stub(client).StartWarmSet(cache.StartWarmSetRequest(name=name))
    return ended(client, name, begun.id)


def ended(client, name, run=None):
    last = None
    for last in stub(client).WatchWarmSet(cache.WatchWarmSetRequest(name=name), timeout=60):
        assert run in (None, last.id)
    assert last.state != Run.RUNNING and last.end_time.seconds
    return last


def value(client, key):
    response = stub(client).GetEntry(cache.GetEntryRequest(key=key))
    return response.entry.value if response.HasField("entry") else None


def warmed(client):
    """What the next run that ends tells of itself, from the first event on."""
    stream = client.subscribe("keelson.cache.CacheWarmed", from_oldest=True)
    for response in stream:
        if response.WhichOneof("content") == "event":
            stream.cancel()
            return json.loads(response.event.text_data)
    raise AssertionError("the subscription ended")


def test_a_set_is_loaded_from_values_and_urls(launch, dial, shop):
    shop.on("/goods", (200, b"goods"))
    shop.on("/gone", (404, b"no"))
    shop.on("/moved", (302, b"", {"Location": shop.address + "/goods"}))
    server = launch(arguments=["--cache-warm-origin", shop.address])
    client = dial(server)
    stream = client.subscribe("keelson.cache.CacheWarmed")
    assert next(stream).WhichOneof("content")
    made = create(client, "goods", b"\x00value", shop.address + "/goods?secret=1")
    assert (made.entry_count, made.concurrency) == (2, 8) and made.etag
    run = load(client, "goods")
    assert (run.state, run.total, run.loaded, run.failed) == (Run.COMPLETED, 2, 2, 0)
    assert value(client, "acme:shop:goods:0") == b"\x00value"
    assert value(client, "acme:shop:goods:1") == b"goods"

    made.entries[0].url = shop.address + "/gone"
    made.entries.add(key="acme:shop:goods:moved", url=shop.address + "/moved")
    request = cache.UpdateWarmSetRequest(warm_set=made)
    request.update_mask.paths.append("entries")
    assert stub(client).UpdateWarmSet(request).etag != made.etag
    refused(stub(client).UpdateWarmSet, request, code=grpc.StatusCode.ABORTED)
    run = load(client, "goods")
    assert (run.state, run.loaded, run.failed) == (Run.FAILED, 1, 2)
    assert sorted(run.errors) == [
        "acme:shop:goods:0: its URL answered with status 404.",
        "acme:shop:goods:moved: its URL leads elsewhere (status 302), and redirects are not "
        "followed.",
    ]
    told = []
    for response in stream:
        if response.WhichOneof("content") == "event":
            told.append(json.loads(response.event.text_data))
        if len(told) == 2:
            break
    stream.cancel()
    assert [each["state"] for each in told] == ["completed", "failed"]
    assert told[1]["failed"] == 2 and "secret" not in json.dumps(told)
    (listed,) = stub(client).ListWarmSets(cache.ListWarmSetsRequest()).warm_sets
    assert listed.name == "goods" and listed.entry_count == 3 and not listed.entries
    stub(client).DeleteWarmSet(cache.DeleteWarmSetRequest(name="goods"))
    refused(
        stub(client).StartWarmSet, cache.StartWarmSetRequest(name="goods"),
        code=grpc.StatusCode.NOT_FOUND,
    )


def test_sets_are_loaded_when_a_server_starts(launch, dial):
    server = launch()
    client = dial(server)
    create(client, "first", b"1", on_start=True)
    create(client, "second", b"2")
    assert value(client, "acme:shop:first:0") is None
    server.stop()
    server.start()
    client = dial(server)
    told = warmed(client)
    assert (told["warm_set"], told["state"], told["loaded"]) == ("first", "completed", 1)
    assert value(client, "acme:shop:first:0") == b"1"
    assert value(client, "acme:shop:second:0") is None


def test_a_run_is_called_off_and_a_server_that_stops_waits_for_none(launch, dial, shop):
    shop.on("/slow", None)
    server = launch(arguments=["--cache-warm-origin", shop.address])
    client = dial(server)
    create(client, "slow", shop.address + "/slow")
    begun = stub(client).StartWarmSet(cache.StartWarmSetRequest(name="slow"))
    assert begun.state == Run.RUNNING
    again = stub(client).StartWarmSet(cache.StartWarmSetRequest(name="slow"))
    assert again.id == begun.id
    called_off = stub(client).CancelWarmSet(cache.CancelWarmSetRequest(name="slow"))
    assert (called_off.id, called_off.state) == (begun.id, Run.CANCELLED)
    assert ended(client, "slow", begun.id) == called_off
    stub(client).StartWarmSet(cache.StartWarmSetRequest(name="slow"))
    server.stop()


@pytest.mark.waits
def test_every_server_of_a_fleet_sees_a_run(launch, dial, shop, postgres, shared_redis):
    shop.on("/slow", None)
    arguments = [
        "--database", postgres.create_database(),
        "--cache", shared_redis.url(shared_redis.next_database()),
        "--cache-warm-origin", shop.address,
    ]
    loading, other = (
        launch(arguments=arguments, limits=["cache-warm-lease=5s"]) for _ in range(2)
    )
    first, second = dial(loading), dial(other)
    create(first, "slow", b"1", shop.address + "/slow")
    start = cache.StartWarmSetRequest(name="slow")
    begun = stub(first).StartWarmSet(start, timeout=3)
    watch = stub(second).WatchWarmSet(
        cache.WatchWarmSetRequest(name="slow", run_id=begun.id), timeout=60
    )
    # Progress arrives there as well.
    assert next(run for run in watch if run.loaded == 1).state == Run.RUNNING
    assert stub(second).StartWarmSet(start).id == begun.id
    # The call that has begun it had a deadline; what it began has none.
    with pytest.raises(grpc.RpcError) as passed:
        list(stub(second).WatchWarmSet(cache.WatchWarmSetRequest(name="slow"), timeout=3))
    assert passed.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    cancel = cache.CancelWarmSetRequest(name="slow", run_id=begun.id)
    ended_run = stub(second).CancelWarmSet(cancel)
    assert (ended_run.id, ended_run.state, ended_run.loaded) == (begun.id, Run.CANCELLED, 1)
    assert list(watch)[-1] == ended_run

    # A server that dies leaves its run to be called lost.
    begun = stub(first).StartWarmSet(start)
    watch = stub(second).WatchWarmSet(cache.WatchWarmSetRequest(name="slow"), timeout=60)
    assert next(watch).id == begun.id
    loading.kill()
    assert list(watch)[-1].state == Run.LOST
    shop.on("/slow", (200, b"1"))
    assert load(second, "slow").state == Run.COMPLETED
    assert value(second, "acme:shop:slow:1") == b"1"
    listed = stub(second).ListWarmSetRuns(cache.ListWarmSetRunsRequest(name="slow"))
    assert [run.state for run in listed.runs] == [Run.COMPLETED, Run.LOST, Run.CANCELLED]


def test_what_is_wrong_is_said(client, shop):
    calls = stub(client)

    def wrong(made, code=grpc.StatusCode.INVALID_ARGUMENT):
        request = cache.CreateWarmSetRequest(warm_set=made)
        return refused(calls.CreateWarmSet, request, code=code).details()

    assert "warm_set.name: " in wrong(warm_set("a b", b""))
    assert "warm_set.entries: has 0 entries" in wrong(warm_set("empty"))
    twice = warm_set("twice", b"1", b"2")
    twice.entries[1].key = twice.entries[0].key
    assert "warm_set.entries[1].key: " in wrong(twice)
    assert "warm_set.entries[0].value: has" in wrong(warm_set("large", bytes(1 << 20 | 1)))
    elsewhere = wrong(warm_set("url", shop.address), grpc.StatusCode.FAILED_PRECONDITION)
    assert f"--cache-warm-origin {shop.address}" in elsewhere
    for call, request in [
        (calls.GetWarmSet, cache.GetWarmSetRequest(name="unknown")),
        (calls.StartWarmSet, cache.StartWarmSetRequest(name="unknown")),
        (calls.WatchWarmSet, cache.WatchWarmSetRequest(name="unknown")),
        (calls.CancelWarmSet, cache.CancelWarmSetRequest(name="unknown")),
        (calls.ListWarmSetRuns, cache.ListWarmSetRunsRequest(name="unknown")),
        (calls.DeleteWarmSet, cache.DeleteWarmSetRequest(name="unknown")),
    ]:
        assert "'unknown'" in refused(call, request, code=grpc.StatusCode.NOT_FOUND).details()
