"""`keelson.command`: what commands get, what becomes of their output, and how they end."""

import os

import pytest
from keelson.jobs.v1 import jobs_pb2 as jobs

from worker_fixtures import (  # noqa: F401  (fixtures that pytest finds here)
    STUBBORN,
    commands,
    completed,
    create,
    failed,
    is_running,
    process_ids,
    service,
    serving,
    shell,
    start,
    until_gone,
    until_line,
    web,
)
from working import seconds


def test_a_command_runs_with_what_it_is_allowed(service, start, commands, monkeypatch):
    monkeypatch.setenv("PASSED", "along")
    monkeypatch.setenv("HIDDEN", "secret")
    script = 'echo "$@"; cat; env | sort >&2; pwd >&2; ls /proc/self/fd >&2'
    greet = shell(
        script, arguments=["-c", script, "sh", "one"], allow_arguments=True, allow_input=True,
        environment={"LANG": "C"}, pass_environment=["PASSED", "MISSING"], working_folder="/tmp",
    )
    start(*commands(greet=greet))
    id = create(
        service, "keelson.command",
        {"command": "greet", "arguments": ["two words", "$(id)"], "input": "given\n"},
    )
    job, result = completed(service, id)
    assert result["exit_code"] == 0 and result["stdout"] == "one two words $(id)\ngiven\n"
    assert result["stdout_bytes"] == len(result["stdout"]) and result["stdout_cut"] is False
    lines = result["stderr"].splitlines()
    variables = dict(line.split("=", 1) for line in lines if "=" in line)
    # The shell adds the last two by itself.
    assert set(variables) - {"PWD", "OLDPWD", "SHLVL", "_"} == {
        "KEELSON_JOB_ATTEMPT", "KEELSON_JOB_ID", "LANG", "PASSED",
    }
    assert variables["KEELSON_JOB_ID"] == id and variables["PASSED"] == "along"
    assert "/tmp" in lines
    # Nothing but its standard three, and what `ls` itself has opened.
    assert [line for line in lines if line.isdigit()] == ["0", "1", "2", "3"]
    logged = [line.text for line in job.attempts[-1].logs]
    assert "given" in logged and "stderr: LANG=C" in logged


def test_a_command_that_fails_is_tried_again_unless_its_code_says_so(service, start, commands):
    start(*commands(
        fails=shell("echo out; echo broken >&2; exit 3"),
        wrong=shell("exit 64", permanent_exit_codes=[64]),
        killed=shell("kill -9 $$"),
    ))
    retried = jobs.RetryPolicy(maximum_retries=1, initial_delay=seconds(0.01))
    id = create(service, "keelson.command", {"command": "fails"}, retry_policy=retried)
    assert failed(service, id, attempts=2) == (
        "The command 'fails' ended with exit code 3. It said: broken"
    )
    id = create(service, "keelson.command", {"command": "wrong"})
    assert "exit code 64" in failed(service, id)
    id = create(service, "keelson.command", {"command": "killed"}, retry_policy=retried)
    assert "was ended by signal 9 (Killed)" in failed(service, id, attempts=2)


def test_large_output_keeps_its_end(service, start, commands):
    start(*commands(talks=shell("seq 1 300000; echo the end")), "--output-size", "1KiB")
    job, result = completed(service, create(service, "keelson.command", {"command": "talks"}))
    assert result["stdout"].endswith("299999\n300000\nthe end\n") and result["stdout_cut"] is True
    assert len(result["stdout"]) <= 1024 and result["stdout_bytes"] == 1_988_903
    logged = [line.text for line in job.attempts[-1].logs]
    assert len(logged) <= 100 and logged[-1] == "the end"


def test_results_of_any_bytes_fit(service, start, commands):
    """A control character takes six bytes in JSON, and a result may have 64 KiB."""
    start(*commands(odd=shell("head -c 200000 /dev/zero; head -c 200000 /dev/zero >&2")))
    _, result = completed(service, create(service, "keelson.command", {"command": "odd"}))
    assert set(result["stdout"]) == {"\0"} and result["stdout_bytes"] == 200_000


@pytest.mark.parametrize(
    "parameters, problem",
    [
        ({}, "command: is required"),
        ({"command": "other"}, "'other' is none that this worker may run; it has plain"),
        ({"command": "plain", "arguments": ["x"]}, "arguments: are not allowed"),
        ({"command": "plain", "input": "x"}, "input: is not allowed"),
        ({"command": "plain", "arguments": "x"}, "arguments: is to be a list of texts"),
        ({"command": "plain", "timeout": "2h"}, "timeout: is 2h, which is not from 1ms to"),
        ({"command": "plain", "shell": True}, "shell: is not known"),
    ],
)
def test_bad_parameters_of_a_command_fail_for_good(
    service, start, commands, parameters, problem
):
    start(*commands(plain=shell("exit 0", timeout="1h")))
    assert problem in failed(service, create(service, "keelson.command", parameters))


def test_a_command_that_is_called_off_is_ended_with_all_that_it_began(service, start, commands):
    start(*commands(hangs=shell(STUBBORN, grace="200ms")))
    id = create(service, "keelson.command", {"command": "hangs"})
    processes = process_ids(until_line(service, id, "up"))
    assert len(processes) == 2 and all(map(is_running, processes))
    service.cancel(id)
    assert service.ended(id).state == jobs.JOB_STATE_CANCELLED
    until_gone(processes)


def test_a_command_hears_of_it_first(service, start, commands):
    script = "trap 'echo told; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    start(*commands(polite=shell(script)))
    id = create(service, "keelson.command", {"command": "polite"})
    until_line(service, id, "up")
    service.cancel(id)
    job = service.ended(id)
    assert job.state == jobs.JOB_STATE_CANCELLED
    assert "told" in [line.text for line in job.attempts[-1].logs]


def test_a_command_that_takes_too_long_is_ended(service, start, commands):
    start(*commands(hangs=shell(STUBBORN, timeout="300ms", grace="100ms")))
    never = jobs.RetryPolicy(maximum_retries=0)
    id = create(service, "keelson.command", {"command": "hangs"}, retry_policy=never)
    error = failed(service, id)
    assert "took longer than 0.3 seconds, and was ended" in error
    until_gone(process_ids(error.splitlines()))


def test_the_timeout_of_the_job_ends_its_command_in_time(service, start, commands):
    start(*commands(hangs=shell(STUBBORN)))
    job = {"retry_policy": jobs.RetryPolicy(maximum_retries=0), "timeout": seconds(1)}
    id = create(service, "keelson.command", {"command": "hangs"}, **job)
    error = failed(service, id)
    assert "took longer than 0.65 seconds, which is what the job's own timeout leaves it" in error
    until_gone(process_ids(error.splitlines()))


def test_what_a_command_leaves_behind_ends_with_it(service, start, commands):
    start(*commands(leaves=shell("sleep 600 & echo pid $!")))
    _, result = completed(service, create(service, "keelson.command", {"command": "leaves"}))
    until_gone(process_ids(result["stdout"].splitlines()))


def test_no_descriptor_is_left_open(service, start, commands, web):
    worker = start(
        *commands(ends=shell("exit 0"), missing=shell("exit 0", working_folder="/nowhere")),
        "--http-allow", "127.0.0.1",
    )
    folder = f"/proc/{worker.process.pid}/fd"

    def round():
        made = [create(service, "keelson.command", {"command": "ends"}) for _ in range(20)]
        made += [create(service, "keelson.http", {"url": web.on("/x", (200,))}) for _ in range(5)]
        for id in made:
            completed(service, id)
        never = jobs.RetryPolicy(maximum_retries=0)
        id = create(service, "keelson.command", {"command": "missing"}, retry_policy=never)
        assert "its folder /nowhere: No such file" in failed(service, id)
        return len(os.listdir(folder))

    first = round()
    # Connections that may be used again are kept, one for each job at a time at most.
    assert [round() for _ in range(3)][-1] <= first + 10
