"""TLS of the real binary: with grpcio as it is, with Python's and OpenSSL's own TLS, with ours."""

import socket
import ssl
import threading

import grpc
import pytest

from client import Client, flags, refused
from grpc_health.v1 import health_pb2 as standard_health
from server import run
from test_lifecycle import refused_start
from tls import Certificates, closed, logged, openssl, until
from watching import arriving

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def certificates(binary, tmp_path_factory):
    clients = ("client", "spiffe://example.org/checkout")
    return Certificates(tmp_path_factory.mktemp("certs"), clients=clients)


@pytest.fixture(scope="module")
def started(binary, tmp_path_factory, certificates):
    """Servers that the tests of this module share."""
    from server import KeelsonServer

    made = []

    def start(**options):
        made.append(KeelsonServer(tmp_path_factory.mktemp("tls"), **options).start())
        return made[-1]

    yield start
    for server in made:
        assert server.is_running(), server.log_text()[-3000:]
        server.stop()


@pytest.fixture(scope="module")
def secure(started, certificates):
    return started(arguments=certificates.server_options)


@pytest.fixture(scope="module")
def mutual(started, certificates):
    return started(arguments=certificates.mutual_options)


@pytest.fixture
def secure_client(certificates):
    made = []

    def connect(server, name=None):
        made.append(certificates.client(server.address, name))
        return made[-1]

    yield connect
    for client in made:
        client.close()


# grpcio, unmodified


def test_grpcio_over_tls(secure, secure_client):
    client = secure_client(secure).ready()
    client.create("over-tls")
    assert client.evaluate("over-tls").variant == "off"
    stream = arriving(client.watch())
    assert stream.get(timeout=20).WhichOneof("event") == "snapshot"
    client.toggle("over-tls", False)
    assert client.evaluate("over-tls").reason == flags.REASON_DISABLED


def test_large_messages_over_tls(secure, secure_client):
    client = secure_client(secure).ready()
    for number in range(100):
        client.create(f"large-{number}", metadata={"m": "y" * 8_000})
    page = client.flags.ListFlags(flags.ListFlagsRequest(page_size=1000))
    large = [each for each in page.flags if each.key.startswith("large-")]
    assert [each.metadata["m"] for each in large] == ["y" * 8_000] * 100


def test_grpcio_over_mutual_tls(mutual, secure_client):
    client = secure_client(mutual, "checkout").ready()
    client.create("over-mutual-tls")
    logged(mutual, '"identity":"spiffe://example.org/checkout"')
    assert client.evaluate("over-mutual-tls").variant == "off"


def test_grpcio_without_a_certificate_is_refused(mutual, secure_client):
    client = secure_client(mutual)
    refused(client.get, "anything", code=Code.UNAVAILABLE)
    logged(mutual, "the client shows no certificate")


def test_certificates_of_another_authority_are_refused(mutual, certificates, tmp_path):
    other = Certificates(tmp_path / "other")
    credentials = grpc.ssl_channel_credentials(
        certificates.ca.read_bytes(),
        other.key("client").read_bytes(),
        other.certificate("client").read_bytes(),
    )
    client = Client(mutual.address, credentials=credentials)
    refused(client.get, "anything", code=Code.UNAVAILABLE)
    client.close()
    logged(mutual, "is not known or not trusted")


def test_optional_certificates(started, certificates, secure_client):
    server = started(arguments=[*certificates.mutual_options, "--tls-client-auth", "optional"])
    assert server.lines == [
        f"Keelson {server.version} is serving on {server.address} with TLS and optional client "
        "certificates"
    ]
    for name in (None, "client"):
        secure_client(server, name).ready()


# What a careful server refuses


def test_versions_before_1_2_are_refused(secure):
    host, port = secure.endpoint
    for version in ("-tls1", "-tls1_1"):
        ended = openssl(
            "s_client", "-connect", f"{host}:{port}", version, "-cipher", "ALL:@SECLEVEL=0",
            "-alpn", "h2",
        )
        assert ended.returncode != 0
        assert "alert protocol version" in ended.stderr, ended.stderr
    for version, name in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
        ended = openssl("s_client", "-connect", f"{host}:{port}", version, "-alpn", "h2")
        assert ended.returncode == 0, ended.stderr
        assert f"New, {name}" in ended.stdout
        assert "ALPN protocol: h2" in ended.stdout
        assert "Secure Renegotiation IS NOT supported" not in ended.stdout or "1_3" in version


@pytest.mark.parametrize("cipher", ["AES128-SHA", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-SHA256"])
def test_ciphers_without_forward_secrecy_or_authentication_are_refused(secure, cipher):
    host, port = secure.endpoint
    ended = openssl(
        "s_client", "-connect", f"{host}:{port}", "-tls1_2", "-alpn", "h2",
        "-cipher", f"{cipher}:@SECLEVEL=0",
    )
    assert "alert handshake failure" in ended.stderr, ended.stderr


@pytest.mark.parametrize("protocols", [(), ("http/1.1",), ("h3", "spdy/3")])
def test_clients_without_h2_are_refused_by_alert(secure, certificates, protocols):
    with pytest.raises(ssl.SSLError) as refusal:
        certificates.connect(secure, certificates.context(protocols=protocols))
    assert "alert no application protocol" in str(refusal.value)


def test_h2_is_chosen_among_others(secure, certificates):
    context = certificates.context(protocols=("http/1.1", "h2", "h3"))
    with certificates.connect(secure, context) as connection:
        assert connection.selected_alpn_protocol() == "h2"


def test_renegotiation_is_refused(secure):
    host, port = secure.endpoint
    ended = openssl(
        "s_client", "-connect", f"{host}:{port}", "-tls1_2", "-alpn", "h2", stdin="R\nR\nR\n"
    )
    assert "RENEGOTIATING" in ended.stdout + ended.stderr
    assert "no renegotiation" in ended.stderr, ended.stderr


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", [None, "client"])
def test_sessions_are_resumed(started, certificates, secure, mutual, version, name):
    server = mutual if name else secure
    context = certificates.context(name)
    context.maximum_version = version
    session = None
    for resumed in (False, True, True):
        with certificates.connect(server, context, session) as connection:
            # The server speaks once it has heard the preface; the tickets of 1.3 come ahead.
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4] + [0] * 5))
            assert connection.recv(9)
            assert connection.session_reused == resumed
            session = connection.session


def test_plain_http_on_the_tls_port_is_told(secure):
    with socket.create_connection(secure.endpoint, 20) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        said = closed(connection)
    assert said.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert said.endswith(b"This port speaks gRPC over TLS: connect with TLS.\n")
    logged(secure, "A client spoke HTTP without TLS on a TLS port.")


def test_plain_grpc_on_the_tls_port_is_refused(secure):
    client = Client(secure.address)
    refused(client.get, "anything", code=Code.UNAVAILABLE)
    client.close()
    logged(secure, "A client spoke HTTP/2 without TLS on a TLS port")


def test_tls_on_the_plain_port_is_closed_and_logged(private, certificates):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        certificates.connect(private)
    logged(private, "A client spoke TLS on a port without TLS.")


# Certificates that change


def fingerprint(server, certificates):
    with certificates.connect(server) as connection:
        return connection.getpeercert(binary_form=True)


def test_a_new_certificate_is_taken_and_open_streams_go_on(launch, tmp_path):
    certificates = Certificates(tmp_path / "certs")
    server = launch(arguments=certificates.server_options)
    client = certificates.client(server.address).ready()
    stream = arriving(client.watch())
    assert stream.get(timeout=20).WhichOneof("event") == "snapshot"
    before = fingerprint(server, certificates)
    certificates.issue()
    until(lambda: fingerprint(server, certificates) != before, "a new certificate")
    client.create("after-reload")
    while True:
        response = stream.get(timeout=20)
        if response.WhichOneof("event") == "change":
            break
    assert response.change.flag.key == "after-reload"
    logged(server, "The TLS certificate was loaded anew.")
    # One that does not fit its key is refused, and what was there stays.
    now = fingerprint(server, certificates)
    certificates.server.write_bytes(certificates.certificate("client").read_bytes())
    logged(server, "are not used, the old ones stay")
    assert fingerprint(server, certificates) == now
    assert str(certificates.server_key) in server.log_text()
    client.toggle("after-reload", False)
    client.close()


# Bad configurations


def test_bad_configurations_stop_the_start(certificates, tmp_path):
    other = Certificates(tmp_path / "other")
    expired, expired_key = certificates.expired()
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    missing = tmp_path / "missing.pem"
    good, key, ca = certificates.server, certificates.server_key, certificates.ca
    cases = [
        (good, missing, None, ("key", missing, "no such file or directory")),
        (missing, key, None, ("certificate", missing, "no such file or directory")),
        (good, tmp_path, None, ("key", tmp_path, "no regular file")),
        (garbage, key, None, ("certificate", garbage, "damaged")),
        (key, key, None, ("certificate", key, "holds no certificate")),
        (good, good, None, ("key", good, "holds no private key")),
        (good, other.server_key, None, ("key", other.server_key, "is not the key of")),
        (expired, expired_key, None, ("certificate", expired, "expired on")),
        (good, key, key, ("client CA", key, "holds no certificate")),
        (good, key, good, ("client CA", good, "may not issue others")),
        (good, key, missing, ("client CA", missing, "no such file or directory")),
    ]
    for certificate, private_key, client_ca, (what, named, cause) in cases:
        arguments = ["--tls-certificate", certificate, "--tls-key", private_key]
        if client_ca:
            arguments += ["--tls-client-ca", client_ca]
        folder = tmp_path / "never"
        text = refused_start("--listen", "127.0.0.1:0", "--data", folder, *arguments)
        assert what in text and str(named) in text and cause in text, text
        assert "The configuration has an error:" in text, f"more than one: {text}"
        assert not folder.exists(), "the data was touched"


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--tls-key", "x"], "--tls-key: Tls:KeyFile: needs Tls:CertificateFile"),
        (["--tls-certificate", "x"], "Tls:CertificateFile: needs Tls:KeyFile (--tls-key)"),
        (
            ["--tls-certificate", "x", "--tls-key", "x", "--tls-client-auth", "required"],
            "needs Tls:ClientCaFile (--tls-client-ca) as well",
        ),
        (["--tls-client-ca", "x"], "--tls-client-ca: Tls:ClientCaFile: needs Tls:CertificateFile"),
    ],
)
def test_options_that_belong_together(arguments, said):
    assert said in refused_start(*arguments)


def test_other_machines_need_tls_or_leave(launch, certificates, tmp_path):
    text = refused_start("--listen", "0.0.0.0:0", "--data", tmp_path / "d")
    assert "can be reached from other machines" in text and "--tls-certificate" in text
    server = launch(listen=["0.0.0.0:0"], arguments=certificates.server_options)
    assert server.lines[0].endswith(" with TLS")
    plain = launch(listen=["0.0.0.0:0"], arguments=["--insecure-remote-plaintext"])
    assert plain.lines == [f"Keelson {plain.version} is serving on {plain.address}"]


# The probe listener


def test_the_probe_listener_serves_health_only(launch, certificates):
    options = [*certificates.mutual_options, "--probe-listen", "0.0.0.0:0"]
    server = launch(arguments=options)
    probe = server.probe_addresses[0]
    assert f"Keelson {server.version} is serving health checks on {probe}" in server.lines
    client = Client(f"127.0.0.1:{probe.rsplit(':', 1)[1]}").ready()
    answer = client.standard_health.Check(standard_health.HealthCheckRequest(), timeout=20)
    assert answer.status == standard_health.HealthCheckResponse.SERVING
    error = refused(client.get, "anything", code=Code.UNIMPLEMENTED)
    assert "serves grpc.health.v1.Health only" in error.details()
    error = refused(client.create, "anything", code=Code.UNIMPLEMENTED)
    client.close()


# Our own client and commands


def test_commands_over_tls(secure, certificates):
    good = run("flags", "list", "--server", secure.address, "--tls-ca", certificates.ca)
    assert good.returncode == 0, good.stderr
    environment = {
        "KEELSON_TLS_CA": str(certificates.ca),
        "KEELSON_SERVER": f"localhost:{secure.endpoint[1]}",
    }
    assert run("health", environment=environment).returncode == 0
    renamed = ["--server", secure.address, "--tls-ca", certificates.ca, "--tls-server-name"]
    assert run("health", *renamed, "localhost").returncode == 0
    skipped = ["--server", secure.address, "--insecure-skip-tls-verification"]
    assert run("health", *skipped).returncode == 0


def test_commands_over_mutual_tls(mutual, certificates):
    options = certificates.client_options("checkout")
    ended = run("health", "--server", mutual.address, *options)
    assert ended.returncode == 0, ended.stderr


def sentence(*arguments):
    ended = run("health", *arguments)
    assert ended.returncode == 1, (ended.returncode, ended.stdout)
    assert ended.stdout == ""
    lines = ended.stderr.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_each_failure_has_its_sentence(secure, mutual, private, certificates, launch, tmp_path):
    ca = ["--tls-ca", certificates.ca]
    other = Certificates(tmp_path / "other")
    said = sentence("--server", secure.address, "--tls")
    assert "(CN=Keelson development CA) is not among the trusted ones" in said or (
        "is not known or not trusted" in said
    )
    assert "is the server running" not in said and "keelson serve" not in said
    said = sentence("--server", secure.address, "--tls-ca", other.ca)
    assert "not trusted" in said or "not among the trusted" in said or "signature" in said, said
    said = sentence("--server", secure.address, *ca, "--tls-server-name", "example.com")
    assert "it is not for example.com but for localhost, 127.0.0.1, ::1" in said
    said = sentence("--server", mutual.address, *ca)
    assert "the server requires a client certificate, and none was given" in said
    said = sentence("--server", private.address, *ca)
    assert "TLS handshake" in said
    said = sentence("--server", secure.address, "--tls-ca", tmp_path / "missing")
    assert "The CA file" in said and "missing" in said
    mismatched = ["--tls-certificate", certificates.certificate("client")]
    mismatched += ["--tls-key", other.key("client")]
    said = sentence("--server", mutual.address, *ca, *mismatched)
    assert "is not the key of" in said


class PlainTLSServer:
    """A TLS server on a free port that takes one connection and says nothing."""

    def __init__(self, context):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.context = context
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            try:
                with self.context.wrap_socket(connection, server_side=True) as secured:
                    closed(secured)
            except (ssl.SSLError, OSError):
                connection.close()

    @property
    def address(self):
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Wakes the accept; closing alone would not.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def server_context(certificate, key, protocols=("h2",)):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def test_foreign_servers_that_do_not_do(certificates):
    ca = ["--tls-ca", certificates.ca]
    with PlainTLSServer(server_context(*certificates.expired())) as server:
        assert "it expired on " in sentence("--server", server.address, *ca)
    good = (certificates.server, certificates.server_key)
    for protocols in ((), ("http/1.1",)):
        with PlainTLSServer(server_context(*good, protocols=protocols)) as server:
            said = sentence("--server", server.address, *ca)
            assert "HTTP/2" in said, said


def test_our_client_with_a_grpcio_tls_server(certificates):
    from concurrent import futures

    from keelson.health.v1 import health_pb2 as health
    from keelson.health.v1 import health_pb2_grpc as health_grpc

    class Health(health_grpc.HealthServiceServicer):
        def __init__(self):
            self.peers = []

        def GetHealth(self, request, context):
            self.peers.append(context.auth_context().get("x509_common_name"))
            return health.GetHealthResponse(version="9.9.9", ready=True)

    for requires in (False, True):
        server = grpc.server(futures.ThreadPoolExecutor(2))
        service = Health()
        health_grpc.add_HealthServiceServicer_to_server(service, server)
        pair = (certificates.server_key.read_bytes(), certificates.server.read_bytes())
        port = server.add_secure_port(
            "127.0.0.1:0",
            grpc.ssl_server_credentials([pair], certificates.ca.read_bytes(), requires),
        )
        server.start()
        options = (
            certificates.client_options() if requires else ["--tls-ca", certificates.ca]
        )
        ended = run("health", "--server", f"127.0.0.1:{port}", *options)
        server.stop(0)
        assert ended.returncode == 0, ended.stderr
        assert "9.9.9" in ended.stdout
        assert service.peers == [[b"client"] if requires else None]


# certs


def test_certs_dev_keeps_its_authority(tmp_path):
    folder = tmp_path / "certs"
    certificates = Certificates(folder)
    assert (folder / "server.key").stat().st_mode & 0o777 == 0o600
    assert (folder / "ca.key").stat().st_mode & 0o777 == 0o600
    authority, server = certificates.ca.read_text(), certificates.server.read_text()
    said = certificates.issue(clients=("bob",))
    assert "the authority that was there" in said
    assert certificates.ca.read_text() == authority
    assert certificates.server.read_text() != server
    assert run("certs", "dev", "--folder", folder, "--force").returncode == 0
    assert certificates.ca.read_text() != authority
    certificates.key("ca").unlink()
    ended = run("certs", "dev", "--folder", folder)
    assert ended.returncode == 1
    assert "--force" in ended.stderr
    check = openssl("verify", "-CAfile", certificates.ca, certificates.server)
    assert check.returncode == 0, check.stderr


def test_certs_show(certificates):
    ended = run("certs", "show", certificates.server)
    assert ended.returncode == 0
    for word in ("localhost", "::1", "CN=Keelson development CA", "valid until"):
        assert word in ended.stdout
    printed = openssl("x509", "-in", certificates.server, "-noout", "-fingerprint", "-sha256")
    digits = printed.stdout.strip().split("=")[1].replace(":", "").lower()
    assert digits in ended.stdout
