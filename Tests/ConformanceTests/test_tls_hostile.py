"""TLS peers that mean harm, while a good client keeps getting answers."""

import socket
import ssl
import subprocess
import time

import pytest

from tls import TIMEOUT_SECONDS, Certificates, closed, is_open, logged

HALF_OPEN = 300
GOOD_CALL_SECONDS = 2
# The beginning of a ClientHello: a record of 512 bytes is announced, and a few come.
HALF_HELLO = bytes([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]) + bytes(40)


@pytest.fixture(scope="module")
def certificates(binary, tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certs"))


@pytest.fixture
def attacked(launch, certificates):
    return launch(
        arguments=certificates.server_options, limits=["tls-handshake-timeout=2s"]
    )


@pytest.fixture
def good(attacked, certificates):
    client = certificates.client(attacked.address).ready()
    client.create("good")

    def call():
        began = time.monotonic()
        assert client.evaluate("good").variant == "off"
        assert time.monotonic() - began < GOOD_CALL_SECONDS

    call()
    yield call
    call()
    client.close()


@pytest.mark.parametrize("said", [b"", HALF_HELLO])
def test_half_open_handshakes_die(attacked, certificates, good, said):
    before = attacked.resident_bytes()
    connections = []
    for _ in range(HALF_OPEN):
        connection = socket.create_connection(attacked.endpoint, TIMEOUT_SECONDS)
        connection.sendall(said)
        connections.append(connection)
        if len(connections) % 50 == 0:
            good()
    new = certificates.client(attacked.address).ready()
    new.close()
    held = attacked.resident_bytes() - before
    print(f"{HALF_OPEN} half-open handshakes hold {held // 1024} KiB")
    assert held < 64 << 20
    for connection in connections:
        assert closed(connection) == b""
        connection.close()
    logged(attacked, "The TLS handshake was not complete within 2.0 seconds.")


def test_garbage_in_the_handshake(attacked, good):
    pieces = [
        b"\x00" * 100,
        b"\x16\x03\x01\xff\xff" + b"\xaa" * 1000,
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"\x16\x03\x03\x00\x04\x02\x00\x00\x00",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"\x17\x03\x03\x00\x10" + b"\x01" * 16,
        b"\x80\x2e\x01\x00\x02" + b"\x00" * 41,
        bytes(range(256)) * 16,
    ]
    for piece in pieces * 10:
        with socket.create_connection(attacked.endpoint, TIMEOUT_SECONDS) as connection:
            connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
            closed(connection)
    good()


def test_a_byte_at_a_time_is_a_handshake_too(attacked, certificates, good):
    """Slow, but whole: it is served; what takes longer than the limit is not."""
    context = certificates.context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(attacked.endpoint, TIMEOUT_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in outgoing.read():
                    connection.sendall(bytes([byte]))
                incoming.write(connection.recv(65536))
        for byte in outgoing.read():
            connection.sendall(bytes([byte]))
        assert tls.selected_alpn_protocol() == "h2"
        assert is_open(connection) or connection.recv(65536)
    good()


def test_a_flood_of_new_keys_is_cut_off(attacked, good):
    """In s_client, a line with K asks for new keys on both sides."""
    host, port = attacked.endpoint
    with subprocess.Popen(
        ["openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_3", "-alpn", "h2"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        updates = 0
        try:
            # One at a time: s_client takes a command from the start of what it reads.
            while updates < 1_000:
                process.stdin.write("K\n")
                process.stdin.flush()
                while (line := process.stdout.readline()) and "KEYUPDATE" not in line:
                    pass
                if not line:
                    break
                updates += 1
        except BrokenPipeError:
            pass
        assert 10 < updates < 1_000
    good()
    logged(attacked, "it asked for new keys or handshakes too often")


def test_the_table_of_connections_is_shared_fairly(attacked, certificates, good):
    """Hundreds of clients that finish the handshake and say nothing more."""
    context = certificates.context()
    connections = [certificates.connect(attacked, context) for _ in range(100)]
    good()
    for connection in connections:
        connection.close()
