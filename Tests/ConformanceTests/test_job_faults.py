"""Jobs amid kill -9, SIGSTOP, cut connections and a database that goes away: each is done once."""

import os
import random
import signal
import threading
import time
import uuid

import grpc
import pytest
from google.protobuf import duration_pb2
from keelson.jobs.v1 import jobs_pb2 as jobs
from keelson.jobs.v1 import jobs_pb2_grpc as jobs_grpc

import auditing
from client import Client
from fault_fleet import Fleet
from job_record import all_jobs, check_job, check_life, executions, replay, with_attempts

FAULTS = int(os.environ.get("KEELSON_JOB_FAULTS", 12))
JOBS = int(os.environ.get("KEELSON_FAULT_JOBS", 3000))
SEED = os.environ.get("KEELSON_FAULT_SEED")
LEASE_SECONDS = 2
LIMITS = [f"job-lease={LEASE_SECONDS}s", "job-heartbeat-interval=400ms"]
QUEUE = "faults"
BATCH = 100
WAIT_SECONDS = 60
TEST_SECONDS = 90 + FAULTS * 5 + JOBS // 50
AGAIN = (
    grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED
)
# What handlers do, with how many of a thousand jobs do it.
PLANS = [
    (700, []),
    (150, ["fail"]),
    (40, ["fail", "slow:0.1", "fail"]),
    (60, ["slow:0.05"]),
    (40, ["slow:0.5"]),
    (8, ["hang"]),
    (2, ["exit"]),
]


class Run:
    """Has jobs done by a fleet, and breaks what it stands on meanwhile."""

    def __init__(self, fleet, seed, postgres=None):
        self.fleet, self.seed, self.postgres = fleet, seed, postgres
        self.chance = random.Random(seed)
        self.client = Client(fleet.way.address)
        self.service = jobs_grpc.JobsServiceStub(self.client.channel)
        # Its own, since another thread creates jobs while faults are chosen.
        self.plans = random.Random(self.chance.random())
        self.ids = set()
        self.retried = 0
        self.wanted = threading.Semaphore(0)
        self.created = threading.Thread(target=self._create_all, daemon=True)
        self.failure = None
        self.struck = []

    # Jobs

    def trying(self, call, request, timeout_seconds=WAIT_SECONDS):
        """Makes a call until it is answered. Each may be made twice."""
        end = time.monotonic() + timeout_seconds
        while True:
            try:
                return call(request, timeout=20, wait_for_ready=True)
            except grpc.RpcError as error:
                assert error.code() in AGAIN, f"{error.code()} {error.details()}"
                assert time.monotonic() < end, f"not answered: {error.details()}"
                self.retried += 1
                threading.Event().wait(0.05)

    def request(self, kind, plan, **fields):
        id = str(uuid.uuid4())
        self.ids.add(id)
        job = jobs.Job(id=id, kind=kind, queue=QUEUE, **fields)
        job.retry_policy.maximum_retries = 100
        job.retry_policy.initial_delay.FromMilliseconds(20)
        job.retry_policy.maximum_delay.FromMilliseconds(500)
        if plan:
            job.parameters.json = '{"plan": ["%s"]}' % '", "'.join(plan)
        if "hang" in plan:
            job.timeout.CopyFrom(duration_pb2.Duration(seconds=1))
        return jobs.CreateJobRequest(job=job)

    def create(self, count):
        """Creates so many; a batch whose answer was lost is created again, and is there once."""
        plans = [plan for _, plan in PLANS]
        weights = [weight for weight, _ in PLANS]
        for start in range(0, count, BATCH):
            requests = [
                self.request(self.plans.choice(("quick", "other")), plan)
                for plan in self.plans.choices(plans, weights, k=min(BATCH, count - start))
            ]
            made = self.trying(
                self.service.BatchCreateJobs, jobs.BatchCreateJobsRequest(requests=requests)
            )
            assert [each.job.id for each in made.responses] == [each.job.id for each in requests]

    def _create_all(self):
        try:
            for number in range(FAULTS + 1):
                self.wanted.acquire()
                self.create(JOBS * (number + 1) // (FAULTS + 1) - JOBS * number // (FAULTS + 1))
        except Exception as error:
            self.failure = error

    def standing(self):
        assert self.failure is None, self.failure
        return self.trying(self.service.GetQueue, jobs.GetQueueRequest(name=QUEUE))

    def wait_for_completed(self, count, timeout_seconds=WAIT_SECONDS):
        def reached():
            return self.standing().completed >= count

        what = f"{count} jobs completed after {self.struck[-3:]}"
        self.fleet.wait(reached, what, timeout_seconds, self.found)

    def found(self):
        """What there is, for a run that does not get on."""
        text = [str(self.standing())]
        for server in self.fleet.servers:
            client = Client(server.address)
            stub = jobs_grpc.JobsServiceStub(client.channel)
            text += [str(stub.ListWorkers(jobs.ListWorkersRequest(), timeout=20))]
            client.close()
        waiting = [state for state in jobs.JobState.values() if state in (1, 2, 3)]
        page = self.service.ListJobs(
            jobs.ListJobsRequest(
                filter=jobs.JobFilter(queue=QUEUE, states=waiting), page_size=5
            ),
            timeout=20,
        )
        return "\n".join(text + [str(page)])

    def run(self, faults):
        """Every fault comes once in each round of them, in an order of chance's choice."""
        deck = []
        self.trying(
            self.service.UpdateQueue, jobs.UpdateQueueRequest(queue=jobs.Queue(name=QUEUE))
        )
        self.created.start()
        self.wanted.release()
        for number in range(FAULTS):
            self.wanted.release()
            share = (number + self.chance.random()) / (FAULTS + 1)
            self.wait_for_completed(int(JOBS * share))
            if not deck:
                deck = self.chance.sample(faults, len(faults))
            fault = deck.pop()
            self.struck.append(fault.__name__)
            fault(self)
        self.created.join(WAIT_SECONDS)
        assert self.failure is None and not self.created.is_alive(), self.failure
        self.wait_for_completed(len(self.ids))

    # What faults need

    def worker(self):
        return self.chance.choice(self.fleet.workers)

    def server(self):
        return self.chance.choice(self.fleet.servers)

    def holding(self, worker):
        """A job that the worker has now, and nobody else can get."""
        made = self.trying(self.service.CreateJob, self.request(worker.own_kind, ["slow:1"]))
        self.watch(made.job.id, lambda job: job.state == jobs.JOB_STATE_RUNNING)
        return made.job.id

    def watch(self, id, reached):
        """Until the function says that the job has got there."""
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            try:
                watched = self.service.WatchJobs(
                    jobs.WatchJobsRequest(id=id), timeout=WAIT_SECONDS, wait_for_ready=True
                )
                for message in watched:
                    if message.job.id and reached(message.job):
                        watched.cancel()
                        return
            except grpc.RpcError as error:
                assert error.code() in AGAIN, error.details()
        job = self.service.GetJob(jobs.GetJobRequest(id=id), timeout=20)
        raise AssertionError(f"not in time where it was to get: {job}\n{self.found()}")

    def until_lease_is_lost(self, id):
        self.watch(id, lambda job: job.attempt > 1 or job.state != jobs.JOB_STATE_RUNNING)


# The faults


def worker_killed(run):
    run.worker().kill_and_start()


def worker_stopped_past_its_lease(run):
    worker = run.worker()
    held = run.holding(worker)
    worker.signal(signal.SIGSTOP)
    try:
        run.until_lease_is_lost(held)
    finally:
        worker.signal(signal.SIGCONT)


def worker_cut_off_past_its_lease(run):
    """Nothing is said to either side: the connection is there, and nothing comes through."""
    worker = run.worker()
    held = run.holding(worker)
    worker.proxy.stall()
    try:
        run.until_lease_is_lost(held)
    finally:
        worker.proxy.resume()


def worker_ended_well(run):
    run.worker().stop_and_start()


def connections_of_one_cut(run):
    run.worker().proxy.cut()


def all_connections_cut(run):
    run.fleet.way.cut()
    for worker in run.fleet.workers:
        worker.proxy.cut()


def server_killed(run):
    server = run.server()
    server.kill()
    server.start()


def all_servers_killed(run):
    for server in run.fleet.servers:
        server.kill()
    for server in run.fleet.servers:
        server.start()


def server_ended_well(run):
    server = run.server()
    server.stop()
    server.start()


def server_stopped_past_leases(run):
    """It may have been about to write: whatever it does when it wakes must not harm."""
    server = run.server()
    server.process.send_signal(signal.SIGSTOP)
    threading.Event().wait(LEASE_SECONDS * 1.5)
    server.process.send_signal(signal.SIGCONT)


def database_restarted(run):
    run.postgres.stop("immediate")
    run.postgres.start()


FAULTS_ANYWHERE = [
    worker_killed,
    worker_stopped_past_its_lease,
    worker_cut_off_past_its_lease,
    worker_ended_well,
    connections_of_one_cut,
    all_connections_cut,
    server_killed,
    server_ended_well,
    server_stopped_past_leases,
]
FAULTS_OF_A_FLEET = [*FAULTS_ANYWHERE, all_servers_killed, database_restarted]


def check(run, terminal, store):
    """Every job was completed once, and all that says so agrees."""
    began = time.monotonic()
    standing = run.standing()
    assert standing.completed == len(run.ids)
    assert standing.scheduled == standing.pending == standing.running == 0
    assert standing.failed == standing.cancelled == 0
    run.fleet.stop()
    listed = all_jobs(run.service, QUEUE)
    assert set(listed) == run.ids
    assert {job.state for job in listed.values()} == {jobs.JOB_STATE_COMPLETED}

    seen = executions(run.fleet.folder)
    begun = len(seen)
    refused = sum(0 in each.receipts for each in seen.values())
    attempts = unseen = 0
    numbers = {}
    for job in with_attempts(run.service, sorted(run.ids)):
        unseen += check_job(job, seen)
        attempts += job.attempt
        numbers[job.id] = job.attempt
    assert not seen, f"attempts that the server knows nothing of: {list(seen.items())[:3]}"
    assert attempts == begun + unseen

    lives = replay(run.client, QUEUE)
    assert set(lives) == run.ids
    for id, life in lives.items():
        check_life(life, numbers[id])
    assert auditing.verify(run.client).valid
    terminal(
        f"{store}, seed {run.seed}: {len(run.ids)} jobs through {len(run.struck)} faults, each"
        f" completed once:"
        f" {attempts} attempts, of which {unseen} never reached a worker; {refused} late results"
        f" refused; {run.retried} calls made again;"
        f" checked in {time.monotonic() - began:.0f} s"
    )
    return refused


def have_done(servers, folder, faults, terminal, store, postgres=None):
    seed = int(SEED) if SEED else random.randrange(2**32)
    print(f"KEELSON_FAULT_SEED={seed}")
    fleet = Fleet(servers, folder / "workers", workers=4, kinds=("quick", "other"), queue=QUEUE)
    run = Run(fleet, seed, postgres)
    try:
        run.run(faults)
        refused = check(run, terminal, store)
    finally:
        print("\n".join(run.struck))
        run.client.close()
        fleet.close()
    if worker_stopped_past_its_lease.__name__ in run.struck:
        assert refused, "no result came too late, although workers slept past their leases"


@pytest.mark.timeout(TEST_SECONDS)
def test_each_job_is_done_once_whatever_breaks_in_a_fleet(postgres, launch, terminal, tmp_path):
    url = postgres.create_database()
    servers = [launch(arguments=["--database", url], limits=LIMITS) for _ in range(2)]
    have_done(
        servers, tmp_path, FAULTS_OF_A_FLEET, terminal, "two servers, PostgreSQL", postgres
    )


@pytest.mark.timeout(TEST_SECONDS)
def test_each_job_is_done_once_whatever_breaks_on_sqlite(launch, terminal, tmp_path):
    have_done([launch(limits=LIMITS)], tmp_path, FAULTS_ANYWHERE, terminal, "one server, SQLite")
