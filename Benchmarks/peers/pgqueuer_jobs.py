"""What dev/bench jobs runs of pgqueuer: pgqueuer_jobs.py enqueue|drain|work|install DSN ...

`drain` and `work` are one worker process each; times are CLOCK_MONOTONIC, which all processes
share.
"""

import asyncio
import contextlib
import json
import signal
import sys
import time

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

KIND = "no-op"


async def connect(dsn):
    return Queries(AsyncpgDriver(await asyncpg.connect(dsn=dsn)))


async def install(dsn):
    await (await connect(dsn)).install()
    return {}


async def enqueue(dsn, jobs, batch):
    """One caller; `batch` jobs a call."""
    queries = await connect(dsn)
    start = time.monotonic()
    for done in range(0, jobs, batch):
        count = min(batch, jobs - done)
        await queries.enqueue([KIND] * count, [b"{}"] * count, [0] * count)
    return {"per_second": jobs / (time.monotonic() - start)}


async def consume(dsn, batch, mode):
    queries = await connect(dsn)
    pgq = PgQueuer(queries.driver, queries=queries)
    pickups = []
    jobs = 0

    @pgq.entrypoint(KIND)
    async def no_op(job):
        nonlocal jobs
        jobs += 1
        if job.payload and job.payload != b"{}":
            pickups.append((time.monotonic() - float(job.payload)) * 1000)

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, pgq.shutdown.set)
    start = time.monotonic()
    await pgq.run(batch_size=batch, mode=mode)
    return {"start": start, "end": time.monotonic(), "jobs": jobs, "pickups": pickups}


async def steady(dsn, jobs, per_second):
    """One job after the other at a steady pace, each told when it was asked for."""
    queries = await connect(dsn)
    start = time.monotonic()
    for number in range(jobs):
        await asyncio.sleep(max(0, start + number / per_second - time.monotonic()))
        await queries.enqueue([KIND], [str(time.monotonic()).encode()], [0])
    return {}


def main():
    mode, dsn, *rest = sys.argv[1:]
    numbers = [int(number) for number in rest]
    runs = {
        "install": install,
        "enqueue": enqueue,
        "drain": lambda dsn, batch: consume(dsn, batch, QueueExecutionMode.drain),
        "work": lambda dsn, batch: consume(dsn, batch, QueueExecutionMode.continuous),
        "steady": steady,
    }
    with contextlib.suppress(KeyboardInterrupt):
        print(json.dumps(uvloop.run(runs[mode](dsn, *numbers))))


if __name__ == "__main__":
    main()
