"""A server with short leases, `keelson worker` processes, and jobs of the built-in kinds."""

import json
import pathlib
import threading

import pytest
from keelson.jobs.v1 import jobs_pb2 as jobs

from server import KeelsonServer
from worker_process import LocalServer, WorkerProcess
from working import Jobs, seconds

LIMITS = ["job-lease=2s", "job-heartbeat-interval=200ms"]


@pytest.fixture(scope="module")
def serving(binary, tmp_path_factory):
    """A server whose leases are short."""
    server = KeelsonServer(tmp_path_factory.mktemp("worker"), limits=LIMITS).start()
    yield server
    server.stop()


@pytest.fixture
def service(serving, dial, key):
    service = Jobs(dial(serving), key[:100])
    yield service
    for worker in service.workers:
        worker.break_off()


@pytest.fixture
def start(serving, service, tmp_path):
    """Starts workers for the test's queue; kills those that are left."""
    made = []

    def start(*arguments, **options):
        worker = WorkerProcess(
            serving.address, tmp_path, *arguments, queues=service.queue, **options
        )
        made.append(worker)
        return worker.welcomed()

    yield start
    for worker in made:
        if worker.process.poll() is None:
            worker.kill()


@pytest.fixture
def web():
    web = LocalServer()
    yield web
    web.close()


@pytest.fixture
def commands(tmp_path):
    """Writes a list of commands; the options that allow them."""

    def commands(**commands):
        file = tmp_path / "commands.json"
        file.write_text(json.dumps(commands))
        file.chmod(0o644)
        return ["--allow-command-file", file]

    return commands


def shell(script, **more):
    return {"path": "/bin/sh", "arguments": ["-c", script], **more}


def create(service, kind, parameters=None, **fields):
    fields.setdefault("retry_policy", jobs.RetryPolicy(initial_delay=seconds(0.01), jitter=0))
    payload = None if parameters is None else jobs.Payload(json=json.dumps(parameters))
    return service.create(kind, parameters=payload, **fields).job.id


def completed(service, id):
    job = service.ended(id)
    assert job.state == jobs.JOB_STATE_COMPLETED, [each.error for each in job.attempts]
    return job, json.loads(job.result.json)


def failed(service, id, attempts=1):
    job = service.ended(id)
    assert job.state == jobs.JOB_STATE_FAILED and job.attempt == attempts, job
    return job.attempts[-1].error


def until_line(service, id, text):
    """Waits until a job has logged a line; the lines so far. What is logged wakes no watch."""
    pause = threading.Event()
    for _ in range(400):
        lines = [line.text for each in service.get(id).attempts for line in each.logs]
        if text in lines:
            return lines
        pause.wait(0.05)
    raise AssertionError(f"{text!r} was not logged")


def until_message(worker, message):
    """Waits until a worker has logged a message."""
    pause = threading.Event()
    for _ in range(200):
        if any(line["message"] == message for line in worker.logged()):
            return
        pause.wait(0.05)
    raise AssertionError(f"{message!r} was not logged: {worker.logged()}")


def process_ids(lines):
    return [int(line.split()[1]) for line in lines if line.startswith("pid ")]


def is_running(process):
    try:
        state = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def until_gone(processes):
    gone = threading.Event()
    for _ in range(100):
        if not any(map(is_running, processes)):
            return
        gone.wait(0.1)
    raise AssertionError(f"{processes} still run")


STUBBORN = "trap '' TERM; sleep 600 & echo pid $!; echo pid $$; echo up; while :; do sleep 1; done"
