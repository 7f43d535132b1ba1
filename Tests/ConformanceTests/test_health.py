"""Health: the standard protocol and Keelson's own."""

import queue
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2 as standard
from keelson.health.v1 import health_pb2 as health

from client import refused
from server import run
from watching import arriving

Code = grpc.StatusCode
SERVING = standard.HealthCheckResponse.SERVING
SERVICES = ["", "keelson.flags.v1.FlagService", "keelson.health.v1.HealthService"]


@pytest.mark.parametrize("service", SERVICES)
def test_standard_check_of_a_known_service(client, service):
    answer = client.standard_health.Check(standard.HealthCheckRequest(service=service))
    assert answer.status == SERVING


@pytest.mark.parametrize("service", ["no.such.Service", "keelson.flags.v1.FlagServic", "x" * 1000])
def test_standard_check_of_an_unknown_service_is_not_found(client, service):
    refused(
        client.standard_health.Check,
        standard.HealthCheckRequest(service=service),
        code=Code.NOT_FOUND,
    )


@pytest.mark.parametrize("service", SERVICES)
def test_standard_watch_begins_with_the_status_now(client, service):
    stream = client.standard_health.Watch(standard.HealthCheckRequest(service=service), timeout=10)
    assert next(stream).status == SERVING
    stream.cancel()


def test_standard_watch_of_an_unknown_service_stays_open(client):
    stream = client.standard_health.Watch(
        standard.HealthCheckRequest(service="no.such.Service"), timeout=10
    )
    assert next(stream).status == standard.HealthCheckResponse.SERVICE_UNKNOWN
    with pytest.raises(queue.Empty):
        arriving(stream).get(timeout=0.5)
    stream.cancel()


def test_standard_list_names_every_service(client):
    statuses = client.standard_health.List(standard.HealthListRequest()).statuses
    assert set(SERVICES) <= set(statuses)
    assert {each.status for each in statuses.values()} == {SERVING}


def checked(client):
    """The health once the database has been checked, which a change of status announces."""
    for answer in client.health.WatchHealth(health.WatchHealthRequest(), timeout=15):
        if any(
            each.name == "database" and each.HasField("check_time") for each in answer.components
        ):
            return client.health.GetHealth(health.GetHealthRequest())
    raise AssertionError("the database is never checked")


def test_health_has_all_its_fields(client):
    before = time.time()
    answer = checked(client)
    assert answer.status == health.STATUS_HEALTHY
    assert answer.ready
    assert answer.environment == "production"
    assert answer.uptime.ToNanoseconds() > 0
    assert before - 60 < answer.time.ToNanoseconds() / 1e9 < time.time() + 60
    database = next(each for each in answer.components if each.name == "database")
    assert database.status == health.STATUS_HEALTHY
    assert database.essential
    assert database.HasField("response_time")
    assert 0 <= database.response_time.ToNanoseconds() < 5e9
    assert database.check_time.ToNanoseconds() <= answer.time.ToNanoseconds()
    assert database.consecutive_failures == 0
    assert database.message == ""


def test_health_version_is_that_of_the_binary(client, server):
    answer = client.health.GetHealth(health.GetHealthRequest())
    assert answer.version == server.version
    assert answer.version in run("version").stdout


def test_uptime_rises(client):
    request = health.CheckLivenessRequest()
    first = client.health.CheckLiveness(request).uptime.ToNanoseconds()
    second = client.health.CheckLiveness(request).uptime.ToNanoseconds()
    assert second > first > 0


def test_ready(client):
    answer = client.health.CheckReadiness(health.CheckReadinessRequest())
    assert answer.ready
    assert answer.message == ""


def test_watch_begins_with_the_health_now(client):
    stream = client.health.WatchHealth(health.WatchHealthRequest(), timeout=10)
    first = next(stream)
    assert first.ready
    assert first.environment == "production"
    assert first.version
    stream.cancel()


def test_probe_answers_at_once(client):
    """Checks run in the background: a hundred answers take no hundred checks."""
    request = health.GetHealthRequest()
    begin = time.monotonic()
    for _ in range(100):
        client.health.GetHealth(request)
    assert time.monotonic() - begin < 2


def test_environment_and_uptime_are_those_of_the_process(launch, dial):
    server = launch(environment="staging")
    client = dial(server)
    answer = client.health.GetHealth(health.GetHealthRequest())
    assert answer.environment == "staging"
    assert 0 < answer.uptime.ToTimedelta().total_seconds() < 60


def test_draining_tells_watchers_before_it_ends(launch, dial):
    server = launch()
    client = dial(server)
    standard_stream = arriving(
        client.standard_health.Watch(standard.HealthCheckRequest(), timeout=60)
    )
    own_stream = arriving(client.health.WatchHealth(health.WatchHealthRequest(), timeout=60))
    assert standard_stream.get(timeout=10).status == SERVING
    assert own_stream.get(timeout=10).ready
    server.terminate()

    def rest(messages):
        found = []
        while True:
            message = messages.get(timeout=30)
            if message is None or isinstance(message, grpc.RpcError):
                return found, message
            found.append(message)

    statuses, end = rest(standard_stream)
    assert [each.status for each in statuses][-1:] == [standard.HealthCheckResponse.NOT_SERVING]
    assert end is None or end.code() == Code.UNAVAILABLE, end
    healths, end = rest(own_stream)
    assert healths and not healths[-1].ready
    assert end is None or end.code() == Code.UNAVAILABLE, end
    assert server.wait() == 0
