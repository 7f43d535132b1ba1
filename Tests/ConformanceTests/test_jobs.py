"""Jobs: created, handed out under leases, retried, called off, kept; queues and their limits."""

import threading
import time
import uuid

import grpc
import pytest
from google.protobuf import duration_pb2
from keelson.jobs.v1 import jobs_pb2 as jobs

from client import invalid, refused
from working import Jobs, failed, lease, retries, seconds, succeeded

Code = grpc.StatusCode


@pytest.fixture
def service(client, key):
    service = Jobs(client, key[:100])
    yield service
    service.close()


def test_a_job_runs_and_its_result_is_kept(service):
    made = service.create(parameters=jobs.Payload(json='{"to": "anna"}'), tags=["mail"])
    assert made.job.state == jobs.JOB_STATE_PENDING and not made.existing
    assert "No worker" in service.get(made.job.id).state_message
    worker = service.worker(lambda job: succeeded(job, '{"sent": true}'))
    job = service.ended(made.job.id)
    assert job.state == jobs.JOB_STATE_COMPLETED
    assert job.result.json == '{"sent": true}'
    assert [each.outcome for each in job.attempts] == [jobs.ATTEMPT_OUTCOME_SUCCEEDED]
    (leased,) = worker.jobs
    assert leased.parameters.json == '{"to": "anna"}'
    assert leased.lease.attempt == 1 and list(leased.tags) == ["mail"]
    assert leased.correlation_id == job.correlation_id
    worker.wait_for(lambda: worker.receipts)
    assert worker.receipts[0].state == jobs.JOB_STATE_COMPLETED


def test_bytes_go_through_unchanged(service):
    data = bytes(range(256))
    service.worker(
        lambda job: jobs.AttemptResult(
            lease=lease(job), succeeded=jobs.Payload(data=job.parameters.data[::-1])
        )
    )
    made = service.create(parameters=jobs.Payload(data=data))
    assert service.ended(made.job.id).result.data == data[::-1]


def test_a_batch_is_created_and_done(service):
    worker = service.worker(credit=100)
    made = service.batch(500)
    assert len({each.job.id for each in made}) == 500
    worker.wait_for(lambda: len(worker.receipts) == 500)
    assert {each.job_id for each in (r.lease for r in worker.receipts)} == {
        each.job.id for each in made
    }
    standing = service.standing()
    assert standing.completed == 500 and standing.pending == 0 and standing.running == 0


def test_a_job_waits_for_its_time(service):
    worker = service.worker()
    began = time.monotonic()
    made = service.create(delay=0.3)
    assert made.job.state == jobs.JOB_STATE_SCHEDULED
    service.ended(made.job.id)
    assert time.monotonic() - began >= 0.3
    assert len(worker.jobs) == 1


def test_what_fails_is_retried_and_then_kept(service):
    worker = service.worker(lambda job: failed(job, f"attempt {job.lease.attempt}"))
    made = service.create(retry_policy=retries(2, 0.01))
    job = service.ended(made.job.id)
    assert job.state == jobs.JOB_STATE_FAILED and job.attempt == 3
    assert [each.error for each in job.attempts] == ["attempt 1", "attempt 2", "attempt 3"]
    assert [each.attempts_left for each in worker.jobs] == [2, 1, 0]
    # By hand it runs again, with as many retries as at first.
    worker.handle = succeeded
    service.service.RetryJob(jobs.RetryJobRequest(id=job.id))
    again = service.ended(job.id)
    assert again.state == jobs.JOB_STATE_COMPLETED and again.attempt == 4


def test_a_permanent_failure_is_not_retried(service):
    service.worker(lambda job: failed(job, "never", permanent=True))
    job = service.ended(service.create().job.id)
    assert job.state == jobs.JOB_STATE_FAILED and job.attempt == 1


def test_the_higher_priority_goes_first(service):
    low = [service.create(priority=-5).job.id for _ in range(3)]
    high = [service.create(priority=5).job.id for _ in range(3)]
    worker = service.worker(credit=1)
    worker.wait_for(lambda: len(worker.receipts) == 6)
    assert [each.lease.job_id for each in worker.jobs] == high + low


def test_a_unique_key_returns_the_job_that_has_it(service):
    first = service.create(unique_key=jobs.UniqueKey(key="daily"))
    second = service.create(unique_key=jobs.UniqueKey(key="daily"))
    assert second.existing and second.job.id == first.job.id
    # Of another kind it is another key.
    assert not service.create("other", unique_key=jobs.UniqueKey(key="daily")).existing
    service.worker()
    service.ended(first.job.id)
    assert not service.create(unique_key=jobs.UniqueKey(key="daily")).existing
    # With a window it is held beyond the end.
    windowed = jobs.UniqueKey(key="window", window=seconds(60))
    third = service.create(unique_key=windowed)
    service.ended(third.job.id)
    assert service.create(unique_key=windowed).job.id == third.job.id


def test_an_id_of_the_callers_own_creates_once(service):
    id = str(uuid.uuid4())
    assert not service.create(id=id).existing
    assert service.create(id=id).existing
    assert service.get(id).state == jobs.JOB_STATE_PENDING


def test_what_waits_is_called_off_at_once(service):
    made = service.create(delay=60)
    assert service.cancel(made.job.id).state == jobs.JOB_STATE_CANCELLED
    refused(lambda: service.cancel(made.job.id), code=Code.FAILED_PRECONDITION)
    service.service.DeleteJob(jobs.DeleteJobRequest(id=made.job.id))
    refused(lambda: service.get(made.job.id), code=Code.NOT_FOUND)


def test_a_running_job_is_called_off_with_grace(service):
    worker = service.worker(lambda job: None)
    made = service.create()
    worker.wait_for(lambda: worker.jobs)
    job = service.cancel(made.job.id, grace=seconds(30), reason="not needed")
    assert job.state == jobs.JOB_STATE_RUNNING and job.cancel_requested
    worker.wait_for(lambda: worker.cancellations)
    assert 20 < worker.cancellations[0].grace.ToTimedelta().total_seconds() <= 30
    worker.send(results=[jobs.AttemptResult(lease=lease(worker.jobs[0]), cancelled=True)])
    assert service.ended(made.job.id).state == jobs.JOB_STATE_CANCELLED


def test_without_breaking_off_the_lease_ends_with_the_grace(service):
    worker = service.worker(lambda job: None)
    made = service.create()
    worker.wait_for(lambda: worker.jobs)
    service.cancel(made.job.id, grace=seconds(0.2))
    job = service.ended(made.job.id)
    assert job.state == jobs.JOB_STATE_CANCELLED
    worker.wait_for(lambda: worker.lost)
    # Too late.
    worker.send(results=[succeeded(worker.jobs[0])])
    worker.wait_for(lambda: worker.receipts)
    assert worker.receipts[0].state == jobs.JOB_STATE_UNSPECIFIED
    assert service.get(made.job.id).state == jobs.JOB_STATE_CANCELLED


def test_a_job_over_its_timeout_runs_again(service):
    worker = service.worker(lambda job: None if job.lease.attempt == 1 else succeeded(job))
    made = service.create(timeout=seconds(0.2), retry_policy=retries(1))
    job = service.ended(made.job.id)
    assert job.state == jobs.JOB_STATE_COMPLETED and job.attempt == 2
    assert job.attempts[0].outcome == jobs.ATTEMPT_OUTCOME_TIMED_OUT
    worker.wait_for(lambda: worker.lost)


def test_what_is_handed_back_runs_elsewhere_at_once(service):
    def hand_back(job):
        return jobs.AttemptResult(lease=lease(job), handed_back=True)

    first = service.worker(hand_back, refill=False, credit=1)
    made = service.create()
    first.wait_for(lambda: first.receipts)
    second = service.worker(name="second")
    job = service.ended(made.job.id)
    assert job.state == jobs.JOB_STATE_COMPLETED and job.attempt == 2 and job.worker == "second"
    assert job.attempts[0].outcome == jobs.ATTEMPT_OUTCOME_HANDED_BACK
    assert second.jobs[0].attempts_left == 3


def test_a_worker_that_dies_loses_its_job_and_a_late_result_is_refused(launch, dial):
    server = launch(limits=["job-lease=1s", "job-heartbeat-interval=300ms"])
    service = Jobs(dial(server), "default")
    dying = service.worker(lambda job: None, name="dying")
    made = service.create(retry_policy=retries(1))
    dying.wait_for(lambda: dying.jobs)
    old = dying.jobs[0]
    dying.break_off()
    second = service.worker(name="second")
    job = service.ended(made.job.id)
    assert job.worker == "second" and job.attempt == 2
    assert job.attempts[0].outcome == jobs.ATTEMPT_OUTCOME_LEASE_EXPIRED
    late = service.worker(name="late", held=[lease(old)], credit=0)
    late.wait_for(lambda: late.lost)
    late.send(results=[succeeded(old)])
    late.wait_for(lambda: late.receipts)
    assert late.receipts[0].state == jobs.JOB_STATE_UNSPECIFIED
    assert len(second.jobs) == 1


def test_heartbeats_keep_a_lease_over_a_broken_stream(launch, dial):
    server = launch(limits=["job-lease=1s", "job-heartbeat-interval=200ms"])
    service = Jobs(dial(server), "default")
    first = service.worker(lambda job: None)
    made = service.create()
    first.wait_for(lambda: first.jobs)
    held = lease(first.jobs[0])
    first.break_off()
    again = service.worker(held=[held], credit=0)
    patience = threading.Event()
    for _ in range(8):
        again.send(heartbeats=[held])
        patience.wait(0.2)
    assert not again.lost
    again.send(results=[jobs.AttemptResult(lease=held, succeeded=jobs.Payload())])
    job = service.ended(made.job.id)
    assert job.state == jobs.JOB_STATE_COMPLETED and job.attempt == 1


def test_a_restart_of_the_server_loses_nothing(launch, dial):
    server = launch()
    service = Jobs(dial(server), "default")
    made = [each.job.id for each in service.batch(50)]
    holding = service.worker(lambda job: None, credit=5)
    holding.wait_for(lambda: len(holding.jobs) == 5)
    server.kill()
    server.start()
    service = Jobs(dial(server), "default")
    held = [lease(each) for each in holding.jobs]
    worker = service.worker(credit=50, held=held)
    worker.send(results=[jobs.AttemptResult(lease=each, succeeded=jobs.Payload()) for each in held])
    for id in made:
        assert service.ended(id).state == jobs.JOB_STATE_COMPLETED
    assert all(service.get(id).attempt == 1 for id in made)


def test_progress_and_log_lines_are_seen(service):
    worker = service.worker(lambda job: None)
    made = service.create()
    watched = service.service.WatchJobs(jobs.WatchJobsRequest(id=made.job.id), timeout=30)
    worker.wait_for(lambda: worker.jobs)
    held = lease(worker.jobs[0])
    worker.send(
        progress=[
            jobs.JobProgress(
                lease=held, progress=0.5, message="half", logs=[jobs.JobLogLine(text="a line")]
            )
        ]
    )
    for message in watched:
        if message.job.state == jobs.JOB_STATE_RUNNING and message.job.progress == 0.5:
            break
    worker.send(results=[failed(worker.jobs[0], "no", permanent=True)])
    job = service.ended(made.job.id)
    assert [line.text for line in job.attempts[0].logs] == ["a line"]


def test_a_queue_keeps_to_its_concurrency(service):
    service.limit(concurrency=2)
    worker = service.worker(lambda job: None, credit=10)
    made = [each.job.id for each in service.batch(5)]
    worker.wait_for(lambda: len(worker.jobs) == 2)
    assert service.standing().running == 2
    done = 0
    while done < 5:
        worker.wait_for(lambda: len(worker.jobs) > done)
        assert len(worker.jobs) <= done + 2
        worker.send(results=[succeeded(worker.jobs[done])])
        done += 1
    for id in made:
        service.ended(id)


def test_a_key_keeps_to_its_concurrency(service):
    service.limit(concurrency_per_key=1)
    worker = service.worker(lambda job: None, credit=10)
    for tenant in ("a", "a", "b", "b", ""):
        service.create(concurrency_key=tenant)
    worker.wait_for(lambda: len(worker.jobs) == 3)
    threading.Event().wait(0.2)
    assert len(worker.jobs) == 3
    worker.send(results=[succeeded(job) for job in worker.jobs])
    worker.wait_for(lambda: len(worker.jobs) == 5)


def test_a_queue_keeps_to_its_rate(service):
    service.limit(rate=2, rate_period=seconds(0.5))
    worker = service.worker(credit=10)
    began = time.monotonic()
    service.batch(6)
    worker.wait_for(lambda: len(worker.receipts) == 6)
    assert time.monotonic() - began >= 0.9


def test_a_paused_queue_hands_out_nothing(service):
    name = jobs.PauseQueueRequest(name=service.queue)
    assert service.service.PauseQueue(name).paused
    worker = service.worker()
    made = service.create()
    threading.Event().wait(0.2)
    assert not worker.jobs
    service.service.ResumeQueue(jobs.ResumeQueueRequest(name=service.queue))
    service.ended(made.job.id)


def test_a_full_queue_refuses(service):
    service.limit(depth=3)
    service.batch(3)
    error = refused(lambda: service.create(), code=Code.RESOURCE_EXHAUSTED)
    assert "at most 3" in error.details()


def test_lists_are_paged_and_filtered(service):
    made = [service.create(tags=["odd"] if number % 2 else []).job.id for number in range(7)]
    service.cancel(made[0])

    def pages(**fields):
        token, found = "", []
        while True:
            answer = service.service.ListJobs(
                jobs.ListJobsRequest(
                    filter=jobs.JobFilter(queue=service.queue, **fields),
                    page_size=2,
                    page_token=token,
                )
            )
            found += [each.id for each in answer.jobs]
            token = answer.next_page_token
            if not token:
                return found

    assert pages() == made[::-1]
    assert pages(tags=["odd"]) == [made[5], made[3], made[1]]
    assert pages(states=[jobs.JOB_STATE_CANCELLED]) == [made[0]]
    assert pages(kind="nothing") == []


def test_workers_are_listed(service):
    service.worker(name="listed/one", kinds=["a", "b"], credit=3)
    found = [
        each
        for each in service.service.ListWorkers(jobs.ListWorkersRequest(page_size=1000)).workers
        if service.queue in each.queues
    ]
    assert [(each.name, list(each.kinds), each.credit) for each in found] == [
        ("listed/one", ["a", "b"], 3)
    ]


@pytest.mark.parametrize(
    "fields, field",
    [
        ({"kind": ""}, "job.kind"),
        ({"kind": "no spaces"}, "job.kind"),
        ({"priority": 1001}, "job.priority"),
        ({"parameters": jobs.Payload(json="{")}, "job.parameters"),
        ({"parameters": jobs.Payload(data=bytes(65537))}, "job.parameters"),
        ({"timeout": duration_pb2.Duration(seconds=-1)}, "job.timeout"),
        ({"retry_policy": jobs.RetryPolicy(maximum_retries=101)}, "retry_policy.maximum_retries"),
        ({"retry_policy": jobs.RetryPolicy(jitter=2)}, "job.retry_policy.jitter"),
        ({"unique_key": jobs.UniqueKey()}, "job.unique_key.key"),
        ({"tags": ["x"] * 33}, "job.tags"),
        ({"id": "not-a-uuid"}, "job.id"),
    ],
)
def test_bad_jobs_are_refused_by_name(service, fields, field):
    invalid(lambda: service.create(**{"kind": "test", **fields}), field=field)


@pytest.mark.parametrize(
    "hello, field",
    [
        (jobs.WorkerHello(kinds=["a"], queues=["q"]), "hello.name"),
        (jobs.WorkerHello(name="w", queues=["q"]), "hello.kinds"),
        (jobs.WorkerHello(name="w", kinds=["a"]), "hello.queues"),
        (None, "hello"),
    ],
)
def test_a_bad_hello_is_refused_by_name(service, hello, field):
    request = jobs.WorkRequest(credit=1) if hello is None else jobs.WorkRequest(hello=hello)
    invalid(service.service.Work, iter([request]), timeout=20, field=field)


def test_a_worker_that_floods_is_refused(service):
    worker = service.worker(credit=0)
    worker.send(credit=10_001)
    worker.wait_for(lambda: worker.error)
    assert worker.error.code() == Code.RESOURCE_EXHAUSTED
    assert "10000" in worker.error.details()


def test_a_worker_that_says_no_more_hears_the_rest(service):
    made = [each.job.id for each in service.batch(20)]
    worker = service.worker(credit=20, refill=False)
    worker.wait_for(lambda: len(worker.jobs) == 20)
    worker.close()
    assert worker.error is None and len(worker.receipts) == 20
    assert all(service.get(id).state == jobs.JOB_STATE_COMPLETED for id in made)
