"""`keelson jobs batch`: the jobs of a file, created many at a time and followed to their end."""

import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import termios
import threading

import pytest
from keelson.jobs.v1 import jobs_pb2 as jobs

from server import BINARY, run
from working import Jobs, failed, succeeded


@pytest.fixture
def service(client, key):
    service = Jobs(client, key[:100])
    yield service
    for worker in service.workers:
        worker.break_off()


@pytest.fixture
def batch(tmp_path):
    """Writes a file with a job in each line; its path."""

    def batch(lines):
        file = tmp_path / "jobs.ndjson"
        file.write_text("".join(f"{line}\n" for line in lines))
        return file

    return batch


def lines(count, **job):
    return [json.dumps({**job, "parameters": {"number": number}}) for number in range(count)]


def test_a_batch_is_created(service, server, batch, cli_json):
    file = batch([
        '{"kind": "test", "parameters": {"to": ["anna"]}, "priority": 5, "tags": ["mail"]}',
        "",
        '{"delay": "1h", "retries": 0, "unique_key": "a", "unique_for": "1d", "time_limit": "1m"}',
        '{"queue": "elsewhere", "at": "2100-01-01T00:00:00Z", "concurrency_key": "k"}',
    ])
    answer = cli_json("jobs", "batch", file, "--kind", "other", "--queue", service.queue)
    assert answer["created"] == 3 and answer["existing"] == 0
    listed = service.service.ListJobs(
        jobs.ListJobsRequest(filter=jobs.JobFilter(tags=[answer["tag"]])), timeout=20
    ).jobs
    third, second, first = (service.get(each.id) for each in listed)
    assert (first.kind, first.queue, first.priority) == ("test", service.queue, 5)
    assert json.loads(first.parameters.json) == {"to": ["anna"]}
    assert list(first.tags) == [answer["tag"], "mail"]
    assert (second.kind, second.state) == ("other", jobs.JOB_STATE_SCHEDULED)
    assert second.retry_policy.maximum_retries == 0 and second.timeout.seconds == 60
    assert (third.queue, third.concurrency_key) == ("elsewhere", "k")
    assert third.run_time.ToJsonString() == "2100-01-01T00:00:00Z"
    # The unique key is taken by now.
    again = cli_json("jobs", "batch", file, "--kind", "other", "--queue", service.queue)
    assert (again["created"], again["existing"]) == (2, 1)


def test_a_batch_is_waited_for(service, server, batch):
    service.worker(
        lambda job: failed(job, permanent=True)
        if json.loads(job.parameters.json)["number"] == 7
        else succeeded(job),
        credit=100,
    )
    file = batch(lines(1_200, kind="test"))
    ended = run(
        "jobs", "batch", file, "--wait", "--queue", service.queue, "--server", server.address,
        timeout_seconds=120,
    )
    assert ended.returncode == 1
    assert ended.stdout.startswith("Created 1,200 jobs: 1,199 completed, 1 failed.")
    assert re.search(r"\n[0-9a-f-]{36} failed\n", ended.stdout)
    assert "1 jobs did not succeed: 'keelson jobs list --tag batch/" in ended.stderr
    assert "\x1b" not in ended.stderr


@pytest.mark.waits
def test_jobs_that_ended_unheard_are_found(service, server, batch, launch, dial):
    """The server is killed while the jobs wait: what watches them hears nothing of their end."""
    private = launch()
    private.listen = list(private.addresses)
    mine = Jobs(dial(private), "default")
    waiting = subprocess.Popen(
        [str(BINARY), "jobs", "batch", str(batch(lines(20, kind="test"))), "--wait",
         "--server", private.address],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    first = mine.worker(lambda job: None, credit=20)
    first.wait_for(lambda: len(first.jobs) == 20)
    private.kill()
    private.start()
    mine = Jobs(dial(private), "default")
    held = [job.lease for job in first.jobs]
    second = mine.worker(credit=0, held=held)
    second.send(results=[succeeded(job) for job in first.jobs])
    output, errors = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, errors
    assert output.startswith("Created 20 jobs: 20 completed.")
    second.break_off()


@pytest.mark.waits
def test_jobs_that_are_removed_unheard_are_gone(batch, launch, dial):
    """The command stands still while the server is killed and the jobs are removed."""
    private = launch()
    private.listen = list(private.addresses)
    waiting = subprocess.Popen(
        [str(BINARY), "jobs", "batch", str(batch(lines(3, kind="test"))), "--wait",
         "--server", private.address],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    tag = re.search(r"batch/[0-9a-f-]{36}", waiting.stderr.readline())[0]
    assert waiting.stderr.readline() == "keelson: 0%, 0 of 3 done\n"
    waiting.send_signal(signal.SIGSTOP)
    private.kill()
    private.start()
    mine = Jobs(dial(private), "default")
    listed = mine.service.ListJobs(
        jobs.ListJobsRequest(filter=jobs.JobFilter(tags=[tag])), timeout=20
    ).jobs
    assert len(listed) == 3
    for job in listed[:2]:
        mine.cancel(job.id)
        mine.service.DeleteJob(jobs.DeleteJobRequest(id=job.id), timeout=20)
    waiting.send_signal(signal.SIGCONT)
    worker = mine.worker(credit=1)
    output, errors = waiting.communicate(timeout=60)
    assert waiting.returncode == 1, errors
    assert output.startswith("Created 3 jobs: 1 completed, 2 gone."), output
    assert f"2 jobs did not succeed: 'keelson jobs list --tag {tag}'" in errors
    worker.break_off()


def test_a_terminal_shows_a_bar(service, server, batch):
    terminal, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 90, 0, 0))
    file = batch(lines(300, kind="test"))
    process = subprocess.Popen(
        [str(BINARY), "jobs", "batch", str(file), "--wait", "--queue", service.queue,
         "--server", server.address],
        stdout=subprocess.PIPE, stderr=other, text=True,
    )
    os.close(other)
    shown = b""
    # The jobs wait for a worker until the bar has been seen.
    while b"0 of 300 done" not in shown:
        shown += os.read(terminal, 4096)
    service.worker(credit=50)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and output.startswith("Created 300 jobs: 300 completed.")
    try:
        while piece := os.read(terminal, 4096):
            shown += piece
    except OSError:
        pass  # The terminal's other end is closed.
    os.close(terminal)
    pieces = shown.decode().split("\r\x1b[K")
    assert pieces[-1] == "" and any(re.match(r"\[[#-]+\] \d+%, ", piece) for piece in pieces)
    assert all(len(piece) < 90 for piece in pieces)


@pytest.mark.parametrize(
    "line, sentence",
    [
        ("{", "Line 3 of FILE is no JSON"),
        ("[]", "Line 3 of FILE is to be an object"),
        ('{"kind": 1}', "Line 3 of FILE has a kind that is not a text."),
        ('{"knd": "a"}', "Line 3 of FILE has 'knd', which is not known (did you mean 'kind'?)."),
        ('{"parameters": {}}', "Line 3 of FILE has no kind; give it there, or with --kind"),
        ('{"kind": "a", "delay": 5}', "has a delay that is not a time such as"),
        ('{"kind": "a", "priority": 1.5}', "has a priority that is not a whole number."),
        ('{"kind": "a", "at": "soon"}', "has a at that is not a time"),
        ('{"kind": "a", "unique_for": "1h"}', "has a unique_for without a unique_key."),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_created(service, server, batch, line, sentence):
    file = batch([*lines(2, kind="test"), line])
    ended = run("jobs", "batch", file, "--queue", service.queue, "--server", server.address)
    assert ended.returncode == 1 and ended.stdout == ""
    assert sentence.replace("FILE", str(file)) in ended.stderr, ended.stderr
    listed = service.service.ListJobs(
        jobs.ListJobsRequest(filter=jobs.JobFilter(queue=service.queue)), timeout=20
    ).jobs
    assert not listed


def test_a_job_that_the_server_refuses_says_what_was_created(service, server, batch):
    file = batch([*lines(500, kind="test"), '{"kind": "no spaces"}'])
    ended = run("jobs", "batch", file, "--queue", service.queue, "--server", server.address)
    assert ended.returncode == 1
    assert f"Line 501 of {file}: " in ended.stderr and "requests[0].job.kind" in ended.stderr
    assert "500 jobs were created before; they have the tag batch/" in ended.stderr


def test_a_file_that_is_not_there_or_empty_is_an_error(server, batch):
    for file, sentence in [("/nowhere", "cannot be read"), (batch([""]), "There is no job in")]:
        ended = run("jobs", "batch", file, "--server", server.address)
        assert ended.returncode == 1 and sentence in ended.stderr


def test_a_pipe_is_refused_since_it_can_be_read_once_only(server, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for file in ["/dev/stdin", pipe]:
        ended = run(
            "jobs", "batch", file, "--wait", "--server", server.address, stdin='{"kind": "test"}\n'
        )
        assert ended.returncode == 1 and ended.stdout == ""
        assert f"{file} is not a regular file" in ended.stderr
        assert "save it to a file first." in ended.stderr


@pytest.mark.parametrize("count", [1, 3])
def test_a_file_that_changes_while_it_is_read_is_told(service, server, batch, count):
    """The command dials when it has read the file for the first time."""
    file = batch(lines(2, kind="test"))
    host, port = server.endpoint
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        process = subprocess.Popen(
            [str(BINARY), "jobs", "batch", str(file), "--wait", "--queue", service.queue,
             "--server", f"127.0.0.1:{listener.getsockname()[1]}"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        near, _ = listener.accept()
        file.write_text("".join(f"{line}\n" for line in lines(count, kind="test")))
        with near, socket.create_connection((host, port)) as far:
            relays = [
                threading.Thread(target=relay, args=pair) for pair in [(near, far), (far, near)]
            ]
            for each in relays:
                each.start()
            output, errors = process.communicate(timeout=30)
            for each in relays:
                each.join(timeout=20)
    assert process.returncode == 1 and output == ""
    assert f"{file} has changed while it was read: it had 2 jobs, and {count} were" in errors


def relay(source, target):
    """Hands on what comes, until either side is closed."""
    try:
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # Whoever has ended will not be missed.
