"""Jobs amid kill -9, SIGSTOP, cut connections and a database that goes away: each is done once."""

import os
import random
import time

import pytest
from keelson.jobs.v1 import jobs_pb2 as jobs

import auditing
from fault_fleet import Fleet, KeelsonWorker, WorkerProcess
from fault_run import (
    FAULTS_ANYWHERE,
    FAULTS_OF_A_FLEET,
    LIMITS,
    QUEUE,
    Run,
    worker_stopped_past_its_lease,
)
from job_record import (
    all_jobs,
    check_command,
    check_job,
    check_life,
    commands,
    executions,
    replay,
    with_attempts,
)

FAULTS = int(os.environ.get("KEELSON_JOB_FAULTS", 12))
JOBS = int(os.environ.get("KEELSON_FAULT_JOBS", 3000))
SEED = os.environ.get("KEELSON_FAULT_SEED")
TEST_SECONDS = 90 + FAULTS * 5 + JOBS // 50


def check_counts(run):
    """The counters, the list, the events and the audit trail."""
    standing = run.standing()
    assert standing.pop("completed") == len(run.planned)
    assert not any(standing.values()), standing
    listed = all_jobs(run.service)
    assert set(listed) == set(run.planned)
    assert {job.state for job in listed.values()} == {jobs.JOB_STATE_COMPLETED}
    lives = replay(run.client)
    assert set(lives) == set(run.planned)
    for id, life in lives.items():
        check_life(life, listed[id].attempt)
    assert auditing.verify(run.client).valid


def check(run, terminal, store):
    """Every job was completed once, and all that says so agrees."""
    began = time.monotonic()
    run.fleet.stop()
    check_counts(run)
    seen = executions(run.fleet.folder)
    begun = len(seen)
    refused = sum(0 in each.receipts for each in seen.values())
    attempts = unseen = 0
    for job in with_attempts(run.service, sorted(run.planned)):
        unseen += check_job(job, seen)
        attempts += job.attempt
    assert not seen, f"attempts that the server knows nothing of: {list(seen.items())[:3]}"
    assert attempts == begun + unseen

    terminal(
        f"{store}, seed {run.seed}: {len(run.planned)} jobs through {len(run.struck)} faults, each"
        f" completed once:"
        f" {attempts} attempts, of which {unseen} never reached a worker; {refused} late results"
        f" refused; {run.retried} calls made again;"
        f" checked in {time.monotonic() - began:.0f} s"
    )
    return refused


def have_done(servers, folder, faults, look, postgres=None, **options):
    """Has jobs done, and then looks at what there is."""
    seed = int(SEED) if SEED else random.randrange(2**32)
    print(f"KEELSON_FAULT_SEED={seed}")
    program = options.pop("program", WorkerProcess)
    fleet = Fleet(servers, folder / "workers", workers=4, queue=QUEUE, program=program)
    run = Run(fleet, seed, postgres=postgres, **options)
    try:
        run.run(faults)
        look(run)
    finally:
        print("\n".join(run.struck))
        run.client.close()
        fleet.close()


def look_at(store, terminal):
    def look(run):
        refused = check(run, terminal, store)
        if worker_stopped_past_its_lease.__name__ in run.struck:
            assert refused, "no result came too late, although workers slept past their leases"

    return look


@pytest.mark.timeout(TEST_SECONDS)
def test_each_job_is_done_once_whatever_breaks_in_a_fleet(postgres, launch, terminal, tmp_path):
    url = postgres.create_database()
    servers = [launch(arguments=["--database", url], limits=LIMITS) for _ in range(2)]
    have_done(
        servers, tmp_path, FAULTS_OF_A_FLEET, look_at("two servers, PostgreSQL", terminal),
        postgres, count=JOBS, strikes=FAULTS,
    )


@pytest.mark.timeout(TEST_SECONDS)
def test_each_job_is_done_once_whatever_breaks_on_sqlite(launch, terminal, tmp_path):
    have_done(
        [launch(limits=LIMITS)], tmp_path, FAULTS_ANYWHERE, look_at("one server, SQLite", terminal),
        count=JOBS, strikes=FAULTS,
    )


@pytest.mark.timeout(TEST_SECONDS)
def test_keelson_workers_lose_and_double_nothing(postgres, launch, terminal, tmp_path):
    """Each job is a command, which says in a file that it has run."""

    def look(run):
        began = time.monotonic()
        run.fleet.stop()
        check_counts(run)
        begun, ended = commands(run.fleet.folder / "commands.log")
        attempts = 0
        for job in with_attempts(run.service, sorted(run.planned)):
            check_command(job, run.planned[job.id], begun, ended)
            attempts += job.attempt
        assert not begun, f"attempts that the server knows nothing of: {list(begun)[:3]}"
        terminal(
            f"keelson worker, seed {run.seed}: {len(run.planned)} jobs through {len(run.struck)}"
            f" faults, each completed once: {attempts} attempts;"
            f" checked in {time.monotonic() - began:.0f} s"
        )

    url = postgres.create_database()
    servers = [launch(arguments=["--database", url], limits=LIMITS) for _ in range(2)]
    have_done(
        servers, tmp_path, FAULTS_OF_A_FLEET, look, postgres, program=KeelsonWorker,
        count=JOBS // 10, strikes=FAULTS,
    )
