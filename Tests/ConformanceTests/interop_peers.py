"""Starts the clients and servers of the interop cases."""

import glob
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from stubs import REPOSITORY

BINARIES = pathlib.Path(os.environ.get("KEELSON_INTEROP_BINARIES", REPOSITORY / ".build/debug"))
PEERS = REPOSITORY / "Tests/Peers"
CPP_SERVER = REPOSITORY / ".build/peers/test_server"
RUBY_CLIENT = "/usr/lib/*/rubygems-integration/*/gems/grpc-*/src/ruby/pb/test/client.rb"
CASE_TIMEOUT_SECONDS = 40


def need(path, how):
    """A peer that is not there fails its cases: one that is skipped would be missed by nobody."""
    if pathlib.Path(path).exists():
        return str(path)
    if os.environ.get("KEELSON_SKIP_PACKAGES") == "1":
        pytest.skip(f"{path} is not there; {how}")
    pytest.fail(f"{path} is not there; {how}")


def binary(name):
    return need(BINARIES / name, f"run `swift build --product {name}`")


class ServerProcess:
    """A server that says its port in its first line."""

    def __init__(self, command):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline()
        found = re.search(r"(\d+)$", line.strip())
        if not found:
            self.process.kill()
            self.process.wait(10)
            raise AssertionError(f"{command} said {line!r} instead of its port")
        self.endpoint = ("127.0.0.1", int(found[1]))
        self.address = "127.0.0.1:%d" % self.endpoint[1]

    def stop(self):
        """Ends it; what it said until then."""
        if self.process.poll() is None:
            self.process.terminate()
        said, _ = self.process.communicate(timeout=10)
        return said

    def finish(self):
        """Closes its standard input and waits for its end; what it said until then."""
        said, _ = self.process.communicate("", timeout=10)
        assert self.process.returncode == 0, self.process.returncode
        return said


def start_keelson(certificates=None):
    return ServerProcess([binary("InteropServer"), *server_options(certificates)])


def start_grpcio(certificates=None):
    assert certificates is None, "this server has no TLS"
    return ServerProcess([sys.executable, PEERS / "grpcio_interop_server.py"])


def start_cpp(certificates=None):
    program = need(CPP_SERVER, "run `make -C Tests/Peers/cpp`")
    return ServerProcess([program, *server_options(certificates)])


def server_options(certificates):
    return certificates.server_options if certificates else []


class HTTP2Server(ServerProcess):
    """The server that misbehaves in the way of a case."""

    def __init__(self, case):
        super().__init__([sys.executable, PEERS / "http2_interop_server.py", case])

    def saw(self):
        """What it saw of its client, which has ended."""
        return json.loads(self.finish())


def keelson_command(address, case, certificates=None):
    tls = ["--tls-ca", certificates.ca] if certificates else []
    return [binary("InteropClient"), "--server", address, "--case", case, *tls]


def grpcio_command(address, case, certificates=None):
    tls = [certificates.ca] if certificates else []
    return [sys.executable, PEERS / "grpcio_interop_client.py", address, case, *tls]


def ruby_command(address, case, certificates=None):
    assert certificates is None, "this client trusts only certificates of its own"
    found = sorted(glob.glob(RUBY_CLIENT))
    script = need(found[-1] if found else RUBY_CLIENT, "install the Debian package ruby-grpc")
    host, port = address.rsplit(":", 1)
    options = {"server_host": host, "server_port": port, "test_case": case, "use_tls": "false"}
    return ["ruby", script, *(f"--{name}={value}" for name, value in options.items())]


def run_case(command):
    """Runs a client's case, which must succeed."""
    ended = subprocess.run(command, capture_output=True, text=True, timeout=CASE_TIMEOUT_SECONDS)
    assert ended.returncode == 0, f"{ended.stdout[-2000:]}{ended.stderr[-2000:]}"
