"""Runs the real binary: starts it, waits until it says that it serves, stops or kills it."""

import os
import pathlib
import queue
import re
import signal
import subprocess
import threading
import time

import pytest

from stubs import REPOSITORY

BINARY = pathlib.Path(os.environ.get("KEELSON_BINARY", REPOSITORY / ".build/release/keelson"))
SERVING = re.compile(
    r"^Keelson (?P<version>\S+) is serving (?P<probe>health checks )?on (?P<address>\S+)"
    r"(?P<tls> with TLS.*)?$"
)
START_TIMEOUT_SECONDS = 20
STOP_TIMEOUT_SECONDS = 30


class KeelsonServer:
    """One `keelson serve` process. `start` may be called again after `stop` or `kill`."""

    def __init__(
        self,
        folder,
        *,
        listen=("127.0.0.1:0",),
        environment="production",
        data=None,
        limits=(),
        log_level="info",
        arguments=(),
    ):
        """`limits` are settings, `NAME=VALUE` each; `arguments` are further words, of which each
        `--probe-listen` brings one more address, in `probe_addresses`."""
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data = pathlib.Path(data) if data else self.folder / "data"
        self.listen = list(listen)
        self.environment = environment
        self.limits = list(limits)
        self.log_level = log_level
        self.more = list(map(str, arguments))
        self.log = self.folder / "stderr.log"
        self.process = None
        self.lines = []
        self.addresses = []
        self.probe_addresses = []
        self.version = None

    def arguments(self):
        arguments = [str(BINARY), "serve"]
        for address in self.listen:
            arguments += ["--listen", address]
        for limit in self.limits:
            arguments += ["--limit", limit]
        return arguments + [
            *self.more,
            "--data",
            str(self.data),
            "--environment",
            self.environment,
            "--log-level",
            self.log_level,
        ]

    def start(self):
        assert self.process is None, "already started"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.arguments(),
                stdout=subprocess.PIPE,
                stderr=log,
                stdin=subprocess.DEVNULL,
                text=True,
                bufsize=1,
            )
        arrived = queue.Queue()
        reader = threading.Thread(
            target=self._read, args=(self.process.stdout, arrived), daemon=True
        )
        reader.start()
        self.lines, self.addresses, self.probe_addresses = [], [], []
        probes = self.more.count("--probe-listen")
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while len(self.addresses) < len(self.listen) or len(self.probe_addresses) < probes:
            try:
                line = arrived.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                self.kill()
                raise AssertionError(
                    f"not serving after {START_TIMEOUT_SECONDS} s; said {self.lines}; "
                    f"log: {self.log_text()[-2000:]}"
                ) from None
            if line is None:
                code = self.process.wait(5)
                self.process = None
                raise AssertionError(
                    f"ended with {code} before serving; said {self.lines}; "
                    f"log: {self.log_text()[-2000:]}"
                )
            self.lines.append(line)
            match = SERVING.match(line)
            if match:
                self.version = match["version"]
                found = self.probe_addresses if match["probe"] else self.addresses
                found.append(match["address"])
        return self

    @staticmethod
    def _read(stream, arrived):
        for line in stream:
            arrived.put(line.rstrip("\n"))
        arrived.put(None)

    @property
    def address(self):
        return self.addresses[0]

    @property
    def endpoint(self):
        """Host and port of the first TCP listener."""
        tcp = next(address for address in self.addresses if not address.startswith("unix:"))
        host, port = tcp.rsplit(":", 1)
        return host, int(port)

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def resident_bytes(self):
        if os.environ.get("KEELSON_SANITIZER"):
            pytest.skip("a sanitizer keeps memory of its own")
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout_seconds=STOP_TIMEOUT_SECONDS):
        """The exit code."""
        try:
            code = self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(
                f"still running {timeout_seconds} s after SIGTERM; log: {self.log_text()[-2000:]}"
            ) from None
        self.process = None
        return code

    def stop(self):
        """Ends it with SIGTERM, which must give exit code 0."""
        if self.process is None:
            return
        self.terminate()
        code = self.wait()
        assert code == 0, f"SIGTERM gave exit code {code}; log: {self.log_text()[-2000:]}"

    def pause(self):
        """Stops it where it stands: it answers nothing and keeps its connections."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        if self.process is None:
            return
        self.process.kill()
        self.process.wait(10)
        self.process = None

    def is_running(self):
        return self.process is not None and self.process.poll() is None


def run(*arguments, timeout_seconds=20, environment=None, stdin=None):
    """Runs the binary to its end."""
    return subprocess.run(
        [str(BINARY), *map(str, arguments)],
        capture_output=True,
        text=True,
        input=stdin or "",
        timeout=timeout_seconds,
        env={**os.environ, **(environment or {})},
    )
