"""Durable changes on both engines, beside pgbench's single-row insert on the same PostgreSQL.

Each round measures all of them one after the other, so that what else the machine does hits all
alike; the tables show the median round.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "Tests" / "ConformanceTests"))

from postgres import BIN, PASSWORD, USER, PrivatePostgres  # noqa: E402

INSERT = "INSERT INTO plain (number) VALUES (:number);\n"


def pgbench(postgres, database, callers, seconds, folder):
    """Single-row inserts, prepared, each its own commit."""
    script = folder / "insert.sql"
    script.write_text("\\set number random(1, 1000000)\n" + INSERT)
    for old in folder.glob("latency*"):
        old.unlink()
    subprocess.run(
        [str(BIN / "pgbench"), "-n", "-M", "prepared", "-c", str(callers),
         "-j", str(min(callers, os.cpu_count())), "-T", str(seconds), "-f", str(script),
         "-l", "--log-prefix", str(folder / "latency"),
         "-h", "127.0.0.1", "-p", str(postgres.port), "-U", USER, database],
        check=True, capture_output=True, env={**os.environ, "PGPASSWORD": PASSWORD},
    )
    # client, transaction, latency in microseconds, ...
    latencies = sorted(
        int(line.split()[2])
        for log in folder.glob("latency*")
        for line in log.read_text().splitlines()
    )
    return {
        "per_second": len(latencies) / seconds,
        "p50_us": latencies[len(latencies) // 2],
        "p99_us": latencies[len(latencies) * 99 // 100],
        "per_commit": 1,
    }


def keelson(target, kind, callers, seconds):
    binary = pathlib.Path(os.environ["KEELSON_BINARY"]).with_name("StoreBenchmark")
    ended = subprocess.run(
        [str(binary), str(target), kind, str(callers), str(seconds)],
        check=True, capture_output=True, text=True,
    )
    return json.loads(ended.stdout)


def table(title, rows):
    print(f"\n{title}\n")
    print("| what | callers | per second | p50 ms | p99 ms | to a commit |")
    print("|---|---|---|---|---|---|")
    for name, callers, results in rows:
        median = {
            key: statistics.median(each[key] for each in results)
            for key in ("per_second", "p50_us", "p99_us", "per_commit")
        }
        print(
            f"| {name} | {callers} | {median['per_second']:,.0f} | {median['p50_us'] / 1e3:.2f} |"
            f" {median['p99_us'] / 1e3:.2f} | {median['per_commit']:.1f} |"
        )


def main():
    parser = argparse.ArgumentParser(prog="dev/bench store", description=__doc__)
    parser.add_argument("--seconds", type=int, default=4, help="for each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument(
        "--folder", default="/var/tmp", help="where both engines write; the disk is measured"
    )
    options = parser.parse_args()

    postgres = PrivatePostgres(folder=options.folder, fsync="on")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="keelson-bench-", dir=options.folder))
    try:
        url = postgres.create_database()
        database = url.rsplit("/", 1)[1]
        sqlite = folder / "sqlite"
        # Makes the tables, pgbench's as well.
        keelson(url, "insert", 1, 1)
        kinds = [
            ("pgbench, insert of one row", lambda n: pgbench(
                postgres, database, n, options.seconds, folder)),
            ("PostgreSQL, insert of one row", lambda n: keelson(
                url, "insert", n, options.seconds)),
            ("PostgreSQL, change", lambda n: keelson(url, "change", n, options.seconds)),
            ("SQLite, insert of one row", lambda n: keelson(
                sqlite, "insert", n, options.seconds)),
            ("SQLite, change", lambda n: keelson(sqlite, "change", n, options.seconds)),
            ("PostgreSQL, read of one row", lambda n: keelson(url, "read", n, options.seconds)),
            ("SQLite, read of one row", lambda n: keelson(sqlite, "read", n, options.seconds)),
        ]
        rows = {(name, callers): [] for name, _ in kinds for callers in options.callers}
        for number in range(options.rounds):
            for callers in options.callers:
                for name, measure in kinds:
                    print(f"round {number + 1}: {name}, {callers} callers", file=sys.stderr)
                    rows[name, callers].append(measure(callers))
        table(
            "Durable writes and reads, median of the rounds. A change is state, audit entry and "
            "event.",
            [(name, callers, results) for (name, callers), results in rows.items()],
        )
    finally:
        postgres.remove()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
