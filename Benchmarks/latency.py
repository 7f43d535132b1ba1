"""What a caller waits for an answer while the server has room to spare."""

import pathlib

import harness
from load import Contestant, Load, make_calls
from throughput import Bench

CONNECTIONS = 10
#: Calls are made when they are due, however many are under way: so many that none waits.
STREAMS = 1_000
SECONDS = 8
#: Of these, for the server and the load to find their pace.
WARM_UP_SECONDS = 1


def at_half_load(bench: Bench) -> None:
    """Each server at half of its own most, and all at half of the slowest one's."""
    contestants = [found for found in bench.health_checkers() if found.server.speaks_grpc]
    most = {found.name: _most(bench, found) for found in contestants}
    slowest = min(most.values())
    rows = []
    for contestant in contestants:
        for rate in sorted({most[contestant.name] / 2, slowest / 2}):
            rows.append(_at_rate(bench, contestant, rate, most[contestant.name]))
    print("\nMicroseconds from sending a request to the end of its answer:\n")
    header = ["server", "calls/s", "of its most", "p50", "p99", "p99.9", "max", "CPU us a call"]
    harness.print_table(header, rows)


def _most(bench: Bench, contestant: Contestant) -> float:
    """Calls per second under full load: the median of a few rounds."""
    load = bench.load(100_000)
    make_calls(contestant, load.smaller(10))
    rates = [make_calls(contestant, load) for _ in range(min(bench.rounds, 5))]
    print(f"{contestant.name}: at most {harness.spread(rates)[1]:,.0f} calls/s", flush=True)
    return harness.spread(rates)[1]


def _at_rate(bench: Bench, contestant: Contestant, rate: float, most: float) -> list[str]:
    each = max(int(rate / CONNECTIONS), 1)
    seconds = max(round(SECONDS * bench.scale), WARM_UP_SECONDS + 2)
    load = Load(each * CONNECTIONS * seconds, CONNECTIONS, STREAMS)
    log = bench.folder / "latencies"
    log.unlink(missing_ok=True)
    before = contestant.server.cpu_seconds()
    make_calls(contestant, load, f"--rps={each}", f"--log-file={log}")
    used = (contestant.server.cpu_seconds() - before) * 1e6 / load.calls
    waits = _waits(log)
    row = [contestant.name, f"{each * CONNECTIONS:,}", f"{each * CONNECTIONS / most:.0%}"]
    row += [f"{harness.percentile(waits, percent):,.0f}" for percent in (50, 99, 99.9, 100)]
    return [*row, f"{used:.2f}"]


def _waits(log: pathlib.Path) -> list[float]:
    """Microseconds of each call, by h2load's log: start, status, duration."""
    lines = [tuple(map(int, line.split("\t")[:3])) for line in log.read_text().splitlines()]
    begin = min(start for start, _, _ in lines) + WARM_UP_SECONDS * 1_000_000
    return [float(wait) for start, _, wait in lines if start >= begin]
