"""Certificates for the tests, and TLS connections that are not gRPC's."""

import pathlib
import select
import socket
import ssl
import subprocess
import threading
import time

import grpc

from client import Client
from server import run

TIMEOUT_SECONDS = 20


def openssl(*arguments, stdin=""):
    return subprocess.run(
        ["openssl", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )


class Certificates:
    """A development authority in a folder, and what it issued."""

    def __init__(self, folder, hosts=(), clients=("client",)):
        self.folder = pathlib.Path(folder)
        self.issue(hosts, clients)

    def issue(self, hosts=(), clients=("client",), days=365):
        arguments = ["certs", "dev", "--folder", self.folder, "--days", days]
        for host in hosts:
            arguments += ["--host", host]
        for client in clients:
            arguments += ["--client", client]
        ended = run(*arguments)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def certificate(self, name):
        return self.folder / f"{name}.crt"

    def key(self, name):
        return self.folder / f"{name}.key"

    @property
    def ca(self):
        return self.certificate("ca")

    @property
    def server(self):
        return self.certificate("server")

    @property
    def server_key(self):
        return self.key("server")

    @property
    def server_options(self):
        return ["--tls-certificate", self.server, "--tls-key", self.server_key]

    @property
    def mutual_options(self):
        return [*self.server_options, "--tls-client-ca", self.ca]

    def client_options(self, name="client"):
        """What a command of ours takes."""
        return [
            "--tls-ca",
            self.ca,
            "--tls-certificate",
            self.certificate(name),
            "--tls-key",
            self.key(name),
        ]

    def expired(self):
        """A server certificate that has expired, and its key."""
        request, made = self.folder / "expired.csr", self.certificate("expired")
        key, names = self.key("expired"), self.folder / "expired.txt"
        names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        for arguments in (
            ("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key),
            ("req", "-new", "-key", key, "-subj", "/CN=expired", "-out", request),
            ("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.key("ca"))
            + ("-days", "-1", "-extfile", names, "-out", made),
        ):
            ended = openssl(*arguments)
            assert ended.returncode == 0, ended.stderr
        return made, key

    def credentials(self, name=None):
        """grpcio's, with a client's certificate or without."""
        certificate = key = None
        if name:
            certificate = self.certificate(name).read_bytes()
            key = self.key(name).read_bytes()
        return grpc.ssl_channel_credentials(self.ca.read_bytes(), key, certificate)

    def client(self, address, name=None, **options):
        return Client(address, credentials=self.credentials(name), **options)

    def context(self, name=None, protocols=("h2",)):
        """Python's own TLS."""
        context = ssl.create_default_context(cafile=self.ca)
        if protocols:
            context.set_alpn_protocols(list(protocols))
        if name:
            context.load_cert_chain(self.certificate(name), self.key(name))
        return context

    def connect(self, server, context=None, session=None):
        """A TLS connection that says nothing yet."""
        plain = socket.create_connection(server.endpoint, TIMEOUT_SECONDS)
        context = context or self.context()
        return context.wrap_socket(plain, server_hostname="localhost", session=session)


def closed(connection, timeout_seconds=TIMEOUT_SECONDS):
    """Waits until the other side has closed; what it said before."""
    connection.settimeout(timeout_seconds)
    said = b""
    while True:
        try:
            got = connection.recv(4096)
        except ConnectionResetError:
            return said
        if not got:
            return said
        said += got


def until(condition, what):
    """Looks again and again, each look being a connection or a read of the log."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    pause = threading.Event()
    while time.monotonic() < deadline:
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError(f"never: {what}")


def logged(server, text):
    """Waits for words in a server's log, which is written behind its back."""
    until(lambda: text in server.log_text(), f"{text!r} in {server.log_text()[-2000:]}")


def is_open(connection):
    readable, _, _ = select.select([connection], [], [], 0)
    return not readable
