"""Server CPU of gets and sets of a cached value of 100 bytes."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable

import harness
import wire
from load import SERVER_CORE, Call, Contestant, Load, ask, check_sample, make_calls
from redis import Redis

SERVICE = "/keelson.cache.v1.CacheService/"
KEY = "bench:cache:entry:hot"
VALUE = bytes(range(100))
#: Field numbers of CacheStatistics.
HITS, SETS = 4, 8


@dataclasses.dataclass
class Bench:
    """What a section has to work with; its servers stop when it ends."""

    folder: pathlib.Path
    stack: contextlib.ExitStack
    rounds: int
    #: Of the number of calls in each round, and of entries.
    scale: float

    def redis(self, name: str = "redis", core: int | None = SERVER_CORE) -> Redis:
        return self.stack.enter_context(Redis(self.folder / name, core))

    def keelson(self, name: str, *arguments: str) -> harness.Server:
        """`keelson serve --loops 1`, all else as it comes."""
        words = ["--loops", "1", *arguments]
        made = harness.keelson(self.folder / name, words, core=SERVER_CORE, name=name)
        return self.stack.enter_context(made)


def statistics(server: harness.Server) -> dict[int, int]:
    """The counts among the server's statistics of its cache, by their field numbers."""
    return wire.numbers(ask(server, SERVICE + "GetStatistics", b""))


def get_entry(server: harness.Server) -> Call:
    """A get of the key, which is there from now on."""
    ask(server, SERVICE + "SetEntry", wire.set_entry_request(KEY, VALUE))
    return _call(server, "GetEntry", wire.get_entry_request(KEY))


def set_entry(server: harness.Server) -> Call:
    return _call(server, "SetEntry", wire.set_entry_request(KEY, VALUE))


def _call(server: harness.Server, method: str, request: bytes) -> Call:
    """With an answer as long as one is now. Another's may be some bytes longer or shorter: the time
    that an entry is fresh still, and the sequence of a set, are written as short as they can be."""
    answer = wire.frame(ask(server, SERVICE + method, request))
    return Call(SERVICE + method, wire.frame(request), len(answer), slack_bytes=4)


@dataclasses.dataclass
class Way:
    """One way to get or set, and what its rounds came to."""

    name: str
    #: Makes so many calls; returns the calls per second.
    make: Callable[[int], float]
    keelson: harness.Server | None
    redis: harness.Server | None
    #: So many times the calls of a round, so that it takes long enough to be measured.
    times: int = 1
    keelson_us: list[float] = dataclasses.field(default_factory=list)
    redis_us: list[float] = dataclasses.field(default_factory=list)
    rates: list[float] = dataclasses.field(default_factory=list)

    def round(self, calls: int) -> None:
        calls *= self.times
        servers = [(self.keelson, self.keelson_us), (self.redis, self.redis_us)]
        measured = [(server, figures) for server, figures in servers if server is not None]
        before = [server.cpu_seconds() for server, _ in measured]
        self.rates.append(self.make(calls))
        for (server, figures), start in zip(measured, before):
            figures.append((server.cpu_seconds() - start) * 1e6 / calls)

    def row(self) -> list[str]:
        both = [sum(each) for each in zip(*(f for f in (self.keelson_us, self.redis_us) if f))]
        cells = [
            " / ".join(f"{value:.2f}" for value in harness.spread(figures)) if figures else ""
            for figures in (self.keelson_us, self.redis_us)
        ]
        rate = harness.spread(self.rates)[1]
        return [self.name, *cells, f"{harness.spread(both)[1]:.2f}", f"{rate:,.0f}"]


def calls(bench: Bench) -> None:
    redis = bench.redis()
    in_memory = bench.keelson("keelson-memory")
    through = bench.keelson("keelson-redis", "--cache", redis.cache)
    number = max(round(200_000 * bench.scale), 10_000)
    for title, kind, counter in (("GetEntry", get_entry, HITS), ("SetEntry", set_entry, SETS)):
        ways = [
            _by_h2load("keelson, in memory", in_memory, None, kind, counter),
            _by_h2load("keelson, through Redis", through, redis, kind, counter),
            *(
                Way(
                    f"redis-benchmark -P {pipeline}",
                    lambda calls, pipeline=pipeline: redis.benchmark(
                        title[:3].lower(), calls, pipeline, len(VALUE)
                    ),
                    None, redis, times,
                )  # fmt: skip
                for pipeline, times in ((1, 1), (16, 4))
            ),
        ]
        for way in ways:
            way.make(max(number // 10, 20_000))
        for turn in range(bench.rounds):
            for way in ways:
                way.round(number)
                print(f"round {turn + 1}: {title} {' '.join(way.row())}", flush=True)
        print(
            f"\n{title}, a value of {len(VALUE)} bytes: server CPU microseconds a call, min /"
            " median / max:\n"
        )
        header = [title, "keelson", "redis-server", "both, median", "calls/s"]
        harness.print_table(header, [way.row() for way in ways])


def _by_h2load(
    name: str, server: harness.Server, redis: Redis | None, kind: Callable, counter: int
) -> Way:
    def make(number: int) -> float:
        # The answers' length changes with the sequence and the time.
        contestant = Contestant(server, kind(server))
        check_sample(contestant)
        before = statistics(server)[counter]
        rate = make_calls(contestant, Load(number, connections=10, streams=20))
        done = statistics(server)[counter] - before
        if done != number:
            raise harness.BenchmarkError(f"{server.name} counted {done} of {number} calls")
        return rate

    return Way(name, make, server, redis)
