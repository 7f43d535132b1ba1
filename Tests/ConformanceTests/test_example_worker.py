"""The worker in Examples/PythonWorker: what its page promises, and what makes a good worker."""

import importlib.util
import signal
import subprocess
import sys
import threading

import pytest
from keelson.jobs.v1 import jobs_pb2 as jobs

from fault_fleet import STUBS
from stubs import REPOSITORY
from working import Jobs, retries, seconds

PROGRAM = REPOSITORY / "Examples/PythonWorker/worker.py"


@pytest.fixture
def short(launch, dial):
    server = launch(limits=["job-lease=1s", "job-heartbeat-interval=200ms"])
    service = Jobs(dial(server), "default")
    service.server = server
    yield service
    service.close()


@pytest.fixture
def example(short):
    """The example in this process, with handlers of the test's own."""
    spec = importlib.util.spec_from_file_location("example_worker", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    started = []

    def example(concurrency, **handlers):
        module.HANDLERS.update(handlers)
        worker = module.Worker(short.server.address, ["default"], concurrency)
        thread = threading.Thread(target=worker.run, daemon=True)
        thread.start()
        started.append((worker, thread))
        return worker

    yield example
    for worker, thread in started:
        worker.stop()
        thread.join(20)
        assert not thread.is_alive(), "the worker did not end"


def test_it_runs_as_its_page_says_and_ends_on_sigterm(short):
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), "--server", short.server.address],
        env={"PYTHONPATH": str(STUBS)}, stdout=subprocess.DEVNULL,
    )
    try:
        counted = short.create("word-count", parameters=jobs.Payload(json='{"text": "a b c"}'))
        failing = short.create("fail", retry_policy=retries(1))
        assert short.ended(counted.job.id).result.json == '{"words": 3}'
        failed = short.ended(failing.job.id)
        assert failed.state == jobs.JOB_STATE_FAILED
        assert failed.attempts[0].error == "RuntimeError: this kind always fails"
        # It has nothing to do, and ends all the same.
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()


def test_it_keeps_the_lease_of_a_slow_job_while_it_is_busy_with_others(short, example):
    """Heartbeats go out also while there is always something else to say."""
    release = threading.Event()

    def slow(parameters, report):
        assert release.wait(30)

    example(2, slow=slow, quick=lambda parameters, report: None)
    held = short.create("slow", retry_policy=retries(0))
    while not short.get(held.job.id).attempt:
        short.ended(short.create("quick").job.id)
    # Twice as long as a lease lasts without heartbeats.
    began = short.get(held.job.id).start_time.ToMilliseconds()
    while short.get(short.batch(1, "quick")[0].job.id).create_time.ToMilliseconds() < began + 2000:
        pass
    release.set()
    job = short.ended(held.job.id)
    assert job.state == jobs.JOB_STATE_COMPLETED and job.attempt == 1


def test_it_has_all_its_places_after_leases_were_lost(short, example):
    release = threading.Event()

    def hang(parameters, report):
        assert release.wait(30)

    meeting = threading.Barrier(2)
    example(2, hang=hang, meet=lambda parameters, report: meeting.wait(20))
    for each in short.batch(2, "hang", timeout=seconds(0.2), retry_policy=retries(0)):
        assert short.ended(each.job.id).state == jobs.JOB_STATE_FAILED
    release.set()
    # Each waits for the other.
    for each in short.batch(2, "meet", retry_policy=retries(0)):
        assert short.ended(each.job.id).state == jobs.JOB_STATE_COMPLETED


def test_it_breaks_off_what_is_called_off(short, example):
    begun = threading.Event()

    def endless(parameters, report):
        begun.set()
        while True:
            report(0.5, "on and on")
            threading.Event().wait(0.02)

    example(1, endless=endless)
    made = short.create("endless")
    assert begun.wait(30)
    short.cancel(made.job.id, grace=seconds(30))
    job = short.ended(made.job.id)
    assert job.state == jobs.JOB_STATE_CANCELLED
    assert job.attempts[0].outcome == jobs.ATTEMPT_OUTCOME_CANCELLED
    # By itself, not by the end of its grace time.
    assert not job.attempts[0].error


def test_it_goes_on_after_its_server_was_killed(short, example):
    release = threading.Event()

    def slow(parameters, report):
        assert release.wait(30)
        return "done"

    # The same address again, so that it is found.
    short.server.stop()
    short.server.listen = [short.server.address]
    short.server.start()
    example(1, slow=slow)
    made = short.create("slow", retry_policy=retries(0))
    while not short.get(made.job.id).attempt:
        pass
    short.server.kill()
    release.set()
    short.server.start()
    job = short.ended(made.job.id)
    assert job.state == jobs.JOB_STATE_COMPLETED and job.result.json == '"done"'
