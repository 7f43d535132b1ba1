"""A worker on plain grpcio, as tests need one: what it does with each job is a function."""

import queue
import threading

import grpc
from keelson.jobs.v1 import jobs_pb2 as jobs
from keelson.jobs.v1 import jobs_pb2_grpc as jobs_grpc


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
