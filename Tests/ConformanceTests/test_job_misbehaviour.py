"""Workers that misbehave: they offer nothing, flood, do not read, do not speak, or lie."""

import signal
import threading

import grpc
import pytest
from keelson.jobs.v1 import jobs_pb2 as jobs

from fault_fleet import WorkerProcess
from working import Jobs, lease, retries, seconds, succeeded

Code = grpc.StatusCode
SHORT = ["job-lease=1s", "job-heartbeat-interval=200ms"]
MIB = 1 << 20


@pytest.fixture
def service(client, key):
    service = Jobs(client, key[:100])
    yield service
    service.close()


@pytest.fixture
def short(launch, dial):
    """A server whose leases are short, and its jobs."""
    server = launch(limits=SHORT)
    service = Jobs(dial(server), "default")
    service.server = server
    yield service
    service.close()


@pytest.fixture
def process(tmp_path):
    """Starts workers in processes of their own."""
    made = []

    def process(server):
        worker = WorkerProcess(
            f"w{len(made)}", tmp_path, lambda: [server.endpoint], queue="default"
        )
        worker.KINDS = ("test",)
        made.append(worker)
        return worker.start()

    yield process
    for worker in made:
        worker.close()


def planned(*steps):
    return jobs.Payload(json='{"plan": ["%s"]}' % '", "'.join(steps))


# Offers


def test_a_worker_that_offers_nothing_gets_nothing(service):
    idle = service.worker(credit=0, name="idle")
    made = service.create()
    # The next one has credit: what was created earlier would have come by now to the first.
    service.worker(name="able")
    assert service.ended(made.job.id).worker == "able"
    assert not idle.jobs


def test_a_job_whose_kind_no_worker_runs_waits_and_says_so(service):
    other = service.worker(kinds=["other"])
    made = service.create("unknown")
    service.create("other")
    other.wait_for(lambda: other.receipts)
    job = service.get(made.job.id)
    assert job.state == jobs.JOB_STATE_PENDING and "'unknown'" in job.state_message
    assert list(service.standing().kinds_without_worker) == ["unknown"]


# Floods


def test_negative_credit_is_refused(service):
    worker = service.worker(credit=0)
    worker.send(credit=-1)
    worker.wait_for(lambda: worker.error)
    assert worker.error.code() == Code.INVALID_ARGUMENT


def test_a_second_hello_is_refused(service):
    worker = service.worker(credit=0)
    worker.send(hello=jobs.WorkerHello(name="again", queues=["q"], kinds=["k"]))
    worker.wait_for(lambda: worker.error)
    assert worker.error.code() == Code.INVALID_ARGUMENT
    assert "first message" in worker.error.details()


@pytest.mark.parametrize("field", ["results", "heartbeats"])
def test_a_message_of_too_many_leases_is_refused(service, field):
    worker = service.worker(credit=0)
    id = service.create().job.id
    held = jobs.LeaseID(job_id=id, attempt=1)
    each = jobs.AttemptResult(lease=held, cancelled=True) if field == "results" else held
    worker.send(**{field: [each] * 10_001})
    worker.wait_for(lambda: worker.error)
    assert worker.error.code() in (Code.RESOURCE_EXHAUSTED, Code.INVALID_ARGUMENT)
    assert field in worker.error.details() and "10000" in worker.error.details()


@pytest.mark.parametrize("flood", ["heartbeats", "results", "progress"])
def test_floods_of_what_is_not_true_change_nothing(service, flood):
    """Jobs of others, attempts that never were, jobs that do not exist: as fast as they go out."""
    holder = service.worker(lambda job: None, credit=1)
    held = service.create()
    holder.wait_for(lambda: holder.jobs)
    liar = service.worker(name="liar", credit=0)
    lies = [
        jobs.LeaseID(job_id=held.job.id, attempt=2),
        jobs.LeaseID(job_id=held.job.id, attempt=0),
        jobs.LeaseID(job_id=held.job.id, attempt=-1),
        jobs.LeaseID(job_id="00000000-0000-7000-8000-000000000000", attempt=1),
    ] * 10
    messages = 50
    for _ in range(messages):
        if flood == "heartbeats":
            liar.send(heartbeats=lies)
        elif flood == "results":
            liar.send(results=[
                jobs.AttemptResult(lease=each, succeeded=jobs.Payload()) for each in lies
            ])
        else:
            liar.send(progress=[jobs.JobProgress(lease=each, progress=0.9) for each in lies])
    # Meanwhile others are served.
    good = service.worker(name="good", kinds=["good"])
    for _ in range(20):
        assert service.ended(service.create("good").job.id).worker == "good"
    if flood == "results":
        liar.wait_for(lambda: len(liar.receipts) == messages * len(lies))
        assert not any(each.state for each in liar.receipts)
    elif flood == "heartbeats":
        liar.wait_for(lambda: len(liar.lost) == messages * len(lies))
    job = service.get(held.job.id)
    assert job.state == jobs.JOB_STATE_RUNNING and job.attempt == 1 and job.progress == 0
    assert good.error is None and liar.error is None
    holder.send(results=[succeeded(holder.jobs[0])])
    assert service.ended(held.job.id).state == jobs.JOB_STATE_COMPLETED


# Reading and speaking


@pytest.mark.waits
def test_a_worker_that_never_reads_holds_little_of_the_servers_memory(short):
    """It says that it lives, and takes nothing off its stream."""
    payload = jobs.Payload(data=bytes(60_000))
    for _ in range(80):
        short.batch(50, parameters=payload)
    before = short.server.resident_bytes()
    said = threading.Semaphore(0)

    def requests():
        hello = jobs.WorkerHello(name="deaf", queues=["default"], kinds=["test"])
        yield jobs.WorkRequest(hello=hello, credit=10_000)
        while said.acquire(timeout=60):
            yield jobs.WorkRequest(credit=0)

    call = short.service.Work(requests(), timeout=60)
    # It has leases as soon as one has ended; by then it has been given what it would take.
    for _ in range(30):
        said.release()
        threading.Event().wait(0.1)
    grown = short.server.resident_bytes() - before
    call.cancel()
    assert grown < 150 * MIB, f"{grown / MIB:.0f} MiB of 240 for a worker that does not read"
    good = short.worker(name="good", credit=100)
    good.wait_for(lambda: len(good.receipts) >= 4000, 60)


def test_a_worker_that_says_nothing_does_not_get_its_jobs_again(short):
    """It would take them until their attempts are used up, ahead of workers that live."""
    silent = short.worker(lambda job: None, name="silent", credit=1000)
    made = [each.job.id for each in short.batch(20, retry_policy=retries(1))]
    silent.wait_for(lambda: len(silent.jobs) == 20)
    good = short.worker(name="good", credit=1)
    for id in made:
        job = short.ended(id)
        assert job.state == jobs.JOB_STATE_COMPLETED and job.worker == "good" and job.attempt == 2
    assert len(silent.jobs) == 20
    # Once it is heard of it gets jobs again.
    good.break_off()
    silent.send(heartbeats=[])
    silent.handle = succeeded
    assert short.ended(short.create().job.id).worker == "silent"


def test_a_stopped_process_does_not_get_its_jobs_again(short, process):
    worker = process(short.server)
    warm = short.create(parameters=planned("ok"))
    short.ended(warm.job.id)
    worker.signal(signal.SIGSTOP)
    made = [each.job.id for each in short.batch(20, retry_policy=retries(1))]
    good = short.worker(name="good", credit=1)
    for id in made:
        job = short.ended(id)
        assert job.state == jobs.JOB_STATE_COMPLETED and job.worker == "good", job
    worker.signal(signal.SIGCONT)
    good.break_off()
    assert short.ended(short.create().job.id).worker == worker.name
    worker.stop()


@pytest.mark.waits
def test_a_worker_whose_only_job_ran_out_of_time_gets_others_without_a_word(launch, dial):
    """It owes no heartbeat while it has nothing."""
    server = launch(limits=["job-lease=3s", "job-heartbeat-interval=1s"])
    short = Jobs(dial(server), "default")
    worker = short.worker(
        lambda job: succeeded(job) if job.kind == "other" else None, credit=10,
        kinds=["test", "other"],
    )
    made = short.create(timeout=seconds(0.1), retry_policy=retries(0))
    assert short.ended(made.job.id).attempts[0].outcome == jobs.ATTEMPT_OUTCOME_TIMED_OUT
    worker.wait_for(lambda: worker.lost)
    # Past the time within which a worker with jobs has to be heard of.
    threading.Event().wait(2.2)
    assert short.ended(short.create("other").job.id).state == jobs.JOB_STATE_COMPLETED


# Results that are not its own


def test_a_result_that_is_sent_again_is_told_again(service):
    """Its receipt may have been lost with the stream: the server does not say that it refused what
    it took."""
    outcomes = {
        "succeeded": (jobs.JOB_STATE_COMPLETED, lambda job: succeeded(job)),
        "failed": (
            jobs.JOB_STATE_FAILED,
            lambda job: jobs.AttemptResult(
                lease=lease(job), failed=jobs.AttemptFailure(message="no", permanent=True)
            ),
        ),
    }
    for name, (state, result) in outcomes.items():
        worker = service.worker(lambda job: None, credit=1, name=name)
        made = service.create()
        worker.wait_for(lambda: worker.jobs)
        worker.send(results=[result(worker.jobs[0])])
        worker.wait_for(lambda: worker.receipts)
        worker.break_off()
        again = service.worker(credit=0, name=name)
        again.send(results=[result(worker.jobs[0])] * 2)
        again.wait_for(lambda: len(again.receipts) == 2)
        assert [each.state for each in again.receipts] == [state, state]
        # What it did not say then is refused.
        other = "failed" if name == "succeeded" else "succeeded"
        again.send(results=[outcomes[other][1](worker.jobs[0])])
        again.wait_for(lambda: len(again.receipts) == 3)
        assert again.receipts[2].state == jobs.JOB_STATE_UNSPECIFIED
        job = service.get(made.job.id)
        assert job.state == state and len(job.attempts) == 1


def test_a_failure_that_is_sent_again_counts_once(service):
    worker = service.worker(lambda job: None, credit=1)
    made = service.create(retry_policy=retries(3, 60))
    worker.wait_for(lambda: worker.jobs)
    failure = jobs.AttemptResult(
        lease=lease(worker.jobs[0]), failed=jobs.AttemptFailure(message="no")
    )
    worker.send(results=[failure, failure])
    worker.send(results=[failure])
    worker.wait_for(lambda: len(worker.receipts) == 3)
    assert {each.state for each in worker.receipts} == {jobs.JOB_STATE_SCHEDULED}
    job = service.get(made.job.id)
    assert job.attempt == 1 and len(job.attempts) == 1


def test_a_result_by_another_worker_is_taken_once(service):
    """The token is what counts, whoever brings it: a worker that dials again is another stream. The
    one that had the job hears that it is lost."""
    owner = service.worker(lambda job: None, credit=1, name="owner")
    made = service.create()
    owner.wait_for(lambda: owner.jobs)
    thief = service.worker(credit=0, name="thief")
    thief.send(results=[succeeded(owner.jobs[0], '"taken"')])
    thief.wait_for(lambda: thief.receipts)
    assert thief.receipts[0].state == jobs.JOB_STATE_COMPLETED
    owner.wait_for(lambda: owner.lost)
    owner.send(results=[jobs.AttemptResult(
        lease=lease(owner.jobs[0]), failed=jobs.AttemptFailure(message="no")
    )])
    owner.wait_for(lambda: owner.receipts)
    assert owner.receipts[0].state == jobs.JOB_STATE_UNSPECIFIED
    job = service.get(made.job.id)
    assert job.result.json == '"taken"' and job.attempt == 1
    assert service.standing().completed == 1


def test_a_job_that_has_ended_is_not_called_off_or_ended_anew(service):
    worker = service.worker()
    made = service.create()
    service.ended(made.job.id)
    for result in (
        jobs.AttemptResult(lease=lease(worker.jobs[0]), handed_back=True),
        jobs.AttemptResult(lease=lease(worker.jobs[0]), cancelled=True),
    ):
        told = len(worker.receipts)
        worker.send(results=[result])
        worker.wait_for(lambda: len(worker.receipts) > told)
        assert worker.receipts[-1].state == jobs.JOB_STATE_UNSPECIFIED
    assert service.get(made.job.id).state == jobs.JOB_STATE_COMPLETED


def test_every_attempt_stays_in_the_record_when_a_job_runs_again_by_hand(service):
    service.worker()
    made = service.create()
    service.ended(made.job.id)
    service.service.RetryJob(jobs.RetryJobRequest(id=made.job.id))
    job = service.ended(made.job.id)
    assert [(each.attempt, each.outcome) for each in job.attempts] == [
        (1, jobs.ATTEMPT_OUTCOME_SUCCEEDED),
        (2, jobs.ATTEMPT_OUTCOME_SUCCEEDED),
    ]


# Handlers


@pytest.mark.waits
def test_a_handler_that_ends_its_process_uses_up_its_attempts(short, process):
    """Such a job must not go on for ever, whatever it takes down with it."""
    worker = process(short.server)
    made = short.create(parameters=planned("exit", "exit", "exit"), retry_policy=retries(2))
    job = short.ended(made.job.id)
    assert job.state == jobs.JOB_STATE_FAILED
    assert [each.outcome for each in job.attempts] == [jobs.ATTEMPT_OUTCOME_LEASE_EXPIRED] * 3
    assert [each.worker for each in job.attempts] == ["w0.1", "w0.2", "w0.3"]
    # It was started again, and lives.
    assert short.ended(short.create().job.id).worker == "w0.4"
    worker.stop()


def test_a_handler_that_hangs_runs_into_its_timeout(short, process):
    """Its worker lives and sends heartbeats; it goes on with other jobs meanwhile."""
    worker = process(short.server)
    made = short.create(
        parameters=planned("hang"), timeout=seconds(1.5), retry_policy=retries(1)
    )
    other = short.ended(short.create().job.id)
    job = short.ended(made.job.id)
    assert job.state == jobs.JOB_STATE_COMPLETED
    assert [each.outcome for each in job.attempts] == [
        jobs.ATTEMPT_OUTCOME_TIMED_OUT, jobs.ATTEMPT_OUTCOME_SUCCEEDED
    ]
    assert other.worker == job.worker == worker.name
    worker.stop()


def test_a_handler_that_fails_leaves_its_worker_alone(short, process):
    worker = process(short.server)
    made = short.create(parameters=planned("fail", "fail"), retry_policy=retries(2))
    job = short.ended(made.job.id)
    assert [each.error for each in job.attempts] == ["as planned for 1", "as planned for 2", ""]
    assert job.worker == worker.name
    worker.stop()
