"""A million entries in Redis: what they take, and what making them void takes."""

import re
import subprocess
import time

import harness
import wire
from cache_calls import SERVICE, VALUE, Bench
from load import CLIENT_CORE, HEADERS, ask
from redis import Redis

PREFIX = "bench:cache:entry:"
BATCH = 1_000
PATIENCE_SECONDS = 300

#: Sets as many keys as one batch has, the way a program without Keelson would.
PLAIN = f"""
for number = 0, ARGV[1] - 1 do
  redis.call('SET', '{PREFIX}' .. string.format('%08d', ARGV[2] + number), ARGV[3], 'PX', ARGV[4])
end
"""


def key(number: int) -> str:
    return f"{PREFIX}{number:08d}"


def fill(server: harness.Server, count: int) -> None:
    for start in range(0, count, BATCH):
        requests = [wire.set_entry_request(key(start + each), VALUE) for each in range(BATCH)]
        message = wire.batch_set_entries_request(requests)
        ask(server, SERVICE + "BatchSetEntries", message)


def used_bytes(redis: Redis) -> int:
    return int(redis.information("memory")["used_memory"])


def entries(bench: Bench) -> int:
    return max(round(1_000_000 * bench.scale) // BATCH, 1) * BATCH


def memory(bench: Bench) -> None:
    count = entries(bench)
    plain, ours = bench.redis("plain"), bench.redis("ours")
    server = bench.keelson("keelson-redis", "--cache", ours.cache)
    rows = []
    before = used_bytes(plain)
    for start in range(0, count, BATCH):
        plain.say("EVAL", PLAIN, 0, BATCH, start, VALUE, wire.DAY_SECONDS * 1_000)
    rows.append(["SET key value PX", f"{(used_bytes(plain) - before) / count:.0f}"])
    before = used_bytes(ours)
    fill(server, count)
    rows.append(["keelson, through Redis", f"{(used_bytes(ours) - before) / count:.0f}"])
    _check(plain, count)
    _check(ours, count)
    print(
        f"\nRedis's used_memory for each of {count:,} entries, keys of {len(key(0))} and values of"
        f" {len(VALUE)} bytes:\n"
    )
    harness.print_table(["stored by", "bytes"], rows)


def _check(redis: Redis, count: int) -> None:
    """Beside the entries Keelson has a few keys of its own."""
    found = redis.say("DBSIZE")
    if not count <= found <= count + 10:
        raise harness.BenchmarkError(f"Redis holds {found} keys instead of {count}")


def pattern(bench: Bench) -> None:
    count = entries(bench)
    redis = bench.redis()
    server = bench.keelson("keelson-redis", "--cache", redis.cache)
    rows = []
    for turn in range(min(bench.rounds, 3)):
        fill(server, count)
        _check(redis, count)
        used = redis.cpu_seconds() + server.cpu_seconds()
        began = time.monotonic()
        milliseconds = invalidate(server, PREFIX + "*", bench)
        if ask(server, SERVICE + "GetEntry", wire.get_entry_request(key(0)))[:1] == b"\x0a":
            raise harness.BenchmarkError("an entry that was made void was given")
        while redis.say("DBSIZE") > 10:
            if time.monotonic() - began > PATIENCE_SECONDS:
                raise harness.BenchmarkError(f"{redis.say('DBSIZE')} keys were not swept")
            time.sleep(0.01)
        swept = time.monotonic() - began
        used = redis.cpu_seconds() + server.cpu_seconds() - used
        rows.append([str(turn + 1), f"{milliseconds:.2f}", f"{swept:.2f}", f"{used:.2f}"])
    print(f"\nInvalidation of {count:,} entries in Redis by a pattern:\n")
    header = ["round", "call, ms", "all swept after, s", "CPU of both servers until then, s"]
    harness.print_table(header, rows)


def invalidate(server: harness.Server, pattern: str, bench: Bench) -> float:
    """Milliseconds of the call, by h2load: from sending it to the end of its answer."""
    body = harness.body_file(wire.frame(wire.invalidate_pattern_request(pattern)))
    log = bench.folder / "invalidation"
    log.unlink(missing_ok=True)
    command = ["taskset", "--cpu-list", str(CLIENT_CORE), "h2load", *HEADERS, "-n1", "-c1", "-m1"]
    command += ["-d", str(body), f"--log-file={log}", server.url + SERVICE + "InvalidateEntries"]
    said = subprocess.run(command, capture_output=True, text=True).stdout
    data = re.search(r"\((\d+)\) data", said)
    if not data or int(data[1]) <= 5:
        raise harness.BenchmarkError(f"the invalidation failed:\n{said}")
    return int(log.read_text().split("\t")[2]) / 1_000
