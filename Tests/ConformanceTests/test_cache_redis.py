"""The cache on Redis, from outside: servers that share one, addresses that do not work, a memory
that is full."""

import threading

import pytest
from keelson.cache.v1 import cache_pb2 as cache

from cache_nodes import node, until  # noqa: F401  (a fixture)
from caching import at_once
from server import run
from tls import Certificates

MIB = 1 << 20


@pytest.fixture
def url(shared_redis):
    """An empty database of a Redis that stays."""
    return shared_redis.url(shared_redis.next_database())


@pytest.fixture
def pair(node, url):
    """Two servers on one Redis."""
    return node(url), node(url)


def test_what_one_server_stores_the_other_gives(pair):
    first, second = pair
    assert first.engine() == second.engine() == "REDIS"
    value = bytes(range(256))
    stored = first.set("a:b:c:1", value, tags=["t", "u"])
    assert stored.stored and not stored.fallback
    entry = second.entry("a:b:c:1")
    assert entry.value == value and list(entry.tags) == ["t", "u"]
    assert entry.stamp == stored.stamp and 55 < entry.fresh_for.seconds <= 60
    assert list(second.delete("a:b:c:1", "a:b:c:2").found) == [True, False]
    assert first.get("a:b:c:1") is None
    short = first.set("a:b:c:3", ttl=0.05)
    assert short.stamp > stored.stamp and short.epoch == stored.epoch
    until(lambda: second.get("a:b:c:3") is None, "its time is over")


@pytest.mark.parametrize("kind", ["keys", "tags", "patterns", "set", "delete", "flush"])
def test_what_one_server_makes_void_the_other_does_not_give(pair, kind):
    first, second = pair
    watch = second.watch()
    sequence = watch.start.sequence
    for round_ in range(10):
        old, key = f"value {round_}".encode(), "a:b:c:1"
        since = first.set_surely(key, old, tags=["t"])
        assert second.get(key) == old
        if kind == "set":
            since = first.set_surely(key, b"new")
        elif kind == "delete":
            assert list(first.delete(key).found) == [True]
        elif kind == "flush":
            first.call("FlushCache", cache.FlushCacheRequest(reason="test"))
        else:
            names = {"keys": [key], "tags": ["t"], "patterns": ["a:*:1"]}
            since = first.invalidate_surely(**{kind: names[kind]})
        assert second.gone(key, old, since) == (b"new" if kind == "set" else None)
        assert first.gone(key, old, since) == (b"new" if kind == "set" else None)
    until(
        lambda: watch.ping()[1].in_sync and second.statistics().sequence >= sequence + 20,
        "the watch is up to date",
    )
    watch.close()


def test_a_watch_hears_what_is_made_void_elsewhere(pair):
    first, second = pair
    watch = second.watch()
    first.invalidate(keys=["a:b:c:1", "a:b:c:2"], tags=["t"], patterns=["a:*"])
    told = []

    def heard():
        events, pong = watch.ping()
        told.extend(each.invalidation for each in events)
        assert pong.age.ToTimedelta().total_seconds() < 0.1
        return len(told) == 3 and pong.in_sync

    until(heard, "all is heard of")
    assert [each.sequence for each in told] == [watch.start.sequence + step for step in (1, 2, 3)]
    names = [[*each.keys, *each.tags, *each.patterns] for each in told]
    assert sorted(names[0]) == ["a:b:c:1", "a:b:c:2"] and names[1:] == [["t"], ["a:*"]]
    watch.close()


def test_databases_of_one_redis_are_apart(node, shared_redis):
    first, second = (node(shared_redis.url(shared_redis.next_database())) for _ in range(2))
    watch = second.watch()
    first.set("a:b:c:1", b"first")
    second.set("a:b:c:1", b"second")
    first.invalidate(patterns=["a:*"], tags=["t"])
    first.call("FlushCache", cache.FlushCacheRequest())
    assert (first.get("a:b:c:1"), second.get("a:b:c:1")) == (None, b"second")
    events, _ = watch.ping()
    assert [list(each.invalidation.keys) for each in events] == [["a:b:c:1"]]
    watch.close()


def test_one_of_all_that_ask_at_two_servers_loads(pair):
    loads, loading = [], threading.Event()

    def remember(index):
        response = pair[index % 2].lease("a:b:c:cold", wait=20)
        if response.HasField("lease"):
            loads.append(index)
            # So long it takes to load; the others wait.
            loading.wait(0.2)
            assert pair[index % 2].set("a:b:c:cold", b"loaded", lease=response.lease).stored
            return b"loaded"
        return response.entry.value

    assert set(at_once(40, remember)) == {b"loaded"}
    assert len(loads) == 1
    assert sum(each.statistics().lease_waits for each in pair) == 39


@pytest.mark.parametrize("kind", ["keys", "tags", "patterns", "set"])
def test_what_is_made_void_elsewhere_while_it_is_loaded_is_not_given(pair, kind):
    first, second = pair
    lease = first.lease("a:b:c:1").lease
    assert second.lease("a:b:c:1").leased
    if kind == "set":
        second.set_surely("a:b:c:1", b"newer")
    else:
        names = {"keys": ["a:b:c:1"], "tags": ["t"], "patterns": ["a:*"]}
        second.invalidate(**{kind: names[kind]})
    late = first.set("a:b:c:1", b"older", tags=["t"], lease=lease)
    if kind in ("keys", "set"):
        assert late.reason == cache.NOT_STORED_LEASE_LOST
    for each in pair:
        assert each.get("a:b:c:1") == (b"newer" if kind == "set" else None)


# Addresses


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda url: url.replace("s3cret", "wr0ng"), "password"),
        (lambda url: url.replace(":s3cret@", ""), "password"),
        (lambda url: url.replace(":s3cret@", "nobody:s3cret@"), "password"),
        (lambda url: url + "/5000", "database"),
        (lambda url: url + "/x", "the database is a number"),
        (lambda url: url.replace("redis:", "redis-sentinel:"), "Sentinel is not supported"),
        (lambda url: url.replace("redis:", "redis+cluster:"), "Cluster is not supported"),
        (lambda url: url.replace("redis:", "http:"), "'http' is another kind of address"),
        (lambda url: url + ",127.0.0.1:2", "several hosts are not supported"),
        (lambda url: url.replace("s3cret", "s3%cret"), "hexadecimal"),
        (lambda url: url + "?ca=/nowhere", "ca, cert and key are for rediss://"),
    ],
)
def test_an_address_that_does_not_work_is_explained_at_start(start_redis, tmp_path, change, words):
    redis = start_redis(password="s3cret")
    explained(change(redis.url()), tmp_path, words)


def explained(url, folder, words):
    """The server ends at once and says why, without the password."""
    ended = run("serve", "--listen", "127.0.0.1:0", "--data", folder, "--cache", url)
    assert ended.returncode == 1, ended
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    assert lines and lines[0].startswith("keelson: "), ended.stderr
    assert words in " ".join(lines), lines
    for secret in ("s3cret", "s3%cret", "wr0ng"):
        assert secret not in ended.stderr + ended.stdout


def test_a_cluster_is_refused(start_redis, tmp_path):
    explained(start_redis(cluster_enabled="yes").url(), tmp_path, "Redis Cluster")


def test_a_user_and_a_password_with_odd_characters(start_redis, node):
    redis = start_redis()
    redis.say("ACL", "SETUSER", "kee@lson", "on", ">p/w:#%", "~*", "&*", "+@all")
    address = f"redis://kee%40lson:p%2Fw%3A%23%25@127.0.0.1:{redis.port}/3"
    assert node(address).set("a:b:c:1").stored
    assert redis.say("DBSIZE", database=3) > 0 and redis.say("DBSIZE") == 0


def test_redis_over_tls(start_redis, node, tmp_path):
    certificates = Certificates(tmp_path / "tls")
    redis = start_redis(certificates=certificates)
    secure = redis.url().replace("redis:", "rediss:")
    cached = node(f"{secure}?ca={certificates.ca}")
    assert cached.engine() == "REDIS"
    cached.set_surely("a:b:c:1", b"value")
    assert cached.get("a:b:c:1") == b"value"
    # One whose certificate is not trusted is not used.
    assert node(secure).engine() == "FALLBACK"


# Memory


@pytest.mark.parametrize("policy", ["noeviction", "allkeys-lfu", "volatile-ttl"])
def test_a_full_redis_refuses_new_entries_and_makes_room(start_redis, node, policy):
    redis = start_redis(maxmemory="60mb", maxmemory_policy=policy)
    cached = node(redis.url())
    cached.set_surely("a:b:c:kept", b"kept", tags=["t"])
    value, answers = bytes(20_000), []
    for batch in range(200):
        requests = [
            cache.SetEntryRequest(key=f"a:b:c:{batch}.{index}", value=value, tags=["flood"])
            for index in range(50)
        ]
        made = cached.call("BatchSetEntries", cache.BatchSetEntriesRequest(requests=requests))
        answers += made.responses
        if sum(each.reason == cache.NOT_STORED_FULL for each in answers) > 200:
            break
    full = [each for each in answers if not each.stored]
    assert full and {each.reason for each in full} == {cache.NOT_STORED_FULL}
    assert not any(each.fallback for each in answers) and cached.engine() == "REDIS"
    # What is there is given, and what is to be void becomes void.
    until(lambda: cached.set("a:b:c:new", b"new").stored, "there is room again")
    since = cached.invalidate_surely(tags=["t"])
    assert cached.gone("a:b:c:kept", b"kept", since) is None
    assert cached.get("a:b:c:new") == b"new"
    statistics = cached.statistics(hottest=0)
    assert statistics.memory_limit_bytes == pytest.approx(48 * MIB, rel=1e-5)
    assert statistics.evictions > 0
    peak = int(redis.info("memory")["used_memory_peak"])
    assert peak < 54 * MIB, f"{peak / MIB:.1f} MiB of 60, of which 48 are the cache's"
    assert int(redis.info("stats")["evicted_keys"]) == 0, "Redis had to make room itself"


def test_invalidations_work_where_redis_itself_is_full(start_redis, node):
    redis = start_redis(maxmemory_policy="noeviction")
    cached = node(redis.url())
    for name in "ktpf":
        cached.set_surely(f"a:b:c:{name}", name.encode(), tags=[name])
    used = int(redis.info("memory")["used_memory"])
    redis.say("CONFIG", "SET", "maxmemory", used // 2)
    until(lambda: cached.set("a:b:c:1").reason == cache.NOT_STORED_FULL, "it is full")
    assert cached.get("a:b:c:k") == b"k"
    for name, kinds in (("k", {"keys": ["a:b:c:k"]}), ("t", {"tags": ["t"]}),
                        ("p", {"patterns": ["a:*:p"]})):  # fmt: skip
        since = cached.invalidate_surely(**kinds)
        assert cached.gone(f"a:b:c:{name}", name.encode(), since) is None
    cached.call("FlushCache", cache.FlushCacheRequest())
    redis.say("CONFIG", "SET", "maxmemory", 0)
    cached.set_surely("a:b:c:1", b"stored")
