"""The cache: entries and their lives, making void, loading once, watching, and bad input."""

import threading
import time

import grpc
import pytest
from keelson.cache.v1 import cache_pb2 as cache

import auditing
from caching import Cache, at_once, duration, lifetime
from client import Client, invalid, refused, violations
from server import KeelsonServer

Code = grpc.StatusCode
CENTURY_SECONDS = 100 * 365 * 86_400
# By the limit of a batch, or that of a message.
TOO_LARGE = {Code.INVALID_ARGUMENT, Code.RESOURCE_EXHAUSTED}


@pytest.fixture(scope="module")
def on_redis(binary, shared_redis, tmp_path_factory):
    """A client of a server whose cache is on Redis."""
    url = shared_redis.url(shared_redis.next_database())
    folder = tmp_path_factory.mktemp("on-redis")
    server = KeelsonServer(folder, arguments=["--cache", url]).start()
    client = Client(server.address).ready()
    yield client
    client.close()
    server.stop()


@pytest.fixture(params=["memory", "redis"])
def service(request):
    name = {"memory": "client", "redis": "on_redis"}[request.param]
    service = Cache(request.getfixturevalue(name))
    service.engine = request.param
    return service


@pytest.fixture
def name(key):
    """A key of this test's own, and what it begins with."""
    return lambda id: f"{key[:60].replace('/', '-')}:shop:article:{id}"


def test_an_entry_is_there_until_its_time_is_over(service, name):
    assert service.entry(name(1)) is None
    stored = service.set(name(1), bytes(range(256)), ttl=60, tags=["b", "a"])
    assert stored.stored and stored.epoch and not stored.fallback
    entry = service.entry(name(1))
    assert entry.value == bytes(range(256)) and list(entry.tags) == ["b", "a"]
    assert entry.stamp == stored.stamp and not entry.absent
    assert 55 < entry.fresh_for.seconds <= 60 and entry.ttl.seconds == 60
    service.set(name(2), ttl=0.05)
    deadline = time.monotonic() + 10
    while service.get(name(2)) is not None:
        assert time.monotonic() < deadline
    assert service.get(name(1)) is not None


def test_lifetimes_have_presets_and_jitter(service, name):
    seconds = {"SHORT": 60, "MEDIUM": 300, "LONG": 3_600, "DAY": 86_400, "WEEK": 604_800}
    for preset, expected in seconds.items():
        value = cache.TTLPreset.Value(f"TTL_PRESET_{preset}")
        service.set(name(1), lifetime=cache.Lifetime(preset=value, jitter=0))
        assert service.entry(name(1)).ttl.seconds == expected
    service.set(name(1), lifetime=cache.Lifetime(jitter=0))
    assert service.entry(name(1)).ttl.seconds == 300
    lives = set()
    for _ in range(20):
        service.set(name(1), lifetime=None)
        lives.add(service.entry(name(1)).ttl.ToMilliseconds())
    assert len(lives) > 10 and all(270_000 <= each <= 300_000 for each in lives)


def test_what_is_not_there_can_be_stored_too(service, name):
    service.set(name(1), b"", absent=True)
    entry = service.entry(name(1))
    assert entry.absent and entry.value == b""


def test_batches_keep_their_order(service, name):
    keys = [name(index) for index in range(1000)]
    requests = [
        cache.SetEntryRequest(key=key, value=key.encode(), lifetime=lifetime(60)) for key in keys
    ]
    stored = service.call("BatchSetEntries", cache.BatchSetEntriesRequest(requests=requests))
    assert all(each.stored for each in stored.responses) and len(stored.responses) == 1000
    service.delete(keys[7])
    found = service.call("BatchGetEntries", cache.BatchGetEntriesRequest(keys=keys[::-1]))
    assert [each.entry.value.decode() for each in found.responses] == [
        "" if key == keys[7] else key for key in keys[::-1]
    ]
    assert list(service.delete(*keys[5:10]).found) == [True, True, False, True, True]


def test_touching_prolongs(service, name):
    service.set(name(1), ttl=60)
    touched = service.call(
        "TouchEntries",
        cache.TouchEntriesRequest(keys=[name(1), name(2)], lifetime=lifetime(3_600)),
    )
    assert list(touched.found) == [True, False]
    assert service.entry(name(1)).fresh_for.seconds > 3_000


@pytest.mark.parametrize("kind", ["keys", "tags", "patterns"])
def test_what_is_made_void_is_gone_at_once(service, name, kind):
    for index in range(100):
        service.set(name(index), tags=[name("even") if index % 2 == 0 else name("odd")])
    names = {
        "keys": [name(index) for index in range(0, 100, 2)],
        "tags": [name("even")],
        "patterns": [name(f"*{digit}") for digit in "02468"],
    }
    service.invalidate(**{kind: names[kind]})
    there = [index for index in range(100) if service.get(name(index)) is not None]
    assert there == list(range(1, 100, 2))
    service.set(name(2), tags=[name("even")])
    assert service.get(name(2)) is not None, "what comes later is not concerned"


def test_one_of_many_gets_the_lease(service, name):
    loads = []

    def remember(index):
        response = service.lease(name(1), wait=20)
        if response.HasField("lease"):
            loads.append(index)
            service.set(name(1), b"loaded", lease=response.lease)
            return b"loaded"
        return response.entry.value

    assert set(at_once(50, remember)) == {b"loaded"}
    assert len(loads) == 1


@pytest.mark.parametrize("kind", ["keys", "tags", "patterns", "set", "delete"])
def test_what_was_loaded_while_it_was_made_void_is_not_given(service, name, kind):
    leased = service.lease(name(1)).lease
    assert leased.token
    if kind == "set":
        service.set(name(1), b"newer")
    elif kind == "delete":
        service.delete(name(1))
    else:
        names = {"keys": [name(1)], "tags": [name("tag")], "patterns": [name("*")]}
        service.invalidate(**{kind: names[kind]})
    late = service.set(name(1), b"older", tags=[name("tag")], lease=leased)
    if kind in ("keys", "set", "delete"):
        assert not late.stored and late.reason == cache.NOT_STORED_LEASE_LOST
    else:
        assert late.stamp == leased.stamp, "as old as its lease, and so void"
    assert service.get(name(1)) == (b"newer" if kind == "set" else None)


def test_a_lease_that_is_given_back_or_ends_goes_to_the_next(service, name):
    first = service.lease(name(1))
    assert service.lease(name(1)).leased
    waiting = []
    thread = threading.Thread(target=lambda: waiting.append(service.lease(name(1), wait=20)))
    thread.start()
    assert service.release(name(1), first.lease)
    thread.join()
    assert waiting[0].lease.token not in (0, first.lease.token)
    assert not service.release(name(1), first.lease)
    short = service.lease(name(2), seconds=0.05)
    assert short.HasField("lease")
    assert service.lease(name(2), wait=20).HasField("lease")
    late = service.set(name(2), lease=short.lease)
    assert late.reason == cache.NOT_STORED_LEASE_LOST


def test_one_caller_refreshes_ahead_of_the_end(service, name):
    service.set(name(1), b"fresh", ttl=60)
    early = service.lease(name(1), refresh_after=1e-9)
    assert early.entry.value == b"fresh" and early.HasField("lease")
    other = service.lease(name(1), refresh_after=1e-9)
    assert other.entry.value == b"fresh" and not other.HasField("lease") and not other.leased
    assert not service.lease(name(1), refresh_after=1).HasField("lease")
    assert service.set(name(1), b"fresher", lease=early.lease).stored
    assert service.get(name(1)) == b"fresher"


def test_a_stale_entry_is_kept_for_who_cannot_load(service, name):
    service.set(name(1), b"stale", lifetime=lifetime(0.05, stale_for=60))
    deadline = time.monotonic() + 10
    while service.get(name(1)) is not None:
        assert time.monotonic() < deadline
    got = service.lease(name(1))
    assert got.entry.value == b"stale" and got.HasField("lease")
    assert got.entry.fresh_for.ToNanoseconds() <= 0
    other = service.lease(name(1), stale_at_once=True, wait=20)
    assert other.entry.value == b"stale" and other.leased
    service.invalidate(keys=[name(1)])
    assert not service.lease(name(1)).HasField("entry"), "void is not stale"


def test_a_watch_hears_everything_in_order(service, name):
    watch = service.watch()
    assert watch.start.epoch
    events, pong = watch.ping()
    assert not events and pong.in_sync
    age = pong.age.ToTimedelta().total_seconds()
    assert age == 0 if service.engine == "memory" else 0 <= age < 0.1
    service.invalidate(keys=[name(1), name(2)], tags=[name("t")], patterns=[name("*")])
    last = service.set(name(3)).stamp
    told = []
    # In memory at once.
    while not told or told[-1].sequence < last:
        told += [each.invalidation for each in watch.ping()[0]]
    first = told[0].sequence
    assert [each.sequence for each in told] == list(range(first, first + len(told)))
    names = [
        each
        for invalidation in told
        for each in (*invalidation.keys, *invalidation.tags, *invalidation.patterns)
        if each.startswith(name(""))
    ]
    # The last because who has a copy of what is replaced is told.
    # Of the keys of one call none comes before the others.
    assert sorted(names[:2]) + names[2:] == [name(1), name(2), name("t"), name("*"), name(3)]
    watch.close()


def test_filling_under_a_lease_tells_nobody(service, name):
    watch = service.watch()
    service.set(name(1), lease=service.lease(name(1)).lease)
    events, _ = watch.ping()
    assert not [each for each in events if name(1) in each.invalidation.keys]
    watch.close()


def test_flushing_is_audited(private, dial):
    client = dial(private)
    service = Cache(client)
    service.set("a:b:c:d")
    watch = service.watch()
    request = cache.FlushCacheRequest(reason="moved house")
    flushed = service.call("FlushCache", request)
    assert service.get("a:b:c:d") is None
    events, _ = watch.ping()
    assert events[-1].invalidation.all and events[-1].invalidation.sequence == flushed.sequence
    (entry,) = auditing.listed(client, action="cache.flushed")
    assert "moved house" in str(entry) and entry.actor == "anonymous"
    assert auditing.verify(client).valid


def test_memory_stays_within_its_limit(launch, dial):
    server = launch(limits=["cache-memory=16MiB"])
    service = Cache(dial(server))
    value = bytes(10_000)

    def flood(batches):
        for batch in range(batches):
            requests = [
                cache.SetEntryRequest(key=f"a:b:c:{batch}.{index}", value=value)
                for index in range(200)
            ]
            service.call("BatchSetEntries", cache.BatchSetEntriesRequest(requests=requests))

    flood(20)
    before = server.resident_bytes()
    flood(100)
    measured = service.statistics()
    assert measured.memory_bytes <= measured.memory_limit_bytes == 16 << 20
    assert measured.evictions > 10_000 and measured.entries > 1_000
    assert server.resident_bytes() < before + (12 << 20)


def violation(call, *arguments, field, **options):
    """The text of the violation of a field."""
    return str(violations(invalid(call, *arguments, field=field, **options)))


@pytest.mark.parametrize(
    "bad,why",
    [
        ("", "empty"), ("a:b:c", "four parts"), ("a b:c:d:e", "space"), ("a:b:c:x*", "'*'"),
        ("a:b:c:" + "x" * 600, "512 are allowed"), ("a:b:c:\x00\x01", "control character"),
        ("a::c:d", "empty part"), ("é:b:c:d", "beyond ASCII"),
    ],
)  # fmt: skip
def test_bad_keys_are_refused(service, bad, why):
    for call in (service.get, service.set, service.lease):
        assert why in violation(call, bad, field="key")
    assert why in violation(service.delete, bad, field="keys[0]")
    assert why in violation(service.invalidate, keys=[bad], field="keys[0]")


def test_binary_keys_are_refused(client):
    error = refused(
        client.raw,
        "/keelson.cache.v1.CacheService/GetEntry",
        b"\x0a\x02\xff\xfe",
        code={Code.INTERNAL, Code.INVALID_ARGUMENT},
    )
    assert "UTF-8" in error.details()


@pytest.mark.parametrize(
    "given,field,why",
    [
        (lifetime(0), "lifetime.ttl", "1 ms to"),
        (lifetime(-1), "lifetime.ttl", "1 ms to"),
        (lifetime(CENTURY_SECONDS), "lifetime.ttl", "'cache-ttl'"),
        (lifetime(60, stale_for=CENTURY_SECONDS), "lifetime.stale_for", "'cache-ttl'"),
        (lifetime(60, preset=cache.TTL_PRESET_LONG), "lifetime.preset", "together with 'ttl'"),
        (cache.Lifetime(preset=99), "lifetime.preset", "99 is no preset"),
        (cache.Lifetime(jitter=0.6), "lifetime.jitter", "from 0 to 0.5"),
        (cache.Lifetime(jitter=float("nan")), "lifetime.jitter", "from 0 to 0.5"),
    ],
)
def test_bad_lifetimes_are_refused(service, name, given, field, why):
    assert why in violation(service.set, name(1), lifetime=given, field=field)


def test_what_is_too_large_is_refused(service, name):
    large = bytes((1 << 20) + 1)
    assert "'cache-value-size'" in violation(service.set, name(1), large, field="value")
    assert service.set(name(1), bytes(1 << 20)).stored
    tags = [f"t{index}" for index in range(17)]
    assert "'cache-tags'" in violation(service.set, name(1), tags=tags, field="tags")
    assert "a space" in violation(service.set, name(1), tags=["a b"], field="tags[0]")
    assert "'cache-batch'" in violation(service.delete, *[name(1)] * 1001, field="keys")
    requests = [cache.SetEntryRequest(key=name(1), value=bytes(900_000)) for _ in range(5)]
    many = cache.BatchSetEntriesRequest(requests=requests[:4])
    assert service.call("BatchSetEntries", many).responses[0].stored
    found = violation(service.call, "BatchGetEntries", twice(name(1)), field="keys")
    assert "twice" in found
    many = cache.BatchSetEntriesRequest(requests=requests)
    refused(service.call, "BatchSetEntries", many, code=TOO_LARGE)


def twice(key):
    return cache.BatchGetEntriesRequest(keys=[key, key])


def test_an_answer_is_not_larger_than_a_batch(service, name):
    keys = [name(index) for index in range(5)]
    for key in keys:
        service.set(key, bytes(1 << 20))
    four = service.call("BatchGetEntries", cache.BatchGetEntriesRequest(keys=keys[:4]))
    assert sum(len(each.entry.value) for each in four.responses) == 4 << 20
    request = cache.BatchGetEntriesRequest(keys=keys)
    error = refused(service.call, "BatchGetEntries", request, code=Code.RESOURCE_EXHAUSTED)
    assert "cache-batch-size" in error.details()


def test_bad_invalidations_are_refused(service):
    for pattern in ("*", "*:*:*:*", "?*"):
        found = violation(service.invalidate, patterns=[pattern], field="patterns[0]")
        assert "allow_all" in found
    found = violation(service.invalidate, patterns=["a:[bc]*"], field="patterns[0]")
    assert "no other wildcards" in found
    assert "1 to 1000" in refused(service.invalidate, code=Code.INVALID_ARGUMENT).details()


def test_bad_leases_are_refused(service, name):
    violation(service.lease, name(1), seconds=0, field="lease_duration")
    violation(service.lease, name(1), seconds=-1, field="lease_duration")
    violation(service.lease, name(1), wait=-1, field="wait")
    assert service.lease(name(2), seconds=3_600, wait=3_600).lease.duration.seconds == 60
    violation(service.lease, name(1), refresh_after=1.5, field="refresh_after")
    forged = cache.Lease(token=7, stamp=1, epoch=1, duration=duration(10))
    assert service.set(name(1), lease=forged).reason == cache.NOT_STORED_LEASE_LOST
    violation(service.set, name(1), lease=cache.Lease(stamp=1), field="lease")


def test_an_unknown_warm_set_is_not_found(service):
    request = cache.StartWarmSetRequest(name="nothing")
    error = refused(service.call, "StartWarmSet", request, code=Code.NOT_FOUND)
    assert "nothing" in error.details()
