"""The interop cases that every gRPC implementation has, between Keelson and the others.

The cases: grpc/grpc doc/interop-test-descriptions.md and doc/http2-interop-test-descriptions.md.
What comes of them stands in docs/conformance.md.
"""

import pytest

import interop_peers as peers
from conformance_table import CASES, HTTP2_CASES, PAIRS
from relay import Relay
from tls import Certificates

CLIENTS = {
    "Keelson": peers.keelson_command,
    "grpcio": peers.grpcio_command,
    "ruby-grpc": peers.ruby_command,
}
SERVERS = {"Keelson": peers.start_keelson, "grpcio": peers.start_grpcio, "C++": peers.start_cpp}

UNARY, INPUT, OUTPUT = (
    f"/grpc.testing.TestService/{name}"
    for name in ("UnaryCall", "StreamingInputCall", "StreamingOutputCall")
)
# What goes over the wire: of each call its path and the compressed-flags, 1 for gzip, of the
# messages that the case is about.
FLAGS_OF_REQUESTS = {
    "client_compressed_unary": [(UNARY, [0]), (UNARY, [1]), (UNARY, [0])],
    "client_compressed_streaming": [(INPUT, [0]), (INPUT, [1, 0])],
}
FLAGS_OF_RESPONSES = {
    "server_compressed_unary": [(UNARY, [1]), (UNARY, [0])],
    "server_compressed_streaming": [(OUTPUT, [1, 0])],
}


@pytest.fixture(scope="module")
def certificates(binary, tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def servers():
    """Starts servers when they are first needed."""
    started = {}

    def server(name, certificates):
        key = (name, certificates is None)
        if key not in started:
            started[key] = SERVERS[name](certificates)
        return started[key]

    yield server
    for each in started.values():
        each.stop()


@pytest.mark.parametrize(
    ("pair", "case"),
    [(pair, case) for pair in PAIRS for case in CASES if case not in pair.missing],
    ids=lambda value: value if isinstance(value, str) else value.id,
)
def test_case(servers, certificates, pair, case):
    secured_by = certificates if pair.tls else None
    server = servers(pair.server, secured_by)
    command = CLIENTS[pair.client]
    without_probe = case in pair.without_probe
    name = f"{case}_noprobe" if without_probe else case
    if pair.tls or case not in FLAGS_OF_REQUESTS | FLAGS_OF_RESPONSES:
        return peers.run_case(command(server.address, name, secured_by))
    relay = Relay(server.endpoint)
    try:
        peers.run_case(command(relay.address, name))
    finally:
        relay.close()
    calls = relay.calls()
    requests = [(path, flags) for path, flags, _ in calls]
    responses = [(path, flags) for path, _, flags in calls]
    if case in FLAGS_OF_REQUESTS:
        assert requests == FLAGS_OF_REQUESTS[case][without_probe:]
    else:
        assert responses == FLAGS_OF_RESPONSES[case]
    for (_, sent, received), encodings in zip(calls, relay.encodings()):
        assert 1 not in sent or encodings[0] == "gzip"
        assert 1 not in received or encodings[1] == "gzip"


@pytest.mark.parametrize("case", HTTP2_CASES)
def test_http2_case(case):
    server = peers.HTTP2Server(case)
    try:
        peers.run_case(peers.keelson_command(server.address, case))
        saw = server.saw()
    finally:
        server.stop()
    assert saw["errors"] == []
    assert saw["connections"] == (2 if case == "goaway" else 1)
    assert saw["unanswered_pings"] == 0
    assert (saw["pings"] > 0) == (case == "ping")
    assert saw["most_streams_at_once"] == 1


@pytest.mark.parametrize("case", ["early_trailers", "early_trailers_only"])
def test_client_resets_with_no_error_a_call_that_ended_before_its_request(case):
    server = peers.HTTP2Server(case)
    try:
        peers.run_case(peers.keelson_command(server.address, case))
        saw = server.saw()
    finally:
        server.stop()
    assert saw["errors"] == []
    assert saw["resets"] == [0]
