"""What a run with faults has left behind: what the workers saw, what the server's record says, and
whether the two agree."""

import collections
import concurrent.futures
import dataclasses
import json

from client import events
from keelson.jobs.v1 import jobs_pb2 as jobs

ENDED_BY_SERVER = (jobs.ATTEMPT_OUTCOME_LEASE_EXPIRED, jobs.ATTEMPT_OUTCOME_TIMED_OUT)
OUTCOMES = {
    "succeeded": jobs.ATTEMPT_OUTCOME_SUCCEEDED,
    "failed": jobs.ATTEMPT_OUTCOME_FAILED,
    "handed_back": jobs.ATTEMPT_OUTCOME_HANDED_BACK,
}


@dataclasses.dataclass
class Execution:
    """An attempt as its worker saw it."""

    worker: str
    begin: float
    said: str = ""
    end: float | None = None
    receipts: list = dataclasses.field(default_factory=list)


def executions(folder):
    """By job and attempt. No attempt was given to anybody twice."""
    found = {}
    for log in folder.glob("*.log"):
        # What has no end was not written wholly: its worker was killed ahead of doing it.
        for line in log.read_text().split("\n")[:-1]:
            word, *rest = line.split(" ")
            if word in ("#", "lost"):
                continue
            lease = rest[0], int(rest[1])
            if word == "begin":
                assert lease not in found, f"{lease} came to {found[lease].worker} and {log.stem}"
                found[lease] = Execution(log.stem, float(rest[2]))
                continue
            execution = found[lease]
            assert execution.worker == log.stem, (execution, log.stem, line)
            if word == "said":
                assert not execution.said, f"{lease} ended twice"
                execution.said, execution.end = rest[2], float(rest[3])
            else:
                assert word == "receipt" and execution.said, line
                execution.receipts.append(int(rest[2]))
    return found


def all_jobs(service):
    """The jobs, as the list has them."""
    found, token = {}, ""
    while True:
        page = service.ListJobs(
            jobs.ListJobsRequest(page_size=1000, page_token=token), timeout=60
        )
        for job in page.jobs:
            assert job.id not in found, f"{job.id} is on two pages"
            found[job.id] = job
        token = page.next_page_token
        if not token:
            return found


def with_attempts(service, ids):
    """Each job with its attempts."""

    def get(id):
        return service.GetJob(jobs.GetJobRequest(id=id), timeout=60)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        yield from pool.map(get, ids, chunksize=100)


def check_job(job, seen):
    """One job's record against what workers saw.

    `seen` has every execution by job and attempt. Returns how many attempts no worker ever saw.
    """
    assert job.state == jobs.JOB_STATE_COMPLETED, job
    assert [each.attempt for each in job.attempts] == list(range(1, job.attempt + 1)), job
    unseen = 0
    before = None
    for attempt in job.attempts:
        lease = job.id, attempt.attempt
        execution = seen.pop(lease, None)
        outcome = attempt.outcome
        is_last = attempt.attempt == job.attempt
        assert is_last == (outcome == jobs.ATTEMPT_OUTCOME_SUCCEEDED), (lease, attempt)
        if execution is None:
            # On its way to a worker that was gone: nobody may say that it has done it.
            unseen += 1
            assert outcome in (*ENDED_BY_SERVER, jobs.ATTEMPT_OUTCOME_HANDED_BACK), (lease, attempt)
            continue
        assert attempt.worker == execution.worker, (attempt, execution)
        check_outcome(lease, outcome, execution)
        if is_last:
            assert json.loads(job.result.json) == [execution.worker, *lease]
        if before is not None and (before.end is None or before.end > execution.begin):
            # Two had it at the same time, or the first may still have it: only one of them with a
            # valid lease.
            assert before_outcome in ENDED_BY_SERVER, (lease, before, execution)
        before, before_outcome = execution, outcome
    return unseen


def commands(log):
    """Which attempts' commands began, each once, and which ended by themselves."""
    found = {"begin": set(), "end": set()}
    for line in log.read_text().split("\n")[:-1]:
        word, id, attempt = line.split(" ")
        lease = id, int(attempt)
        assert lease not in found[word], f"{lease} did {word} twice"
        found[word].add(lease)
    return found["begin"], found["end"]


def check_command(job, plan, begun, ended):
    """The record of a job that ran a command, against what its commands said."""
    assert job.state == jobs.JOB_STATE_COMPLETED, job
    assert [each.attempt for each in job.attempts] == list(range(1, job.attempt + 1)), job
    for attempt in job.attempts:
        number, outcome = attempt.attempt, attempt.outcome
        lease = job.id, number
        step = plan[number - 1] if number <= len(plan) else "ok"
        has_begun = lease in begun
        begun.discard(lease)
        is_last = number == job.attempt
        assert is_last == (outcome == jobs.ATTEMPT_OUTCOME_SUCCEEDED), job
        if is_last:
            assert has_begun and lease in ended, (lease, attempt)
            assert json.loads(job.result.json)["stdout"] == f"{job.id} {number}\n", job
        elif outcome == jobs.ATTEMPT_OUTCOME_FAILED:
            # Nothing that broke around it was taken for a failure of the command. One that hangs is
            # ended by its worker, ahead of the job's timeout.
            in_time = step == "hang" and "the job's own timeout" in attempt.error
            assert has_begun and (step == "fail" or in_time), (lease, attempt)
        elif outcome == jobs.ATTEMPT_OUTCOME_TIMED_OUT:
            # Its command hung, or a fault held it up: either way it had its whole time.
            lasted = attempt.end_time.ToNanoseconds() - attempt.start_time.ToNanoseconds()
            assert "hang" in plan and lasted >= job.timeout.ToNanoseconds(), (lease, attempt)


def check_outcome(lease, outcome, execution):
    """What the server has recorded of an attempt against what its worker said and was told."""
    what = f"{lease}: {outcome} {execution}"
    if outcome not in ENDED_BY_SERVER:
        assert OUTCOMES.get(execution.said) == outcome, what
        # A result that was sent again is told to have been taken again.
        assert all(execution.receipts), what
    else:
        assert not any(execution.receipts), what
        assert outcome != jobs.ATTEMPT_OUTCOME_SUCCEEDED, what


def replay(client):
    """The life of each job, from the events: lists of (state, attempt). The events have no gap."""
    lives = collections.defaultdict(list)
    request = events.GetRetentionPolicyRequest()
    last = client.events.GetRetentionPolicy(request).current_revision
    stream = client.subscribe(from_oldest=True, timeout=600)
    revision = 0
    for message in stream:
        if message.WhichOneof("content") != "event":
            assert message.revision in (revision, 0), "a revision that no event had"
            continue
        assert message.revision == revision + 1, f"revision {message.revision} after {revision}"
        revision = message.revision
        event = message.event
        if event.type.startswith("keelson.jobs.BackgroundJob"):
            for job in json.loads(event.text_data)["jobs"]:
                lives[job["id"]].append((event.type, job["state"], job["attempt"]))
        if revision >= last:
            stream.cancel()
            break
    return lives


def check_life(life, attempts):
    """The states of a job from its events: handed out once for each attempt, and completed once."""
    running = [attempt for _, state, attempt in life if state == "running"]
    assert running == list(range(1, attempts + 1)), life
    executed = [each for each in life if each[0].endswith(".BackgroundJobExecuted")]
    assert executed == [life[-1]], life
    assert life[-1][1:] == ("completed", attempts), life
    assert life[0][0].endswith(".BackgroundJobScheduled"), life
