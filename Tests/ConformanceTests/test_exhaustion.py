"""The process runs out of file descriptors: it says so, and goes on when they return."""

import contextlib
import resource
import socket
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server import KeelsonServer

FILES = 64
PATIENCE_SECONDS = 20


@pytest.fixture
def cramped(tmp_path):
    server = KeelsonServer(tmp_path).start()
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
    yield server
    server.stop()


def check(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    answer = stub.Check(
        health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS, wait_for_ready=True
    )
    return answer.status


def test_the_server_outlives_a_lack_of_file_descriptors(cramped):
    host, port = cramped.endpoint
    with grpc.insecure_channel(f"{host}:{port}") as early:
        assert check(early) == health_pb2.HealthCheckResponse.SERVING
        with contextlib.ExitStack() as crowd:
            for _ in range(2 * FILES):
                crowd.enter_context(socket.create_connection((host, port)))
            give_up = time.monotonic() + PATIENCE_SECONDS
            while "Raise the limit of open files" not in cramped.log_text():
                assert time.monotonic() < give_up, cramped.log_text()[-2000:]
                # Who is connected is served all the while.
                assert check(early) == health_pb2.HealthCheckResponse.SERVING
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"{host}:{port}", options) as late:
            assert check(late) == health_pb2.HealthCheckResponse.SERVING
