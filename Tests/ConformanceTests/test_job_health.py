"""What health and metrics say of the jobs."""

import json
import re
import signal

import pytest
from keelson.events.v1 import events_pb2 as events
from keelson.health.v1 import health_pb2 as health
from keelson.jobs.v1 import jobs_pb2 as jobs
from keelson.jobs.v1 import jobs_pb2_grpc as jobs_grpc

from server import run
from wire import Wire
from working import Worker, failed, succeeded

pytestmark = pytest.mark.waits

DEPTH = ["job-queue-depth-alert=10"]
TELEMETRY = [events.EVENT_CLASS_TELEMETRY]


def fill(client, count, queue="mail"):
    job = jobs.Job(kind="test", queue=queue)
    jobs_grpc.JobsServiceStub(client.channel).BatchCreateJobs(
        jobs.BatchCreateJobsRequest(requests=[jobs.CreateJobRequest(job=job)] * count)
    )


def component(answer):
    return next(each for each in answer.components if each.name == "jobs")


def reached(client, status):
    """The component once it has a status, as the watch tells."""
    for answer in client.health.WatchHealth(health.WatchHealthRequest(), timeout=60):
        if component(answer).status == status:
            return answer
    raise AssertionError("the watch ended")


def next_event(stream):
    for response in stream:
        if response.WhichOneof("content") == "event":
            return response.event
    raise AssertionError("the subscription ended")


def metrics(server):
    """The values by name and labels."""
    with Wire(server.endpoint) as wire:
        request = wire.headers(
            "/metrics", end_stream=True, p_method="GET", content_type=None, te=None
        )
        wire.send(request)
        fields, body, _ = wire.answer(request.stream_id)
    assert fields[":status"] == "200"
    lines = body.decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def test_a_check_tells_what_it_measured(private, dial):
    client = dial(private)
    fill(client, 3)
    worker = Worker(
        client.channel, lambda job: failed(job, permanent=True), queues=["mail"], credit=1,
        refill=False,
    )
    worker.wait_for(lambda: worker.receipts)
    stream = client.subscribe("keelson.health.BackgroundJobHealthChecked", classes=TELEMETRY)
    data = json.loads(next_event(stream).text_data)
    while data["details"]["failed"] == 0:
        data = json.loads(next_event(stream).text_data)
    stream.cancel()
    assert data["status"] == "healthy" and data["name"] == "jobs"
    details = data["details"]
    assert (details["active"], details["pending"], details["failed"]) == (0, 2, 1)
    assert details["failed_recently"] == {"jobs": 1, "attempts": 1, "seconds": 300}
    assert details["workers"] == 1 and details["leads"] is True
    assert details["queues"][0]["name"] == "mail"
    assert details["oldest_pending_seconds"] >= 0
    shown = component(client.health.GetHealth(health.GetHealthRequest()))
    assert shown.details["pending"] == 2 and not shown.essential
    told = run("health", "--server", private.address).stdout
    assert "jobs: active 0, alert_depth 1000, failed 1, " in told and ", pending 2, " in told
    worker.break_off()


def test_a_deep_queue_degrades_until_it_is_worked_off(launch, dial):
    server = launch(limits=DEPTH)
    client = dial(server)
    stream = client.subscribe("keelson.jobs.JobQueueDepth*")
    fill(client, 10)
    fill(client, 11, "deep")
    answer = reached(client, health.STATUS_DEGRADED)
    assert answer.ready
    assert "'deep' holds 11." in component(answer).message
    assert "mail" not in component(answer).message
    exceeded = next_event(stream)
    assert exceeded.type == "keelson.jobs.JobQueueDepthExceeded"
    assert json.loads(exceeded.text_data) == {"queue": "deep", "pending": 11, "alertDepth": 10}
    worker = Worker(client.channel, queues=["deep"])
    worker.wait_for(lambda: len(worker.receipts) == 11)
    assert component(reached(client, health.STATUS_HEALTHY)).message == ""
    assert next_event(stream).type == "keelson.jobs.JobQueueDepthRecovered"
    stream.cancel()
    worker.break_off()


def test_a_fleet_tells_of_a_crossing_once_and_all_servers_show_it(postgres, launch, dial):
    url = postgres.create_database()
    clients = [
        dial(launch(arguments=["--database", url], limits=DEPTH)) for _ in range(3)
    ]
    fill(clients[2], 11)
    for client in clients:
        assert "'mail' holds 11" in component(reached(client, health.STATUS_DEGRADED)).message
    stream = clients[1].subscribe("keelson.jobs.JobQueueDepth*", after_revision=0)
    assert next_event(stream).type == "keelson.jobs.JobQueueDepthExceeded"
    worker = Worker(clients[1].channel, queues=["mail"])
    worker.wait_for(lambda: len(worker.receipts) == 11)
    # Had there been a second one it came first.
    assert next_event(stream).type == "keelson.jobs.JobQueueDepthRecovered"
    for client in clients:
        reached(client, health.STATUS_HEALTHY)
    stream.cancel()
    worker.break_off()


def test_a_server_that_leads_and_stands_still_is_seen_and_replaced(postgres, launch, dial):
    url = postgres.create_database()
    first = launch(arguments=["--database", url])
    second = launch(arguments=["--database", url])
    client = dial(second)
    # The first one leads since it came first.
    reached(dial(first), health.STATUS_HEALTHY)
    first.process.send_signal(signal.SIGSTOP)
    try:
        job = jobs.Job(kind="test")
        request = jobs.CreateJobRequest(job=job)
        request.delay.FromMilliseconds(10)
        jobs_grpc.JobsServiceStub(client.channel).CreateJob(request)
        answer = reached(client, health.STATUS_DEGRADED)
        assert "What is due is not moved" in component(answer).message
        assert answer.ready
        # Its connection is ended after fifteen seconds, and the other one leads.
        reached(client, health.STATUS_HEALTHY)
        assert "another takes over" in second.log_text()
    finally:
        first.process.send_signal(signal.SIGCONT)
    reached(dial(first), health.STATUS_HEALTHY)


def test_metrics_tell_of_jobs(private, dial):
    client = dial(private)
    fill(client, 5)
    begun = []

    def first_only(job):
        begun.append(job)
        return succeeded(job) if len(begun) == 1 else None

    worker = Worker(client.channel, first_only, queues=["mail"], credit=3, refill=False)
    worker.wait_for(lambda: len(worker.receipts) == 1)
    # The next check has counted it.
    stream = client.subscribe("keelson.health.BackgroundJobHealthChecked", classes=TELEMETRY)
    while json.loads(next_event(stream).text_data)["details"]["active"] != 2:
        pass
    stream.cancel()
    found = metrics(private)
    assert found['keelson_jobs{queue="mail",state="pending"}'] == "2"
    assert found['keelson_jobs{queue="mail",state="running"}'] == "2"
    assert found['keelson_jobs{queue="mail",state="completed"}'] == "1"
    assert found["keelson_jobs_claimed_total"] == "3"
    assert found["keelson_jobs_completed_total"] == "1"
    assert found["keelson_job_workers"] == "1"
    assert found["keelson_job_leases_expired_total"] == "0"
    assert re.fullmatch(r"\d+", found["keelson_jobs_oldest_pending_seconds"])
    worker.break_off()
