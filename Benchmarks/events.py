#!/usr/bin/env python3
"""Events: what telemetry costs that nobody hears, and pages of a list over many events, for each
filter.

Telemetry: one thread publishes again and again; times are its own, beside those of a call that
does one atomic load.

Pages: a million events of a few types and many subjects, actors and calls, the same in SQLite and
in PostgreSQL; one caller asks for the first page of 100 again and again; times are those of h2load,
from sending to the last byte.
"""

import argparse
import json
import pathlib
import re
import sqlite3
import subprocess
import tempfile

import harness
import wire
from postgres import Postgres

HEADERS = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
METHOD = "/keelson.events.v1.EventService/ListEvents"
#: 2026-11-01, in microseconds; one event each 10 ms from then on.
BEGIN_MICROSECONDS = 1_793_491_200_000_000
STEP_MICROSECONDS = 10_000


def telemetry() -> None:
    binary = harness.keelson_binary().with_name("StoreBenchmark")
    said = subprocess.run([str(binary), "telemetry"], check=True, capture_output=True, text=True)
    found = json.loads(said.stdout)
    print("\nNanoseconds of the publishing thread, the best of nine rounds:\n")
    harness.print_table(
        ["", "ns"],
        [
            ["a call of one atomic load", f"{found['atomic_load_ns']:.2f}"],
            ["publish, nobody listens", f"{found['publish_to_nobody_ns']:.2f}"],
            ["publish, somebody listens to another type", f"{found['publish_unwanted_ns']:.2f}"],
            ["publish to a listener", f"{found['publish_heard_ns']:.2f}"],
        ],
    )


def filling(number: str, text: str) -> str:
    """The rows of events, of a table `numbers (n)`, in the SQL of either engine.

    The first event belongs to a subject of its own: it lies where a list of the newest comes last.
    """
    return f"""
    INSERT INTO events (revision, time, type, subject, data, payload, actor, correlation_id,
      traceparent)
    SELECT n, {BEGIN_MICROSECONDS} + n * {STEP_MICROSECONDS},
      CASE WHEN n % 10000 = 17 THEN 'keelson.flags.FeatureFlagArchived'
        WHEN n % 3 = 0 THEN 'keelson.configuration.ConfigurationUpdated'
        ELSE 'keelson.flags.FeatureFlagToggled' END,
      CASE WHEN n = 1 THEN 'rare/first' WHEN n <= 2001 THEN 'early/' || {text("n")}
        ELSE 'set-' || {text("n % 7")} || '/flag-' || {text("n * 7919 % 10007")} END,
      '{{"enabled":true,"environment":"production","note":"as large as most events are"}}',
      {number}, 'user-' || {text("n * 31 % 2003")}, 'call-' || {text("n / 5")}, ''
    FROM numbers ORDER BY n"""


def fill_sqlite(path: pathlib.Path, count: int) -> None:
    store = sqlite3.connect(path)
    (last,) = store.execute("SELECT last_revision FROM change_sequence").fetchone()
    triggers = store.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
    ).fetchall()
    for name, _ in triggers:
        store.execute(f"DROP TRIGGER {name}")
    store.execute("DELETE FROM events")
    store.execute(
        "CREATE TEMP TABLE numbers AS WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL "
        f"SELECT n + 1 FROM numbers WHERE n < {count}) SELECT n FROM numbers"
    )
    store.execute(filling("x''", lambda value: f"CAST({value} AS TEXT)"))
    store.execute("UPDATE change_sequence SET last_revision = ?", (max(count, last),))
    for _, sql in triggers:
        store.execute(sql)
    store.commit()
    store.close()


def fill_postgres(postgres: Postgres, database: str, count: int) -> None:
    for table in ("events", "change_sequence"):
        postgres.sql(f"ALTER TABLE {table} DISABLE TRIGGER USER", database)
    postgres.sql("DELETE FROM events", database)
    postgres.sql(
        f"WITH numbers (n) AS (SELECT generate_series(CAST(1 AS BIGINT), {count})) "
        + filling("'\\x'::bytea", lambda value: f"CAST({value} AS TEXT)"),
        database,
    )
    postgres.sql(f"UPDATE change_sequence SET last_revision = {count}", database)
    for table in ("events", "change_sequence"):
        postgres.sql(f"ALTER TABLE {table} ENABLE TRIGGER USER", database)
    # What autovacuum does within a minute.
    postgres.sql("VACUUM ANALYZE events", database)


def filters(count: int) -> list[tuple[str, bytes]]:
    """Every filter, often matched and seldom, and combinations; as fields of ListEventsRequest."""
    f = wire.field
    seconds = BEGIN_MICROSECONDS // 1_000_000
    middle = seconds + count * STEP_MICROSECONDS // 2_000_000
    toggled, archived = "keelson.flags.FeatureFlagToggled", "keelson.flags.FeatureFlagArchived"
    return [
        ("none", b""),
        ("oldest first", f(9, "revision")),
        ("type, often", f(3, toggled)),
        ("type, seldom", f(3, archived)),
        ("type, never", f(3, "keelson.flags.SegmentDeleted")),
        ("two types", f(3, toggled) + f(3, archived)),
        ("type prefix", f(3, "keelson.flags.*")),
        ("subject", f(4, "set-3/flag-4711")),
        ("subject, never", f(4, "nothing")),
        ("subject prefix, often", f(4, "set-3/*")),
        ("subject prefix, one event, the oldest", f(4, "rare/*")),
        ("subject prefix, 2,000 events, the oldest", f(4, "early/*")),
        ("subject prefix, never", f(4, "nothing/*")),
        ("actor", f(5, "user-17")),
        ("actor, never", f(5, "nobody")),
        ("correlation id", f(6, "call-4711")),
        ("since the middle", f(7, f(1, middle))),
        ("before the middle", f(8, f(1, middle))),
        ("type, actor", f(3, toggled) + f(5, "user-17")),
        ("subject, actor", f(4, "set-3/flag-4711") + f(5, "user-17")),
        ("two that never meet", f(3, archived) + f(4, "set-3/*") + f(5, "nobody")),
    ]


def waits(server: harness.Server, fields: bytes, folder: pathlib.Path) -> tuple[float, float]:
    """Median and 99th percentile, in milliseconds."""
    log = folder / "waits"
    log.unlink(missing_ok=True)
    body = harness.body_file(wire.frame(wire.field(1, 100) + fields))
    said = subprocess.run(
        ["h2load", *HEADERS, "-n220", "-c1", "-m1", f"--log-file={log}", "-d", str(body),
         server.url + METHOD],
        capture_output=True, text=True,
    ).stdout  # fmt: skip
    if not re.search(r"status codes: 220 2xx", said):
        raise harness.BenchmarkError(f"h2load says of ListEvents:\n{said}")
    times = [int(line.split("\t")[2]) / 1_000 for line in log.read_text().splitlines()][20:]
    return harness.percentile(times, 50), harness.percentile(times, 99)


def pages(options: argparse.Namespace, folder: pathlib.Path, postgres: Postgres) -> None:
    count = round(1_000_000 * options.scale)
    arguments = ["--database", postgres.database("events")]
    data = folder / "events-sqlite"
    for more in ([], arguments):
        # Makes the tables.
        with harness.keelson(data if not more else folder / "events-postgres", more):
            pass
    fill_sqlite(data / "keelson.sqlite", count)
    fill_postgres(postgres, "events", count)
    found: dict[str, list[float]] = {}
    for more in ([], arguments):
        with harness.keelson(data if not more else folder / "events-postgres", more) as server:
            for name, fields in filters(count):
                found.setdefault(name, []).extend(waits(server, fields, folder))
    print(f"\nMilliseconds for the first page of 100 among {count:,} events:\n")
    rows = [[name, *(f"{value:.2f}" for value in values)] for name, values in found.items()]
    harness.print_table(["filter", "SQLite p50", "p99", "PostgreSQL p50", "p99"], rows)
    worst = max(value for values in found.values() for value in values[::2])
    print(f"the slowest median is {worst:.2f} ms; the goal is below 5 ms", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", choices=["telemetry", "pages"], help="measure one part")
    parser.add_argument("--scale", type=float, default=1.0, help="more or fewer events (1)")
    options = parser.parse_args()
    print(harness.machine(), f"commit {harness.revision()}", sep="\n", flush=True)
    if options.only != "pages":
        telemetry()
    if options.only != "telemetry":
        with tempfile.TemporaryDirectory(prefix="keelson-bench-events-") as name:
            with Postgres() as postgres:
                pages(options, pathlib.Path(name), postgres)
    return 0


if __name__ == "__main__":
    harness.run(main)
