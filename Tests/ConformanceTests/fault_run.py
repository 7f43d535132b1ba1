"""Jobs that a fleet does while what it stands on is broken, and the faults that break it."""

import itertools
import random
import signal
import threading
import time
import uuid

import grpc
from google.protobuf import duration_pb2
from keelson.jobs.v1 import jobs_pb2 as jobs
from keelson.jobs.v1 import jobs_pb2_grpc as jobs_grpc

from client import Client

LEASE_SECONDS = 2
LIMITS = [f"job-lease={LEASE_SECONDS}s", "job-heartbeat-interval=400ms"]
QUEUE = "faults"
STATES = ("scheduled", "pending", "running", "completed", "failed", "cancelled")
BATCH = 100
WAIT_SECONDS = 60
AGAIN = (
    grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED
)


class Run:
    """Has jobs done by a fleet, and breaks what it stands on meanwhile."""

    def __init__(self, fleet, seed, *, count, strikes, postgres=None):
        """`count` jobs, and `strikes` faults."""
        self.fleet, self.seed, self.postgres = fleet, seed, postgres
        self.count, self.strikes = count, strikes
        self.chance = random.Random(seed)
        self.client = Client(fleet.way.address)
        self.service = jobs_grpc.JobsServiceStub(self.client.channel)
        # Its own, since another thread creates jobs while faults are chosen.
        self.plans = random.Random(self.chance.random())
        self.planned = {}
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

    def request(self, plan, queue=QUEUE):
        id = str(uuid.uuid4())
        self.planned[id] = plan
        program = self.fleet.workers[0]
        job = jobs.Job(id=id, kind=self.plans.choice(program.KINDS), queue=queue)
        job.parameters.json = program.parameters(plan)
        job.retry_policy.maximum_retries = 100
        job.retry_policy.initial_delay.FromMilliseconds(20)
        job.retry_policy.maximum_delay.FromMilliseconds(500)
        if "hang" in plan:
            job.timeout.CopyFrom(duration_pb2.Duration(seconds=1))
        return jobs.CreateJobRequest(job=job)

    def create(self, count):
        """Creates so many; a batch whose answer was lost is created again, and is there once."""
        weights, plans = zip(*self.fleet.workers[0].PLANS, strict=True)
        for start in range(0, count, BATCH):
            requests = [
                self.request(plan)
                for plan in self.plans.choices(plans, weights, k=min(BATCH, count - start))
            ]
            made = self.trying(
                self.service.BatchCreateJobs, jobs.BatchCreateJobsRequest(requests=requests)
            )
            assert [each.job.id for each in made.responses] == [each.job.id for each in requests]

    def _create_all(self):
        try:
            shares = [self.count * n // (self.strikes + 1) for n in range(self.strikes + 2)]
            for before, share in itertools.pairwise(shares):
                self.wanted.acquire()
                self.create(share - before)
        except Exception as error:
            self.failure = error

    def standing(self):
        """How many jobs are in each state, of all queues."""
        assert self.failure is None, self.failure
        queues = self.trying(self.service.ListQueues, jobs.ListQueuesRequest()).queues
        return {state: sum(getattr(each, state) for each in queues) for state in STATES}

    def wait_for_completed(self, count, timeout_seconds=WAIT_SECONDS):
        def reached():
            return self.standing()["completed"] >= count

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
                filter=jobs.JobFilter(states=waiting), page_size=5
            ),
            timeout=20,
        )
        return "\n".join(text + [str(page)])

    def run(self, faults):
        """Every fault comes once in each round of them, in an order of chance's choice."""
        deck = []
        self.created.start()
        self.wanted.release()
        for number in range(self.strikes):
            self.wanted.release()
            share = (number + self.chance.random()) / (self.strikes + 1)
            self.wait_for_completed(int(self.count * share))
            if not deck:
                deck = self.chance.sample(faults, len(faults))
            fault = deck.pop()
            self.struck.append(fault.__name__)
            fault(self)
        self.created.join(WAIT_SECONDS)
        assert self.failure is None and not self.created.is_alive(), self.failure
        self.wait_for_completed(len(self.planned))

    # What faults need

    def worker(self):
        return self.chance.choice(self.fleet.workers)

    def server(self):
        return self.chance.choice(self.fleet.servers)

    def holding(self, worker):
        """A job that the worker has now, and nobody else can get."""
        made = self.trying(self.service.CreateJob, self.request(["slow:1"], worker.own_queue))
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
