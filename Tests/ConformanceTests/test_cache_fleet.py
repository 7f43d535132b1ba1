"""Two servers on one Redis, four clients with near caches: what was made void nobody reads 100 ms
later, whatever breaks; and what many ask for at once is loaded once."""

import itertools
import json
import os
import random
import threading
import time

import grpc
import pytest

from cache_nodes import SOON, STALENESS_SECONDS, Node, until
from cache_peers import BINARY, Peer, Polls
from caching import at_once
from client import Client
from fault_fleet import CuttingProxy
from interop_peers import need
from redis_server import restartable_port
from server import KeelsonServer

#: Of each kind; 10000 is what a release is judged by.
INVALIDATIONS = int(os.environ.get("KEELSON_CACHE_INVALIDATIONS", 40))
TIMEOUT_SECONDS = max(90, INVALIDATIONS // 5)
SEED = int(os.environ.get("KEELSON_FAULT_SEED", time.time_ns() % 2**32))
KINDS = ("keys", "tags", "patterns")
# How long a peer that may be cut off is waited for.
PATIENCE_SECONDS = 0.15
STANDSTILL_SECONDS = 0.3


def key(kind):
    return f"fleet:test:{kind}:1"


def names(kind):
    return {kind: [{"keys": key(kind), "tags": "fleet", "patterns": "fleet:*:patterns:*"}[kind]]}


class Fleet:
    """The servers, their Redis, and the peers: two at each server, behind proxies if they are to be
    cut off."""

    def __init__(self, redis, folder, *, is_breakable=False):
        self.redis = redis
        self.servers = [
            KeelsonServer(
                folder / f"server-{number}", listen=[f"127.0.0.1:{restartable_port()}"],
                limits=SOON, arguments=["--cache", redis.url()],
            ).start()
            for number in range(2)
        ]
        self.nodes = [Node(server, Client(server.address).ready()) for server in self.servers]
        # The address stays when a server is started again.
        self.proxies = [
            CuttingProxy(lambda place=server.endpoint: [place])
            for server in self.servers if is_breakable
        ]
        places = [each.address for each in (self.proxies or self.servers)]
        self.peers = [
            Peer(places[number // 2], folder / f"peer-{number}.log") for number in range(4)
        ]
        for peer in self.peers:
            peer.ask("sync")

    def surely(self, first, act):
        """Has it done through one server or the other, again and again until it is acknowledged;
        when that was, in nanoseconds."""
        pause, deadline = threading.Event(), time.monotonic() + 30
        for turn in itertools.count(first):
            try:
                if act(self.nodes[turn % 2]):
                    return time.monotonic_ns()
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.UNAVAILABLE, error
            assert time.monotonic() < deadline, "never acknowledged"
            pause.wait(0.005)

    def set(self, turn, kind, value):
        def act(node):
            stored = node.set(key(kind), json.dumps(value).encode(), tags=["fleet"], ttl=600)
            return stored.stored and not stored.fallback

        return self.surely(turn, act)

    def invalidate(self, turn, kind):
        return self.surely(turn, lambda node: node.invalidate(**names(kind)))

    def ends(self, kind, polls):
        """Whether all read a last value soon after it was set."""
        self.set(0, kind, "end")
        return polls.wait(lambda found: found == "end", 1)

    def statistics(self):
        return [json.loads(peer.ask("stats")[1]) for peer in self.peers]

    def close(self):
        for peer in self.peers:
            peer.close()
        for proxy in self.proxies:
            proxy.close()
        for node in self.nodes:
            node.client.close()
        for server in self.servers:
            server.stop()


@pytest.fixture
def fleet(binary, start_redis, tmp_path):
    """Starts fleets, one at a time."""
    need(BINARY, "swift build --product CachePeer")
    made = []

    def fleet(**options):
        made.append(Fleet(start_redis(), tmp_path, **options))
        return made[-1]

    yield fleet
    for each in made:
        each.close()


def milliseconds(late):
    ordered = sorted(late)
    p50, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * part))] for part in (0.5, 0.99))
    return f"p50 {p50 / 1e6:.1f}, p99 {p99 / 1e6:.1f}, max {ordered[-1] / 1e6:.1f} ms"


def history(poll, value, since, faults):
    """What a poll has found around the moment when a value was made void, and what was broken, in
    milliseconds from then."""
    lines = [
        (first, f"{found} (before it: asked for at {(last - since) / 1e6:.1f})")
        for last, first, found in poll.changes
    ]
    lines += [(began, f"{name} until {(ended - since) / 1e6:.1f}") for name, began, ended in faults]
    near = [line for line in sorted(lines) if abs(line[0] - since) < 1e9]
    told = [f"  {(time_ - since) / 1e6:8.1f} {line}" for time_, line in near]
    return "\n".join([f"{value} was made void at 0:", *told])


def check(polls, since, terminal, title, faults=()):
    """Nobody was given what had been void for 100 ms when they asked."""
    late = [(*each, poll) for poll in polls for each in poll.late(since)]
    assert len({value for value, _, _ in late}) > len(since) / 2, "too little was read to judge"
    terminal(f"{title}: {len(since)} invalidations, {milliseconds([ns for _, ns, _ in late])}")
    too_late = [each for each in late if each[1] > STALENESS_SECONDS * 1e9]
    told = [history(poll, value, since[value], faults) for value, _, poll in too_late[:3]]
    assert not too_late, "\n".join([f"{len(too_late)} old values were given", *told])


@pytest.mark.timeout(TIMEOUT_SECONDS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_made_void_is_read_by_nobody_100_ms_later(fleet, terminal, kind):
    fleet = fleet()
    polls, since = Polls(fleet.peers, key(kind)), {}
    for turn in range(INVALIDATIONS):
        value = f"{kind}-{turn}"
        fleet.set(turn, kind, value)
        assert polls.wait(lambda found: found == value, 10), (value, polls.values())
        since[value] = fleet.invalidate(turn // 2, kind)
        assert polls.wait(lambda found: found == "-", 10), (value, polls.values())
    polls.stop()
    found = fleet.statistics()
    # Copies were used: a poll reads one thousands of times a second.
    assert all(each["near_hits"] > INVALIDATIONS for each in found), found
    check(
        polls.all, since, terminal,
        f"two servers, one Redis, four near caches: from the call that voids {kind} to the last old"
        " read",
    )


class Faults(threading.Thread):
    """Breaks one thing after the other, each when some more invalidations were acknowledged."""

    EVERY = max(6, INVALIDATIONS // 20)

    def __init__(self, fleet, acknowledged):
        super().__init__(daemon=True)
        self.fleet, self.acknowledged = fleet, acknowledged
        self.random = random.Random(SEED)
        self.pause = threading.Event()
        self.ending = threading.Event()
        #: What was broken, and when that began and ended: nanoseconds.
        self.done, self.error = [], None

    def run(self):
        faults = [
            self.redis_restarts, self.server_is_killed, self.ways_are_cut, self.redis_cuts,
            self.peer_stands_still, self.redis_stands_still, self.server_stands_still,
            self.ways_stand_still,
        ]  # fmt: skip
        try:
            while not self.ending.is_set():
                self.random.shuffle(faults)
                for fault in faults:
                    begun, began = len(self.acknowledged), time.monotonic_ns()
                    fault()
                    self.done.append((fault.__name__, began, time.monotonic_ns()))
                    while len(self.acknowledged) < begun + self.EVERY and not self.ending.is_set():
                        self.pause.wait(0.01)
        except Exception as error:
            self.error = error

    def redis_restarts(self):
        self.fleet.redis.restart()

    def server_is_killed(self):
        server = self.random.choice(self.fleet.servers)
        server.kill()
        server.start()

    def ways_are_cut(self):
        for proxy in self.fleet.proxies:
            proxy.cut()

    def redis_cuts(self):
        for kind in ("pubsub", "normal"):
            self.fleet.redis.say("CLIENT", "KILL", "TYPE", kind)

    def _stands_still(self, it):
        it.pause()
        self.pause.wait(STANDSTILL_SECONDS)
        it.resume()

    def redis_stands_still(self):
        self._stands_still(self.fleet.redis)

    def peer_stands_still(self):
        self._stands_still(self.random.choice(self.fleet.peers))

    def server_stands_still(self):
        self._stands_still(self.random.choice(self.fleet.servers))

    def ways_stand_still(self):
        for proxy in self.fleet.proxies:
            proxy.stall()
        self.pause.wait(STANDSTILL_SECONDS)
        for proxy in self.fleet.proxies:
            proxy.resume()


@pytest.mark.timeout(TIMEOUT_SECONDS)
def test_nor_while_things_break(fleet, terminal):
    fleet = fleet(is_breakable=True)
    polls = {kind: Polls(fleet.peers, key(kind)) for kind in KINDS}
    since = {kind: {} for kind in KINDS}
    acknowledged = []
    faults = Faults(fleet, acknowledged)
    faults.start()
    # Each fault once at least.
    for turn in itertools.count():
        if turn >= 3 * INVALIDATIONS and len(faults.done) >= 8 or faults.error:
            break
        kind = KINDS[turn % 3]
        value = f"{kind}-{turn}"
        fleet.set(turn, kind, value)
        polls[kind].wait(lambda found: found == value, PATIENCE_SECONDS)
        since[kind][value] = fleet.invalidate(turn // 2, kind)
        acknowledged.append(value)
        polls[kind].wait(lambda found: found != value, PATIENCE_SECONDS)
    faults.ending.set()
    faults.join(60)
    if faults.error:
        raise faults.error
    for kind in KINDS:
        # More than once: what a server could not say while Redis was away it says now, and voids
        # it.
        until(lambda kind=kind: fleet.ends(kind, polls[kind]), lambda kind=kind: (
            f"all have what was set last: {polls[kind].values()},"
            f" {[node.engine() for node in fleet.nodes]}, {faults.done[-3:]}"
        ))  # fmt: skip
        polls[kind].stop()
    for kind in KINDS:
        check(
            polls[kind].all, since[kind], terminal,
            f"the same amid {len(faults.done)} faults (seed {SEED}), {kind}", faults.done,
        )


# Loading


def test_a_hundred_that_ask_at_once_load_once(fleet):
    fleet = fleet()
    for turn in range(5):
        remember_all(fleet, f"fleet:test:cold:{turn}")


def test_who_holds_a_lease_and_is_gone_keeps_nobody(fleet):
    fleet = fleet()
    cold = "fleet:test:cold:left"
    assert fleet.nodes[0].lease(cold, seconds=0.5).HasField("lease")
    began = time.monotonic()
    remember_all(fleet, cold)
    assert 0.3 < time.monotonic() - began < 5


@pytest.mark.waits
def test_who_is_killed_while_it_loads_keeps_nobody(fleet):
    """The others wait for what it loads, and when that does not come, they load for themselves."""
    fleet, cold = fleet(), "fleet:test:cold:killed"
    fleet.peers[0].begin("remember", cold, "lost", 600_000, 60_000)

    def is_loading():
        found = fleet.nodes[0].lease(cold, seconds=1)
        if found.HasField("lease"):
            fleet.nodes[0].release(cold, found.lease)
        return not found.HasField("lease")

    until(is_loading, "it loads")
    fleet.peers[0].process.kill()
    answers = [peer.begin("remember", cold, "found", 0, 60_000) for peer in fleet.peers[1:]]
    assert all(answer()[:2] == ["value", "found"] for answer in answers)


def remember_all(fleet, cold):
    """100 times over four peers; there is one load, and all have what it loaded."""
    values = [f"value-{number}" for number in range(100)]
    answers = at_once(
        4,
        lambda number: [
            fleet.peers[number].begin("remember", cold, value, 50, 60_000)
            for value in values[number::4]
        ],
    )
    found = [answer() for peer in answers for answer in peer]
    assert len(found) == 100 and {each[0] for each in found} == {"value"}
    loaded = [each for each in found if each[2] == "loaded"]
    assert len(loaded) == 1, loaded
    assert {each[1] for each in found} == {loaded[0][1]}
