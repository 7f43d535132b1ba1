#!/usr/bin/env python3
"""The audit trail: entries appended durably beside pgbench on the same PostgreSQL, and pages of a
list over many entries, for each filter.

Appends: pgbench inserts one row of an entry's size a transaction with 32 clients; then h2load
records entries through `keelson serve` on that PostgreSQL, and on SQLite, with as many callers.
Every entry that was answered is counted in the trail afterwards, and the trail is verified.

Pages: a trail of a million entries with skewed actors, actions and entities; one caller asks for
the first page of 100 again and again; times are those of h2load, from sending to the last byte.
"""

import argparse
import csv
import json
import pathlib
import random
import re
import sqlite3
import subprocess
import tempfile
import time

import harness
import wire
from postgres import Postgres

HEADERS = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
SERVICE = "/keelson.audit.v1.AuditService/"

#: A row of an entry's size with the keys that any such table has; no triggers, no chain.
TABLE = """
CREATE TABLE plain_audit (
  id BIGSERIAL PRIMARY KEY, time BIGINT NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL,
  entity_type TEXT NOT NULL, entity_id TEXT NOT NULL, before_state TEXT, after_state TEXT,
  category TEXT NOT NULL, outcome TEXT NOT NULL, correlation_id TEXT NOT NULL)
"""
INSERT = """\\set number random(1, 1000000)
INSERT INTO plain_audit (time, actor, action, entity_type, entity_id, before_state, after_state,
  category, outcome, correlation_id)
VALUES (1700000000000000 + :number, 'user-' || :number % 1000, 'order.changed', 'order',
  'order-' || :number, '{"state": "open", "total": 100}', '{"state": "paid", "total": 100}',
  'change', 'success', 'call-' || :number);
"""


def entry(
    actor: str, action: str, kind: str, entity: str, category: str, outcome: int, call: str
) -> bytes:
    """An EntryDraft; see proto/keelson/audit/v1/audit.proto for the numbers."""
    draft = wire.field(2, actor) + wire.field(3, action) + wire.field(4, kind)
    draft += wire.field(5, entity) + wire.field(6, '{"state": "open", "total": 100}')
    draft += wire.field(7, '{"state": "paid", "total": 100}') + wire.field(8, category)
    draft += wire.field(9, outcome) + wire.field(10, call)
    return wire.field(1, draft)


def skewed(generator: random.Random, count: int) -> int:
    """Below `count`, small numbers far more often than large ones."""
    return min(count - 1, int(count ** generator.random()) - 1)


ACTIONS = ["created", "read", "changed", "deleted", "approved"]
KINDS = ["order", "user", "flag", "setting", "invoice", "session"]


def varied(generator: random.Random, entries: int) -> bytes:
    """A RecordEntries request as a fleet of services would send them."""
    request = b""
    for _ in range(entries):
        kind = KINDS[skewed(generator, len(KINDS))]
        action = ACTIONS[skewed(generator, len(ACTIONS))]
        chance = generator.random()
        request += entry(
            actor=f"user-{skewed(generator, 2_000)}",
            action=f"{kind}.{action}",
            kind=kind,
            entity=f"{kind}-{generator.randrange(100_000)}",
            category="critical" if chance < 0.002 else "access" if chance < 0.3 else "change",
            outcome=3 if chance < 0.001 else 2 if chance < 0.01 else 1,
            call=f"call-{generator.randrange(200_000)}",
        )
    return request


def h2load(server: harness.Server, method: str, body: bytes, *options: str) -> str:
    """Makes calls that must all be answered; what h2load says."""
    command = ["h2load", *HEADERS, *options, "-d", str(harness.body_file(wire.frame(body)))]
    said = subprocess.run(
        [*command, server.url + SERVICE + method], capture_output=True, text=True
    ).stdout
    done = re.search(r"requests: (\d+) total.* (\d+) done, (\d+) succeeded", said)
    if not done or done[1] != done[3]:
        raise harness.BenchmarkError(f"h2load says of {method}:\n{said}")
    return said


def rate(said: str) -> float:
    return float(re.search(r"([\d.]+) req/s", said)[1])


def command(server: harness.Server, *arguments: str) -> dict:
    """The answer of `keelson audit`."""
    done = subprocess.run(
        [str(harness.keelson_binary()), "audit", *arguments, "--server", server.address,
         "--output", "json"],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode != 0:
        raise harness.BenchmarkError(f"keelson audit {arguments}: {done.stderr}{done.stdout}")
    return json.loads(done.stdout)


def newest(server: harness.Server) -> int:
    return command(server, "list", "--limit", "1")["entries"][0]["sequence"]


def verify(server: harness.Server) -> int:
    report = command(server, "verify")
    if not report["valid"]:
        raise harness.BenchmarkError(f"the trail does not verify: {report['failure']}")
    return report["entries"]


# MARK: appends


def appends(options: argparse.Namespace, folder: pathlib.Path, postgres: Postgres) -> None:
    url = postgres.database("bench")
    postgres.sql(TABLE, "bench")
    seconds = max(3, round(10 * options.scale))
    postgres.pgbench(INSERT, "bench", 32, 2)
    shapes = [(32, 1, 1), (32, 8, 1), (32, 1, 10), (32, 1, 100)]
    rates: dict[tuple, list[float]] = {}
    peer: list[float] = []
    servers = [
        ("SQLite", harness.keelson(folder / "sqlite")),
        ("PostgreSQL", harness.keelson(folder / "postgres", ["--database", url])),
    ]
    for engine, server in servers:
        with server:
            command(server, "retention", "--audit-reads", "off")
            for round_ in range(options.rounds):
                if engine == "PostgreSQL":
                    peer.append(postgres.pgbench(INSERT, "bench", 32, seconds))
                for connections, streams, batch in shapes:
                    body = varied(random.Random(round_), batch)
                    before = newest(server)
                    load = [f"-c{connections}", f"-m{streams}", "-t1", f"-D{seconds}"]
                    said = h2load_timed(server, body, seconds, *load)
                    recorded = newest(server) - before
                    if recorded < said * seconds * batch * 0.9:
                        raise harness.BenchmarkError(
                            f"{recorded} entries are there of {said * seconds * batch:.0f}"
                        )
                    rates.setdefault((engine, connections, streams, batch), []).append(
                        recorded / seconds
                    )
            print(f"{engine}: {verify(server):,} entries verify", flush=True)
    most = harness.spread(peer)[1]
    print("\nEntries (rows) a second, durable when answered, and of pgbench's rate:\n")
    rows = [["pgbench, 32 clients, one row", *(f"{v:,.0f}" for v in harness.spread(peer)), "1.0"]]
    for (engine, connections, streams, batch), found in rates.items():
        callers = connections * streams
        low, middle, high = harness.spread(found)
        rows.append(
            [
                f"Keelson on {engine}, {callers} callers, {batch} in a call",
                f"{low:,.0f}", f"{middle:,.0f}", f"{high:,.0f}", f"{middle / most:.1f}",
            ]
        )  # fmt: skip
    harness.print_table(["", "least", "median", "most", "of pgbench"], rows)


def h2load_timed(server: harness.Server, body: bytes, seconds: int, *options: str) -> float:
    """Records for so many seconds; calls answered a second."""
    command = ["h2load", *HEADERS, *options, "-d", str(harness.body_file(wire.frame(body)))]
    said = subprocess.run(
        [*command, server.url + SERVICE + "RecordEntries"], capture_output=True, text=True
    ).stdout
    found = re.search(r"([\d.]+) req/s", said)
    good = re.search(r"status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx", said)
    if not found or not good:
        raise harness.BenchmarkError(f"h2load says of RecordEntries:\n{said}")
    return int(good[1]) / seconds


# MARK: pages


def fill(server: harness.Server, entries: int) -> None:
    """Records entries until there are so many."""
    generator = random.Random(1)
    begin = time.monotonic()
    before = newest(server)
    each = 1_000
    for _ in range(max(1, entries // 20_000)):
        h2load(server, "RecordEntries", varied(generator, each), "-n20", "-c4", "-m1")
    found = newest(server) - before
    spent = time.monotonic() - begin
    print(f"recorded {found:,} entries in {spent:.0f} s, in calls of {each}", flush=True)


def filters(server: harness.Server) -> list[tuple[str, bytes]]:
    """Every filter, often matched and seldom, and combinations; as EntryFilter messages."""
    end = int(time.time()) - 1
    start = command(server, "get", "2")["time"]
    begin = int(time.mktime(time.strptime(start[:19], "%Y-%m-%dT%H:%M:%S"))) - time.timezone
    middle = (begin + end) // 2
    f = wire.field

    def moment(seconds: int) -> bytes:
        return f(1, seconds)

    return [
        ("none", b""),
        ("actor, often", f(1, "user-0")),
        ("actor, seldom", f(1, "user-1999")),
        ("actor, never", f(1, "nobody")),
        ("entity type, often", f(2, "order")),
        ("entity type, seldom", f(2, "session")),
        ("entity", f(2, "order") + f(3, "order-17")),
        ("entity id alone", f(3, "user-17")),
        ("action, often", f(4, "order.created")),
        ("action, seldom", f(4, "session.approved")),
        ("action prefix, often", f(4, "order.*")),
        ("action prefix, seldom", f(4, "session.*")),
        ("outcome success", f(5, 1)),
        ("outcome denied", f(5, 3)),
        ("category change", f(6, "change")),
        ("category critical", f(6, "critical")),
        ("correlation id", f(7, "call-4711")),
        ("since the middle", f(8, moment(middle))),
        ("before the middle", f(9, moment(middle))),
        ("between", f(8, moment(begin + (end - begin) // 4)) + f(9, moment(middle))),
        ("actor, action", f(1, "user-3") + f(4, "order.created")),
        ("actor, outcome denied", f(1, "user-0") + f(5, 3)),
        ("actor, before the middle", f(1, "user-1999") + f(9, moment(middle))),
        ("entity type, outcome denied", f(2, "session") + f(5, 3)),
        ("action prefix, category critical", f(4, "user.*") + f(6, "critical")),
        ("two that never meet", f(2, "order") + f(4, "user.created")),
    ]


def copy(source: pathlib.Path, postgres: Postgres, database: str) -> None:
    """Puts the trail of an SQLite file into a PostgreSQL database of Keelson's: the same entries,
    with the same hashes, sooner than recording them anew."""
    begin = time.monotonic()
    trail = sqlite3.connect(f"file:{source}?mode=ro", uri=True)
    columns = [row[1] for row in trail.execute("PRAGMA table_info(audit_entries)")]
    file = postgres.folder / "entries.csv"
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        for row in trail.execute("SELECT * FROM audit_entries ORDER BY sequence"):
            writer.writerow(
                "<null>" if value is None
                else "\\x" + value.hex() if isinstance(value, bytes)
                else value
                for value in row
            )  # fmt: skip
    file.chmod(0o644)
    head = trail.execute(
        "SELECT last_audit_sequence, last_audit_hash, last_audit_time FROM change_sequence"
    ).fetchone()
    tables = ("audit_entries", "change_sequence", "audit_checkpoints")
    for table in tables:
        postgres.sql(f"ALTER TABLE {table} DISABLE TRIGGER USER", database)
    postgres.sql("DELETE FROM audit_entries", database)
    postgres.sql(
        f"COPY audit_entries ({', '.join(columns)}) FROM '{file}' (FORMAT csv, NULL '<null>')",
        database,
    )
    postgres.sql("DELETE FROM audit_checkpoints", database)
    postgres.sql(
        f"UPDATE change_sequence SET last_audit_sequence = {head[0]},"
        f" last_audit_hash = '\\x{head[1].hex()}', last_audit_time = {head[2]}",
        database,
    )
    for table in tables:
        postgres.sql(f"ALTER TABLE {table} ENABLE TRIGGER USER", database)
    # What autovacuum does within a minute.
    postgres.sql("VACUUM ANALYZE audit_entries", database)
    spent = time.monotonic() - begin
    print(f"copied {head[0]:,} entries to PostgreSQL in {spent:.0f} s", flush=True)


def pages(options: argparse.Namespace, folder: pathlib.Path, postgres: Postgres) -> None:
    entries = round(1_000_000 * options.scale)
    found: dict[str, dict[str, tuple[float, float]]] = {}
    url = postgres.database("pages")
    data = folder / "pages-sqlite"
    with harness.keelson(data) as server:
        command(server, "retention", "--audit-reads", "off")
        fill(server, entries)
        count = newest(server)
        for name, message in filters(server):
            found.setdefault(name, {})["SQLite"] = waits(server, message, folder)
    arguments = ["--database", url]
    with harness.keelson(folder / "pages-postgres", arguments) as server:
        command(server, "retention", "--audit-reads", "off")
    copy(data / "keelson.sqlite", postgres, "pages")
    with harness.keelson(folder / "pages-postgres", arguments) as server:
        for name, message in filters(server):
            found[name]["PostgreSQL"] = waits(server, message, folder)
    print(f"\nMilliseconds for the first page of 100 among {count:,} entries:\n")
    rows = [
        [name] + [f"{v:.2f}" for engine in ("SQLite", "PostgreSQL") for v in engines[engine]]
        for name, engines in found.items()
    ]
    harness.print_table(["filter", "SQLite p50", "p99", "PostgreSQL p50", "p99"], rows)
    worst = max(engine[0] for engines in found.values() for engine in engines.values())
    print(f"the slowest median is {worst:.2f} ms; the goal is below 5 ms", flush=True)


def waits(
    server: harness.Server, message: bytes, folder: pathlib.Path
) -> tuple[float, float]:
    """Median and 99th percentile, in milliseconds."""
    log = folder / "waits"
    log.unlink(missing_ok=True)
    body = wire.field(1, message) + wire.field(2, 100)
    h2load(server, "ListEntries", body, "-n220", "-c1", "-m1", f"--log-file={log}")
    times = [int(line.split("\t")[2]) / 1_000 for line in log.read_text().splitlines()][20:]
    return harness.percentile(times, 50), harness.percentile(times, 99)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", choices=["appends", "pages"], help="measure one part")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of appends (3)")
    parser.add_argument("--scale", type=float, default=1.0, help="more or less of everything (1)")
    options = parser.parse_args()
    print(harness.machine(), f"commit {harness.revision()}", sep="\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="keelson-bench-audit-") as name, Postgres() as postgres:
        folder = pathlib.Path(name)
        if options.only != "pages":
            appends(options, folder, postgres)
        if options.only != "appends":
            pages(options, folder, postgres)
    return 0


if __name__ == "__main__":
    harness.run(main)
