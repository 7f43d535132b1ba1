"""The memory engine by itself, a part at a time, in the process of cache-benchmark."""

import json
import subprocess

import harness


def figures(part: str) -> dict[str, float]:
    """What a part of cache-benchmark has measured, by name."""
    binary = harness.keelson_binary().with_name("cache-benchmark")
    done = subprocess.run([str(binary), part], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise harness.BenchmarkError(f"cache-benchmark {part} failed: {done.stdout}")
    return {name: values[0] for name, values in json.loads(done.stdout.splitlines()[-1]).items()}


def engine() -> None:
    found = figures("engine")
    rows = []
    for title, name in (
        ("get", "get"), ("set in place of another", "set"), ("get of what is not there", "miss"),
        ("get, the first since some tag was invalidated", "get_after_tag"),
    ):  # fmt: skip
        row = [found.get(f"{name}_ns_{kind}") for kind in ("50k", "1m", "1m_two_threads")]
        rows.append([title, *("" if each is None else f"{each:,.0f}" for each in row)])
    print("\nNanoseconds of one operation, values of 100 bytes, of:\n")
    header = ["", "50,000 entries", "1,000,000 entries", "the same, each of two threads"]
    harness.print_table(header, rows)
    print("\nNanoseconds of:\n")
    harness.print_table(
        ["", "ns"],
        [
            ["set of a new key where memory is full", f"{found['set_ns_full']:,.0f}"],
            ["delete, lease and fill", f"{found['lease_and_fill_ns']:,.0f}"],
            ["get from a client's near cache, the table alone", f"{found['near_get_ns']:,.0f}"],
        ],
    )


def hit_ratio() -> None:
    found = figures("hit-ratio")
    rows = []
    for title, name in (
        ("Zipf, s = 0.99", ""), ("the same, beside each get one of a key asked for once", "scan_"),
        ("98 % to keys for which there is room", "hot_"),
    ):  # fmt: skip
        row = [found.get(name + kind) for kind in ("best", "w_tinylfu", "lru")]
        rows.append([title, *("" if each is None else f"{each * 100:.2f} %" for each in row)])
    print("\nGets that find something; 1,000,000 keys, room for 50,000:\n")
    harness.print_table(["gets", "best possible", "keelson", "plain LRU"], rows)
    print(f"entries that there was room for: {found['w_tinylfu_entries']:,.0f}", flush=True)


def memory() -> None:
    found = figures("memory")
    rows = [
        ["keelson, by its own count", f"{found['entry_bytes']:.0f}"],
        ["keelson, by resident memory", f"{found['entry_resident_bytes']:.0f}"],
        ["Redis, SET with EX, by used_memory", f"{found['redis_entry_bytes']:.0f}"],
        ["Redis, by MEMORY USAGE", f"{found['redis_memory_usage_bytes']:.0f}"],
    ]
    print(f"\nBytes for each of {found['entries']:,.0f} entries with values of 100 bytes:\n")
    harness.print_table(["", "bytes"], rows)
    rows = []
    for title, name in (("one thread", "flood"), ("six threads", "flood_threads")):
        cells = [found[f"{name}_bytes"], found[f"{name}_resident_bytes"]]
        rows.append([title, *(f"{each / 2**20:.1f}" for each in cells)])
    limit = found["flood_limit_bytes"] / 2**20
    print(f"\nDistinct keys, ten times as many as fit {limit:.0f} MiB; MiB at most:\n")
    harness.print_table(["by", "by the engine's count", "the process has grown by"], rows)


def pattern() -> None:
    found = figures("pattern")
    rows = []
    for title, name in (
        ("a tag of 1 % of them", "tag"), ("a pattern of 10 %", "pattern"),
        ("a pattern of 10 % that begins with a wildcard", "wildcards"), ("everything", "all"),
    ):  # fmt: skip
        row = [found[f"{name}_{kind}"] for kind in ("call_us", "swept_ms", "longest_slice_us")]
        rows.append([title, *(f"{each:,.1f}" for each in row)])
    print("\nInvalidation of some of 1,000,000 entries in memory:\n")
    header = ["by", "call, us", "memory freed after, ms", "longest slice of that, us"]
    harness.print_table(header, rows)
