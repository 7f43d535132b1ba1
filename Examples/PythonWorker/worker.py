#!/usr/bin/env python3
"""A worker on plain grpcio: everything that `keelson.jobs.v1` asks of one, in one file.

    pip install grpcio grpcio-tools
    python3 -m grpc_tools.protoc -I ../../proto --python_out=. --grpc_python_out=. \\
        ../../proto/keelson/jobs/v1/jobs.proto
    python3 worker.py --server 127.0.0.1:7400

It runs jobs of the kinds `word-count` (parameters: {"text": ...}) and `fail`. Ctrl-C or SIGTERM
ends it: it takes no more jobs, finishes those that run, and hears that the server knows.
"""

import argparse
import concurrent.futures
import json
import queue
import signal
import threading
import time

import grpc
from keelson.jobs.v1 import jobs_pb2 as jobs
from keelson.jobs.v1 import jobs_pb2_grpc as jobs_grpc


def word_count(parameters, report):
    words = parameters["text"].split()
    report(0.5, f"{len(words)} words")
    return {"words": len(words)}


def fail(parameters, report):
    raise RuntimeError("this kind always fails")


HANDLERS = {"word-count": word_count, "fail": fail}


class CalledOff(Exception):
    """Raised out of `report` in a handler whose job was called off, or given to another worker."""


class Worker:
    def __init__(self, server, queues, concurrency):
        self.service = jobs_grpc.JobsServiceStub(grpc.insecure_channel(server))
        self.queues, self.concurrency = queues, concurrency
        self.pool = concurrent.futures.ThreadPoolExecutor(concurrency)
        self.lock = threading.Lock()
        self.running = {}  # lease -> None, or what is to become of it: "cancelled" or "lost"
        self.unconfirmed = {}  # lease -> result; kept until the server has said that it knows
        self.outgoing = queue.Queue()
        self.stopping = threading.Event()

    def run(self):
        while not self.is_done():
            try:
                self.stream()
            except grpc.RpcError as error:
                print(f"lost the server ({error.code().name}); dials again")
                self.stopping.wait(1)

    def is_done(self):
        with self.lock:
            return self.stopping.is_set() and not self.running and not self.unconfirmed

    def stream(self):
        outgoing = queue.Queue()
        with self.lock:
            self.outgoing = outgoing
            hello = jobs.WorkRequest(
                hello=jobs.WorkerHello(
                    name="python",
                    queues=self.queues,
                    kinds=list(HANDLERS),
                    held=self.held() + [lease_id(lease) for lease in self.unconfirmed],
                ),
                results=list(self.unconfirmed.values()),
                credit=0 if self.stopping.is_set() else self.concurrency - len(self.running),
                draining=self.stopping.is_set(),
            )
        welcomed = queue.Queue()  # gets the interval between heartbeats
        call = self.service.Work(self.requests(hello, welcomed, outgoing))
        try:
            for message in call:
                if message.HasField("welcome"):
                    welcomed.put(message.welcome.heartbeat_interval.ToTimedelta().total_seconds())
                for job in message.jobs:
                    self.start(job)
                with self.lock:
                    for cancellation in message.cancellations:
                        self.mark(cancellation.lease, "cancelled")
                    for lease in message.lost:
                        self.mark(lease, "lost")
                        self.unconfirmed.pop(key(lease), None)
                    for receipt in message.receipts:
                        self.unconfirmed.pop(key(receipt.lease), None)
                if message.draining:
                    return
                outgoing.put(None)  # Looks whether all is done.
        finally:
            call.cancel()
            welcomed.put(None)
            outgoing.put(None)

    def requests(self, hello, welcomed, outgoing):
        """What is to be said; and regularly, whatever else there is, which jobs are still held."""
        yield hello
        interval = welcomed.get()
        if interval is None:
            return
        beat = time.monotonic() + interval
        while not self.is_done():
            try:
                request = outgoing.get(timeout=max(0, beat - time.monotonic()))
            except queue.Empty:
                request = None
            if request is not None:
                yield request
            if time.monotonic() >= beat:
                beat = time.monotonic() + interval
                with self.lock:
                    held = self.held()
                yield jobs.WorkRequest(heartbeats=held)

    def held(self):
        return [lease_id(lease) for lease, mark in self.running.items() if mark != "lost"]

    def mark(self, lease, mark):
        if key(lease) in self.running:
            self.running[key(lease)] = mark

    def start(self, job):
        with self.lock:
            self.running[key(job.lease)] = None
        self.pool.submit(self.execute, job)

    def execute(self, job):
        result = jobs.AttemptResult(lease=job.lease)

        def report(progress, message=""):
            with self.lock:
                if self.running[key(job.lease)] is not None:
                    raise CalledOff
            told = jobs.JobProgress(lease=job.lease, progress=progress, message=message)
            self.send(progress=[told])

        try:
            answer = HANDLERS[job.kind](json.loads(job.parameters.json or "null"), report)
            result.succeeded.json = json.dumps(answer)
        except CalledOff:
            result.cancelled = True
        except Exception as error:
            result.failed.message = f"{type(error).__name__}: {error}"
        with self.lock:
            # The result of a lease that is lost would be refused.
            is_lost = self.running.pop(key(job.lease)) == "lost"
            if not is_lost:
                self.unconfirmed[key(job.lease)] = result
        credit = 0 if self.stopping.is_set() else 1
        self.send(results=[] if is_lost else [result], credit=credit)

    def send(self, **fields):
        self.outgoing.put(jobs.WorkRequest(**fields))

    def stop(self, *_):
        self.stopping.set()
        self.send(draining=True)


def key(lease):
    return lease.job_id, lease.attempt


def lease_id(key):
    return jobs.LeaseID(job_id=key[0], attempt=key[1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", default="127.0.0.1:7400")
    parser.add_argument("--queue", action="append")
    parser.add_argument("--concurrency", type=int, default=4)
    options = parser.parse_args()
    worker = Worker(options.server, options.queue or ["default"], options.concurrency)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, worker.stop)
    # In a thread of its own, so that a signal never comes upon a lock that this one holds.
    thread = threading.Thread(target=worker.run)
    thread.start()
    thread.join()
