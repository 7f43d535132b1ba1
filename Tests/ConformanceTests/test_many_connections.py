"""10,000 connections that do nothing: a good client is served, and their memory is bounded."""

import resource
import socket

import pytest

from attacks import MIB, Attacked
from frame_cases import frame_bytes
from server import KeelsonServer
from wire import PREFACE

CONNECTIONS = 10_000
# Below the 28,000 ports that one pair of addresses has.
PER_ADDRESS = 2_500
GREETING = PREFACE + frame_bytes(4, 0, 0, b"")
KIB_EACH = 24


@pytest.fixture
def files():
    """Room for a socket for each connection, here and in the server."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + 500
    if before[1] < wanted:
        pytest.skip(f"the hard limit of open files is {before[1]}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def open_all(endpoint, count):
    made = []
    for number in range(count):
        source = f"127.0.0.{2 + number // PER_ADDRESS}"
        each = socket.create_connection(endpoint, timeout=20, source_address=(source, 0))
        each.sendall(GREETING)
        made.append(each)
    return made


def test_10000_idle_connections(binary, tmp_path, files):
    server = KeelsonServer(tmp_path, limits=[f"connections={CONNECTIONS + 10}"]).start()
    try:
        with Attacked(server, f"{CONNECTIONS} idle connections") as attacked:
            held = open_all(server.endpoint, CONNECTIONS)
            # Each has been greeted: the server keeps them all.
            for each in held:
                assert each.recv(9, socket.MSG_WAITALL)[3] == 4
            assert attacked.good.calls > 10
            assert attacked.grown() < CONNECTIONS * KIB_EACH * 1024 + 20 * MIB
            for each in held:
                each.close()
    finally:
        server.stop()
