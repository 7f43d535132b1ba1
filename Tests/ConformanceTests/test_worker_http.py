"""`keelson.http`: what is called, what is not, and what an answer comes to."""

import json
import queue

import pytest
from keelson.jobs.v1 import jobs_pb2 as jobs

from worker_fixtures import (  # noqa: F401  (fixtures that pytest finds here)
    completed,
    create,
    failed,
    service,
    serving,
    start,
    web,
)


def test_a_call_is_made_and_answered(service, start, web):
    worker = start("--http-allow", "127.0.0.1")
    url = web.on("/hook", (201, b'{"ok": true}', {"Content-Type": "application/json"}))
    parameters = {
        "method": "POST", "url": f"{url}?a=b", "headers": {"X-Token": "t"}, "body": {"n": 1},
        "expect": [200, "201-204"],
    }
    id = create(service, "keelson.http", parameters)
    job, result = completed(service, id)
    assert result == {
        "status": 201, "body": '{"ok": true}', "body_bytes": 12, "body_cut": False,
        "content_type": "application/json",
    }
    method, target, headers, body = web.requests.get(timeout=5)
    assert (method, target, json.loads(body)) == ("POST", "/hook?a=b", {"n": 1})
    assert headers["X-Token"] == "t" and headers["Content-Type"] == "application/json"
    assert headers["Idempotency-Key"] == id
    assert headers["X-Correlation-Id"] == job.correlation_id
    worker.stop()
    messages = [line["message"] for line in worker.logged()]
    assert messages[0] == "The worker starts." and messages[-1] == "The worker has stopped."
    assert {"A job begins.", "A job is done."} <= set(messages)


def test_a_server_error_is_tried_again_and_a_refusal_is_not(service, start, web):
    start("--http-allow", "127.0.0.1")
    passing = create(service, "keelson.http", {"url": web.on("/late", (500, b"no"), (200, b"yes"))})
    job, result = completed(service, passing)
    assert job.attempt == 2 and result["body"] == "yes"
    assert "answered 500, not 2xx. no" in job.attempts[0].error
    missing = create(service, "keelson.http", {"url": web.on("/gone", (404,)) + "?secret=1"})
    error = failed(service, missing)
    assert "answered 404" in error and "secret" not in error
    moved = {"url": web.on("/moved", (302, b"", {"Location": "http://169.254.169.254/"}))}
    assert "Redirects are not followed" in failed(service, create(service, "keelson.http", moved))
    # Who creates the job may say otherwise.
    locked = {"url": web.on("/locked", (409,), (200,)), "retry": [409]}
    assert completed(service, create(service, "keelson.http", locked))[0].attempt == 2


def test_a_server_that_asks_for_time_gets_it(service, start, web):
    start("--http-allow", "127.0.0.1")
    url = web.on("/busy", (429, b"", {"Retry-After": "1"}), (200,))
    job, _ = completed(service, create(service, "keelson.http", {"url": url}))
    first, second = (each for each in job.attempts)
    waited = second.start_time.ToMicroseconds() - first.end_time.ToMicroseconds()
    # The policy alone would have had it wait for 10 ms.
    assert 900_000 <= waited <= 5_000_000


def test_a_call_that_takes_too_long_is_given_up(service, start, web):
    start("--http-allow", "127.0.0.1")
    parameters = {"url": web.on("/never", None), "timeout": "200ms"}
    id = create(
        service, "keelson.http", parameters, retry_policy=jobs.RetryPolicy(maximum_retries=0)
    )
    assert "did not answer within 0.2 seconds" in failed(service, id)


def test_a_call_whose_job_is_called_off_is_broken_off(service, start, web):
    start("--http-allow", "127.0.0.1")
    id = create(service, "keelson.http", {"url": web.on("/never", None), "timeout": "1h"})
    web.requests.get(timeout=10)
    service.cancel(id)
    assert service.ended(id).state == jobs.JOB_STATE_CANCELLED
    assert web.broken_off.wait(10)


def test_a_large_answer_is_cut(service, start, web):
    start("--http-allow", "127.0.0.1", "--output-size", "1KiB")
    body = "ä".encode() * 100_000
    id = create(service, "keelson.http", {"url": web.on("/large", (200, body))})
    _, result = completed(service, id)
    assert result["body"] == "ä" * 512 and result["body_cut"] is True
    assert result["body_bytes"] == 200_000


@pytest.mark.parametrize("allowed", [[], ["--http-allow", "*"], ["--http-allow", "example.com"]])
def test_hosts_that_are_not_allowed_are_not_called(service, start, web, allowed):
    start(*allowed)
    port = web.address.rsplit(":", 1)[1]
    for host in ("127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]", "[::1]"):
        id = create(service, "keelson.http", {"url": f"http://{host}:{port}/secret"})
        error = failed(service, id)
        assert "was not called" in error and "--http-allow" in error, error
    with pytest.raises(queue.Empty):
        web.requests.get(timeout=0.1)


@pytest.mark.parametrize(
    "parameters, problems",
    [
        ({}, ["url: is required"]),
        ({"url": "file:///etc/passwd"}, ["url: is to begin with https:// or http://"]),
        ({"url": "http://a@b/"}, ["url: has a name or password"]),
        ({"url": "http://a/", "timout": "1s"}, ["timout: is not known (did you mean 'timeout'?)"]),
        (
            {"url": "http://a/", "method": "get", "timeout": 5, "expect": "ok", "headers": []},
            ["method: 'get'", "timeout: is to be a time", "expect: is to be", "headers: is to be"],
        ),
        (
            {"url": "http://a/", "headers": {"Host": "b", "X": "a\nb"}},
            ["headers.Host", "headers.X"],
        ),
        ([1], ["are to be a JSON object"]),
    ],
)
def test_bad_parameters_of_a_call_fail_for_good(service, start, parameters, problems):
    start()
    error = failed(service, create(service, "keelson.http", parameters))
    for problem in problems:
        assert problem in error
