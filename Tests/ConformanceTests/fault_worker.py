#!/usr/bin/env python3
"""A worker in a process of its own, for tests that kill it, stop it and cut its connections.

    fault_worker.py --name NAME --log FILE --kind KIND... --queue QUEUE... HOST:PORT

What a job does is in its parameters: {"plan": ["fail", "slow:0.3"]} says what the handler does in
the first attempt, the second and so on; it succeeds in those that are not named.

    ok, fail        at once
    slow:SECONDS    succeeds after that
    hang            succeeds, once its lease is lost
    exit            ends the process

Every step of every execution is a line in the log, which is written ahead of what follows from it,
so that it is there whatever happens to the process:

    begin JOB ATTEMPT TIME          the job has come
    said JOB ATTEMPT OUTCOME TIME   its handler has ended; the server is told next
    receipt JOB ATTEMPT STATE       what the server says became of it; 0: refused
    lost JOB ATTEMPT                the server says that the lease is lost

Each result is sent until its receipt has come, also when the lease is lost: that it is refused then
is what the tests want to see. How many receipts came goes to the standard output, number by number;
the first is 0, once it listens to signals.
"""

import argparse
import heapq
import json
import os
import queue
import signal
import sys
import threading
import time

import grpc
from keelson.jobs.v1 import jobs_pb2 as jobs
from keelson.jobs.v1 import jobs_pb2_grpc as jobs_grpc

EXIT_CODE = 13


class Worker:
    def __init__(self, options):
        self.options = options
        self.log_file = os.open(options.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        channel = grpc.insecure_channel(
            options.server,
            options=[
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.min_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 500),
            ],
        )
        self.service = jobs_grpc.JobsServiceStub(channel)
        self.lock = threading.Condition()
        self.running = {}  # lease -> what is said when it ends
        self.unconfirmed = {}  # lease -> result
        self.due = []  # (time, lease) of the slow ones
        self.outgoing = None
        self.interval = 10.0
        self.is_stopping = False

    def log(self, lines):
        os.write(self.log_file, "".join(f"{line}\n" for line in lines).encode())

    def run(self):
        threading.Thread(target=self.run_clock, daemon=True).start()
        while not self.is_done():
            try:
                self.stream()
            except grpc.RpcError as error:
                if error.code() not in (
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.CANCELLED,
                    grpc.StatusCode.INTERNAL,
                    grpc.StatusCode.UNKNOWN,
                    grpc.StatusCode.ABORTED,
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                ):
                    raise
                self.log([f"# {error.code().name} {error.details()}"])
                with self.lock:
                    self.lock.wait(0.1)

    def is_done(self):
        with self.lock:
            return self.is_stopping and not self.running and not self.unconfirmed

    def stream(self):
        outgoing = queue.SimpleQueue()
        with self.lock:
            held = [*self.running, *self.unconfirmed]
            outgoing.put(
                jobs.WorkRequest(
                    hello=jobs.WorkerHello(
                        name=self.options.name,
                        queues=self.options.queue,
                        kinds=self.options.kind,
                        held=[jobs.LeaseID(job_id=id, attempt=n) for id, n in held],
                    ),
                    results=list(self.unconfirmed.values()),
                    credit=0 if self.is_stopping else self.room(),
                    draining=self.is_stopping,
                )
            )
            self.outgoing = outgoing
        call = self.service.Work(iter(outgoing.get, None), wait_for_ready=True)
        try:
            for message in call:
                if message.HasField("welcome"):
                    with self.lock:
                        self.interval = message.welcome.heartbeat_interval.ToMilliseconds() / 1000
                        self.lock.notify_all()
                self.take(message)
                if message.draining or self.is_done():
                    return
        finally:
            with self.lock:
                self.outgoing = None
            outgoing.put(None)
            call.cancel()

    def room(self):
        return max(0, self.options.concurrency - len(self.running))

    def send(self, **fields):
        """With the lock held."""
        if self.outgoing is not None:
            self.outgoing.put(jobs.WorkRequest(**fields))

    def take(self, message):
        lines = [
            f"receipt {each.lease.job_id} {each.lease.attempt} {each.state}"
            for each in message.receipts
        ] + [f"lost {each.job_id} {each.attempt}" for each in message.lost]
        if lines:
            self.log(lines)
        if message.receipts:
            os.write(1, f"{len(message.receipts)}\n".encode())
        ended = []
        with self.lock:
            for receipt in message.receipts:
                self.unconfirmed.pop(key(receipt.lease), None)
            for lease in message.lost:
                if self.running.get(key(lease)) == "hang":
                    ended.append((key(lease), "succeeded"))
        if message.jobs:
            now = time.monotonic()
            leases = [each.lease for each in message.jobs]
            self.log(f"begin {each.job_id} {each.attempt} {now}" for each in leases)
            ended += self.begin(message.jobs, now)
        self.end(ended)

    def begin(self, leased, now):
        """Those that have ended already, with how they did."""
        ended = []
        with self.lock:
            for job in leased:
                lease = key(job.lease)
                plan = json.loads(job.parameters.json or "{}").get("plan", [])
                step = plan[lease[1] - 1] if lease[1] <= len(plan) else "ok"
                name, _, argument = step.partition(":")
                self.running[lease] = name
                if name == "exit":
                    os._exit(EXIT_CODE)
                elif name == "slow":
                    heapq.heappush(self.due, (now + float(argument), lease))
                    self.lock.notify_all()
                elif name != "hang":
                    ended.append((lease, "failed" if name == "fail" else "succeeded"))
            if self.is_stopping:
                # They were on their way when it stopped.
                ended += [(lease, "handed_back") for lease in self.waiting(ended)]
        return ended

    def waiting(self, ended):
        """What runs and will not end by itself in time."""
        return set(self.running) - {lease for lease, _ in ended}

    def end(self, ended):
        if not ended:
            return
        now = time.monotonic()
        with self.lock:
            ended = [each for each in ended if self.running.pop(each[0], None) is not None]
            self.log(f"said {id} {n} {outcome} {now}" for (id, n), outcome in ended)
            results = [self.result(lease, outcome) for lease, outcome in ended]
            self.unconfirmed.update((key(each.lease), each) for each in results)
            self.send(results=results, credit=0 if self.is_stopping else len(results))

    def result(self, lease, outcome):
        result = jobs.AttemptResult(lease=jobs.LeaseID(job_id=lease[0], attempt=lease[1]))
        if outcome == "succeeded":
            result.succeeded.json = json.dumps([self.options.name, *lease])
        elif outcome == "failed":
            result.failed.message = f"as planned for {lease[1]}"
        else:
            result.handed_back = True
        return result

    def run_clock(self):
        """Ends what is slow, and sends heartbeats."""
        beat = time.monotonic()
        while True:
            with self.lock:
                now = time.monotonic()
                if now >= beat + self.interval:
                    beat = now
                    held = [jobs.LeaseID(job_id=id, attempt=n) for id, n in self.running]
                    self.send(heartbeats=held)
                ended = []
                while self.due and self.due[0][0] <= now:
                    ended.append((heapq.heappop(self.due)[1], "succeeded"))
                if not ended:
                    next_time = min([beat + self.interval, *(each[0] for each in self.due[:1])])
                    self.lock.wait(max(0.001, next_time - now))
            self.end(ended)

    def stop(self, *_):
        # In another thread: the signal may have come while the lock was held.
        threading.Thread(target=self._stop).start()

    def _stop(self):
        with self.lock:
            self.is_stopping = True
            self.send(draining=True)
            held = [(lease, "handed_back") for lease in self.running]
        self.end(held)
        with self.lock:
            if not self.running and not self.unconfirmed and self.outgoing is not None:
                self.outgoing.put(None)


def key(lease):
    return lease.job_id, lease.attempt


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--log", required=True)
    parser.add_argument("--kind", action="append", required=True)
    parser.add_argument("--queue", action="append", required=True)
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("server")
    worker = Worker(parser.parse_args())
    # A thread that fails must not leave half a worker behind.
    threading.excepthook = lambda failure: (
        sys.__excepthook__(failure.exc_type, failure.exc_value, failure.exc_traceback),
        os._exit(1),
    )
    signal.signal(signal.SIGTERM, worker.stop)
    os.write(1, b"0\n")
    worker.run()
