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


class Worker:
    def __init__(self, server, queues, concurrency):
        self.service = jobs_grpc.JobsServiceStub(grpc.insecure_channel(server))
        self.queues, self.concurrency = queues, concurrency
        self.pool = concurrent.futures.ThreadPoolExecutor(concurrency)
        self.lock = threading.Lock()
        self.running = {}  # lease -> cancelled
        self.unconfirmed = {}  # lease -> result; kept until the server has said that it knows
        self.outgoing = queue.Queue()
        self.stopping = threading.Event()
        self.interval = 10.0

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
        self.outgoing = queue.Queue()
        with self.lock:
            held = [
                jobs.LeaseID(job_id=id, attempt=n)
                for id, n in [*self.running, *self.unconfirmed]
            ]
            self.outgoing.put(
                jobs.WorkRequest(
                    hello=jobs.WorkerHello(
                        name="python", queues=self.queues, kinds=list(HANDLERS), held=held
                    ),
                    results=list(self.unconfirmed.values()),
                    credit=0 if self.stopping.is_set() else self.concurrency - len(self.running),
                    draining=self.stopping.is_set(),
                )
            )
        call = self.service.Work(self.requests())
        for message in call:
            if message.HasField("welcome"):
                self.interval = message.welcome.heartbeat_interval.ToTimedelta().total_seconds()
            for job in message.jobs:
                self.start(job)
            with self.lock:
                for cancellation in message.cancellations:
                    self.running[key(cancellation.lease)] = True
                for lease in message.lost:
                    self.running.pop(key(lease), None)
                    self.unconfirmed.pop(key(lease), None)
                for receipt in message.receipts:
                    self.unconfirmed.pop(key(receipt.lease), None)
            if message.draining or self.is_done():
                call.cancel()
                return

    def requests(self):
        """What is to be said; and when nothing is, which jobs are still held."""
        while True:
            try:
                yield self.outgoing.get(timeout=self.interval)
            except queue.Empty:
                with self.lock:
                    held = [jobs.LeaseID(job_id=id, attempt=n) for id, n in self.running]
                yield jobs.WorkRequest(heartbeats=held)

    def start(self, job):
        with self.lock:
            self.running[key(job.lease)] = False
        self.pool.submit(self.execute, job)

    def execute(self, job):
        result = jobs.AttemptResult(lease=job.lease)

        def report(progress, message=""):
            told = jobs.JobProgress(lease=job.lease, progress=progress, message=message)
            self.outgoing.put(jobs.WorkRequest(progress=[told]))

        try:
            answer = HANDLERS[job.kind](json.loads(job.parameters.json or "null"), report)
            result.succeeded.json = json.dumps(answer)
        except Exception as error:
            result.failed.message = f"{type(error).__name__}: {error}"
        with self.lock:
            if self.running.pop(key(job.lease), None) is None:
                return  # The lease is lost, and with it the result.
            self.unconfirmed[key(job.lease)] = result
        credit = 0 if self.stopping.is_set() else 1
        self.outgoing.put(jobs.WorkRequest(results=[result], credit=credit))

    def stop(self, *_):
        self.stopping.set()
        self.outgoing.put(jobs.WorkRequest(draining=True))


def key(lease):
    return lease.job_id, lease.attempt


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", default="127.0.0.1:7400")
    parser.add_argument("--queue", action="append")
    parser.add_argument("--concurrency", type=int, default=4)
    options = parser.parse_args()
    worker = Worker(options.server, options.queue or ["default"], options.concurrency)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, worker.stop)
    threading.Thread(target=worker.run).start()
