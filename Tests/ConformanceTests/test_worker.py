"""`keelson worker`: its chores, its options, and what becomes of jobs when workers end."""

import signal

import grpc
import pytest
from keelson.jobs.v1 import jobs_pb2 as jobs

import auditing
from client import refused
from server import run
from worker_fixtures import (  # noqa: F401  (fixtures that pytest finds here)
    LIMITS,
    STUBBORN,
    commands,
    completed,
    create,
    failed,
    process_ids,
    service,
    serving,
    shell,
    start,
    until_gone,
    until_line,
    until_message,
    web,
)
from worker_process import WorkerProcess
from working import Jobs, seconds


@pytest.mark.parametrize(
    "kind, names",
    [
        ("keelson.audit.archive", {"archived", "deleted", "archives"}),
        ("keelson.events.compact", {"removed", "oldest_revision"}),
        ("keelson.jobs.prune", {"removed"}),
    ],
)
def test_chores_are_done(service, start, kind, names):
    start("--kinds", kind)
    _, result = completed(service, create(service, kind, {}))
    assert set(result) <= names
    assert "is not known" in failed(service, create(service, kind, {"x": 1}))


def test_jobs_whose_time_is_over_are_removed(service, serving, dial):
    service.limit(keep_ended=seconds(0))
    old, waiting = (service.create(delay=3600).job.id for _ in range(2))
    service.cancel(old)
    assert service.service.PruneJobs(jobs.PruneJobsRequest(), timeout=20).removed == 1
    error = refused(service.get, old, code=grpc.StatusCode.NOT_FOUND)
    assert "There is no job" in error.details()
    assert service.get(waiting).state == jobs.JOB_STATE_SCHEDULED
    assert service.service.PruneJobs(jobs.PruneJobsRequest(), timeout=20).removed == 0
    assert auditing.listed(dial(serving), action="jobs.pruned")


# Ends


def test_a_worker_that_stops_hands_back_what_does_not_end(service, start, commands):
    script = "echo pid $$; echo up; if [ $KEELSON_JOB_ATTEMPT = 1 ]; then sleep 600; fi"
    allowed = commands(long=shell(script, grace="1s"))
    first = start(*allowed, "--drain-timeout", "300ms", name="first")
    id = create(service, "keelson.command", {"command": "long"})
    processes = process_ids(until_line(service, id, "up"))
    first.stop()
    until_gone(processes)
    job = service.get(id)
    assert job.state == jobs.JOB_STATE_PENDING
    assert job.attempts[0].outcome == jobs.ATTEMPT_OUTCOME_HANDED_BACK
    start(*allowed, name="second")
    job, _ = completed(service, id)
    assert job.worker == "second" and job.attempt == 2


def test_a_worker_that_stops_lets_jobs_end(service, start, web):
    worker = start("--http-allow", "127.0.0.1")
    web.answers["/held"] = lambda count: web.released.wait(30) and (200, b"", {})
    parameters = {"url": f"{web.address}/held"}
    id = create(service, "keelson.http", parameters)
    web.requests.get(timeout=10)
    worker.terminate()
    until_message(worker, "The worker stops: it takes no more jobs.")
    # It is for somebody else.
    other = create(service, "keelson.http", parameters)
    web.released.set()
    assert worker.wait() == 0
    assert service.get(id).state == jobs.JOB_STATE_COMPLETED
    assert service.get(other).state == jobs.JOB_STATE_PENDING


def test_a_second_signal_ends_a_worker_and_its_commands_at_once(service, start, commands):
    worker = start(*commands(hangs=shell(STUBBORN)))
    id = create(service, "keelson.command", {"command": "hangs"})
    processes = process_ids(until_line(service, id, "up"))
    worker.terminate()
    until_message(worker, "The worker stops: it takes no more jobs.")
    worker.terminate()
    assert worker.wait(5) == 128 + signal.SIGTERM
    until_gone(processes)


@pytest.mark.waits
def test_a_job_that_takes_longer_than_a_lease_keeps_it(service, start, commands):
    """The first heartbeat used to come after 10 s, whatever the server had said."""
    start(*commands(slow=shell("echo up; exec sleep 5")))
    job, _ = completed(service, create(service, "keelson.command", {"command": "slow"}))
    assert job.attempt == 1


def test_a_worker_that_is_killed_loses_its_jobs_to_another(service, start, commands):
    script = "echo up; if [ $KEELSON_JOB_ATTEMPT = 1 ]; then sleep 600; fi"
    allowed = commands(long=shell(script))
    first = start(*allowed, name="first")
    id = create(service, "keelson.command", {"command": "long"})
    until_line(service, id, "up")
    first.kill()
    start(*allowed, name="second")
    job, _ = completed(service, id)
    assert job.attempt == 2 and job.worker == "second"
    assert job.attempts[0].outcome == jobs.ATTEMPT_OUTCOME_LEASE_EXPIRED


def test_a_worker_outlives_its_server(launch, dial, tmp_path, key):
    server = launch(limits=LIMITS)
    # On the same port again.
    server.listen = list(server.addresses)
    worker = WorkerProcess(server.address, tmp_path, "--kinds", "keelson.jobs.prune").welcomed()
    try:
        server.kill()
        server.start()
        worker.welcomed()
        service = Jobs(dial(server), "default")
        completed(service, create(service, "keelson.jobs.prune"))
        warnings = [line for line in worker.logged() if line["level"] == "warning"]
        assert warnings and "dials again" in warnings[0]["message"]
        # With nobody to say goodbye to, it still ends.
        server.kill()
        worker.stop()
    finally:
        if worker.process.poll() is None:
            worker.kill()


def test_an_unknown_kind_stays_pending(service, start):
    start("--kinds", "keelson.http")
    id = create(service, "keelson.nothing", {})
    job = service.get(id)
    assert job.state == jobs.JOB_STATE_PENDING and "No worker" in job.state_message


# The command line


@pytest.mark.parametrize(
    "arguments, code, sentence",
    [
        (["--kinds", "keelson.htp"], 2, "did you mean 'keelson.http'?"),
        (["--kinds", "keelson.command"], 2, "allow commands with --allow-command-file"),
        (["--kinds", ","], 2, "--kinds names no kind"),
        (["--queues", ""], 2, "--queues names no queue"),
        (["--concurrency", "0"], 2, "--concurrency takes a number from 1 to 10000"),
        (["--concurrency", "many"], 2, "--concurrency takes a whole number"),
        (["--drain-timeout", "soon"], 2, "--drain-timeout takes a time"),
        (["--http-allow", "http://a"], 2, "'http://a' is no host to allow"),
        (["--allow-command", "a"], 2, "--allow-command takes NAME=PATH"),
        (["--allow-command", "a=relative"], 2, "--allow-command takes NAME=PATH"),
        (["--allow-command", "a=/nowhere"], 1, "/nowhere: No such file"),
        (["--allow-command", "a=/tmp"], 1, "is no program that may be executed"),
        (["--allow-command-file", "/nowhere.json"], 1, "/nowhere.json cannot be read"),
        (["--output-size", "1GiB"], 2, "--output-size takes a size from 0 to 511KiB"),
        (["--output-size", "512KiB"], 2, "--output-size takes a size from 0 to 511KiB"),
        (["--http-ca", "/nowhere.pem"], 1, "/nowhere.pem cannot be read"),
        (["--name", "no spaces"], 1, "hello.name"),
    ],
)
def test_bad_options_are_told_in_one_sentence(server, arguments, code, sentence):
    ended = run("worker", "--server", server.address, *arguments)
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    assert (ended.returncode, len(lines)) == (code, 1), ended.stderr
    assert sentence in lines[0]


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("{", "is no JSON"),
        ("[]", "is to be an object with a member for each command"),
        ('{"a": {}}', "the command 'a' needs a path"),
        ('{"a": {"path": "/bin/sh", "argument": []}}', "has 'argument', which is not known"),
        ('{"a": {"path": "/bin/sh", "timeout": 5}}', "has a timeout that is not a time"),
        ('{"a": {"path": "/bin/sh", "permanent_exit_codes": [0]}}', "numbers from 1 to 255"),
        ('{"a b": {"path": "/bin/sh"}}', "'a b' is no name for a command"),
        ('{"a": {"path": "/bin/sh"}, "a": {"path": "/bin/ls"}}', "is no JSON"),
    ],
)
def test_a_bad_list_of_commands_names_what_is_wrong(server, tmp_path, text, sentence):
    file = tmp_path / "commands.json"
    file.write_text(text)
    file.chmod(0o644)
    ended = run("worker", "--server", server.address, "--allow-command-file", file)
    assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 1, ended.stderr
    assert sentence in ended.stderr and str(file) in ended.stderr
    file.write_text("{}")
    file.chmod(0o666)
    ended = run("worker", "--server", server.address, "--allow-command-file", file)
    assert ended.returncode == 1 and "may be written by everybody" in ended.stderr
