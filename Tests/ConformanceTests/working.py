"""Jobs and workers on plain grpcio, as tests need them: what a worker does with each job is a
function."""

import queue
import threading

import grpc
from google.protobuf import duration_pb2
from keelson.jobs.v1 import jobs_pb2 as jobs
from keelson.jobs.v1 import jobs_pb2_grpc as jobs_grpc

ENDED = (jobs.JOB_STATE_COMPLETED, jobs.JOB_STATE_FAILED, jobs.JOB_STATE_CANCELLED)


def seconds(number):
    duration = duration_pb2.Duration()
    duration.FromMicroseconds(int(number * 1_000_000))
    return duration


def retries(maximum, delay=0.0):
    return jobs.RetryPolicy(maximum_retries=maximum, initial_delay=seconds(delay), jitter=0)


def lease(leased):
    return jobs.LeaseID(job_id=leased.lease.job_id, attempt=leased.lease.attempt)


def succeeded(leased, text="null"):
    return jobs.AttemptResult(lease=lease(leased), succeeded=jobs.Payload(json=text))


def failed(leased, message="no", **failure):
    return jobs.AttemptResult(
        lease=lease(leased), failed=jobs.AttemptFailure(message=message, **failure)
    )


class Worker:
    """Takes jobs until closed. `handle` gives each job's result, or None to hold on to it."""

    def __init__(
        self, channel, handle=succeeded, *, name="worker", kinds=("test",), queues=("default",),
        credit=10, held=(), timeout=120, refill=True,
    ):
        self.service = jobs_grpc.JobsServiceStub(channel)
        self.handle, self.refill = handle, refill
        self.jobs, self.receipts, self.cancellations, self.lost = [], [], [], []
        self.welcome = self.error = None
        self.draining = False
        self.changed = threading.Condition()
        self.outgoing = queue.Queue()
        hello = jobs.WorkerHello(name=name, kinds=kinds, queues=queues, held=held)
        self.send(hello=hello, credit=credit)
        self.call = self.service.Work(iter(self.outgoing.get, None), timeout=timeout)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        self.wait_for(lambda: self.welcome or self.error)

    def send(self, **fields):
        self.outgoing.put(jobs.WorkRequest(**fields))

    def _run(self):
        try:
            for message in self.call:
                results = [
                    result for result in map(self.handle, message.jobs) if result is not None
                ]
                with self.changed:
                    if message.HasField("welcome"):
                        self.welcome = message.welcome
                    self.jobs += message.jobs
                    self.receipts += message.receipts
                    self.cancellations += message.cancellations
                    self.lost += message.lost
                    self.draining = self.draining or message.draining
                    self.changed.notify_all()
                if results:
                    self.send(results=results, credit=len(results) if self.refill else 0)
        except grpc.RpcError as error:
            with self.changed:
                self.error = error
                self.changed.notify_all()

    def wait_for(self, reached, timeout_seconds=30):
        with self.changed:
            assert self.changed.wait_for(reached, timeout_seconds), (
                f"{len(self.jobs)} jobs, {len(self.receipts)} receipts, {self.error}"
            )

    def close(self):
        """Says no more, and hears the rest."""
        self.outgoing.put(None)
        self.thread.join(30)
        assert not self.thread.is_alive()

    def break_off(self):
        """As a worker that dies."""
        self.call.cancel()
        self.thread.join(30)


class Jobs:
    """The service over a client's connection, in a queue of its own."""

    def __init__(self, client, queue):
        self.channel, self.queue = client.channel, queue
        self.service = jobs_grpc.JobsServiceStub(client.channel)
        self.workers = []

    def create(self, kind="test", delay=None, **fields):
        request = jobs.CreateJobRequest(job=jobs.Job(kind=kind, queue=self.queue, **fields))
        if delay is not None:
            request.delay.CopyFrom(seconds(delay))
        return self.service.CreateJob(request, timeout=20)

    def batch(self, count, kind="test", **fields):
        job = jobs.Job(kind=kind, queue=self.queue, **fields)
        return self.service.BatchCreateJobs(
            jobs.BatchCreateJobsRequest(requests=[jobs.CreateJobRequest(job=job)] * count),
            timeout=20,
        ).responses

    def get(self, id):
        return self.service.GetJob(jobs.GetJobRequest(id=id), timeout=20)

    def ended(self, id):
        """Waits for a job's end and returns it."""
        for message in self.service.WatchJobs(jobs.WatchJobsRequest(id=id), timeout=60):
            last = message.job
        assert last.state in ENDED
        return self.get(id)

    def states(self, id):
        """The states of a job from now to its end."""
        watched = self.service.WatchJobs(jobs.WatchJobsRequest(id=id), timeout=60)
        return [message.job.state for message in watched if message.job.id]

    def cancel(self, id, **fields):
        return self.service.CancelJob(jobs.CancelJobRequest(id=id, **fields), timeout=20)

    def standing(self):
        return self.service.GetQueue(jobs.GetQueueRequest(name=self.queue), timeout=20)

    def limit(self, **limits):
        return self.service.UpdateQueue(
            jobs.UpdateQueueRequest(
                queue=jobs.Queue(name=self.queue, limits=jobs.QueueLimits(**limits))
            ),
            timeout=20,
        )

    def worker(self, *arguments, **options):
        options.setdefault("queues", [self.queue])
        worker = Worker(self.channel, *arguments, **options)
        self.workers.append(worker)
        return worker

    def close(self):
        for worker in self.workers:
            worker.break_off()
