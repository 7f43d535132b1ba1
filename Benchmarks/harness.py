"""Servers under measurement, and what the operating system says of them. Linux only."""

import contextlib
import dataclasses
import hashlib
import math
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / ".build" / "bench"
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class BenchmarkError(Exception):
    """Something that makes a figure worthless, told to the person at the terminal."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def keelson_binary() -> pathlib.Path:
    """The release binary that dev/bench built."""
    return pathlib.Path(os.environ["KEELSON_BINARY"])


def body_file(body: bytes) -> pathlib.Path:
    """A file with these bytes, for programs that want one."""
    folder = BUILD / "bodies"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / hashlib.sha256(body).hexdigest()[:16]
    if not file.exists():
        file.write_bytes(body)
    return file


@dataclasses.dataclass(frozen=True)
class Certificate:
    """A self-signed certificate with its key: ECDSA on P-256."""

    certificate: pathlib.Path
    key: pathlib.Path

    @staticmethod
    def make(folder: pathlib.Path) -> "Certificate":
        made = Certificate(folder / "certificate.pem", folder / "key.pem")
        command = ["openssl", "req", "-x509", "-days", "2", "-subj", "/CN=localhost"]
        command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"]
        command += ["-keyout", str(made.key), "-out", str(made.certificate)]
        subprocess.run(command, check=True, capture_output=True)
        return made

    def options(self) -> list[str]:
        """As the servers that speak gRPC take it."""
        return ["--tls-certificate", str(self.certificate), "--tls-key", str(self.key)]


class Server:
    """A server process of its own, stopped when its `with` block ends."""

    speaks_grpc = True

    def __init__(
        self, name: str, command: list[str], port: int, core: int | None = None,
        is_secure: bool = False,
    ):  # fmt: skip
        self.name = name
        self.port = port
        self.address = f"127.0.0.1:{port}"
        self.is_secure = is_secure
        self.url = f"{'https' if is_secure else 'http'}://{self.address}"
        if core is not None:
            command = ["taskset", "--cpu-list", str(core), *command]
        self.log = BUILD / f"{name.replace(' ', '-')}.log"
        #: Added to what it finds in its environment.
        self.environment: dict[str, str] = {}
        self._command = command

    def __enter__(self) -> "Server":
        with open(self.log, "wb") as log:
            # taskset replaces itself by the server, so that the process is the server's.
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=os.environ | self.environment,
            )  # fmt: skip
        self._wait_until_serving()
        return self

    def _wait_until_serving(self, patience_seconds: float = 20) -> None:
        give_up = time.monotonic() + patience_seconds
        while time.monotonic() < give_up:
            if self._process.poll() is not None:
                raise BenchmarkError(
                    f"{self.name} ended with code {self._process.returncode}:\n"
                    + self.log.read_text(errors="replace")[-2000:]
                )
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            time.sleep(0.01)
        self.__exit__()
        raise BenchmarkError(f"{self.name} does not serve on {self.address}; see {self.log}")

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far, in steps of 1/TICKS_PER_SECOND."""
        stat = pathlib.Path(f"/proc/{self.pid}/stat").read_text()
        # The name in brackets may hold anything; utime and stime are fields 14 and 15.
        fields = stat[stat.rindex(")") + 2 :].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def memory_bytes(self, name: str = "Pss") -> int:
        """`Rss` or `Pss` (shared pages divided among those who share them)."""
        for line in pathlib.Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
        raise BenchmarkError(f"the kernel does not tell {name} of {self.name}")


def keelson(
    data: pathlib.Path, arguments: list[str] | None = None, core: int | None = None,
    tls: Certificate | None = None, name: str = "keelson",
) -> Server:  # fmt: skip
    """`keelson serve`, with all that a call meets in it."""
    port = free_port()
    command = [str(keelson_binary()), "serve", "--listen", f"127.0.0.1:{port}"]
    command += ["--data", str(data), *(arguments or []), *(tls.options() if tls else [])]
    return Server(name, command, port, core, is_secure=tls is not None)


def interop_server(core: int | None = None, tls: Certificate | None = None) -> Server:
    """Keelson's own server of grpc.testing.TestService, on one loop."""
    port = free_port()
    binary = keelson_binary().with_name("InteropServer")
    command = [str(binary), "--port", str(port), "--loops", "1"]
    command += tls.options() if tls else []
    return Server("keelson", command, port, core, is_secure=tls is not None)


def test_server(core: int | None = None, tls: Certificate | None = None) -> Server:
    """gRPC C++; see Tests/Peers/cpp."""
    port = free_port()
    command = [str(BUILD / "test_server"), "--port", str(port), *(tls.options() if tls else [])]
    return Server("gRPC C++", command, port, core, is_secure=tls is not None)


def nghttpd(
    folder: pathlib.Path, core: int | None = None, tls: Certificate | None = None
) -> Server:
    """nghttpd with one worker, serving the files of a folder."""
    port = free_port()
    command = ["nghttpd", "--address=127.0.0.1", "--workers=1", "--htdocs", str(folder), str(port)]
    command += [str(tls.key), str(tls.certificate)] if tls else ["--no-tls"]
    server = Server("nghttpd", command, port, core, is_secure=tls is not None)
    server.speaks_grpc = False
    return server


def etcd(folder: pathlib.Path) -> Server:
    """etcd with one member, its data in a folder."""
    port, peer_port = free_port(), free_port()
    command = ["etcd", "--name", "bench", "--data-dir", str(folder), "--log-level", "error"]
    for name, number in (("client", port), ("peer", peer_port)):
        url = f"http://127.0.0.1:{number}"
        command += [f"--listen-{name}-urls", url]
        command += ["--advertise-client-urls" if name == "client" else
                    "--initial-advertise-peer-urls", url]  # fmt: skip
    command += ["--initial-cluster", f"bench=http://127.0.0.1:{peer_port}"]
    return Server("etcd", command, port)


def grpc_peer(payload_bytes: int = 0, core: int | None = None) -> Server:
    """gRPC C++ with a fan-out; see peers/grpc_peer.cc."""
    port = free_port()
    command = [str(BUILD / "grpc_peer"), f"127.0.0.1:{port}", str(payload_bytes)]
    return Server("gRPC C++", command, port, core)


class Subscribers:
    """flag_subscribers at work; see peers/flag_subscribers.c for what it does."""

    def __init__(
        self, server: Server, streams: int, watch_path: str, watch_body: bytes,
        connections: int = 100, is_etcd: bool = False,
    ):  # fmt: skip
        self._command = [
            str(BUILD / "flag_subscribers"), server.address, str(connections), str(streams),
            watch_path, str(body_file(watch_body)), *(["etcd"] if is_etcd else []),
        ]  # fmt: skip

    def __enter__(self) -> "Subscribers":
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        #: From the first connection to the last stream's first message.
        self.ready_milliseconds = float(self._answer("ready")[0])
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.stdin.close()
            self._process.wait(timeout=30)

    def call(self, path: str, body: bytes) -> None:
        """A unary call. Raises BenchmarkError unless it succeeds."""
        self._command_line("call", path, str(body_file(body)))
        self._answer("ok")

    def publish(self, count: int, path: str, bodies: list[bytes]) -> list[tuple[float, ...]]:
        """Makes changes, each when the one before has reached every stream.

        For each change (call, first, last, messages): microseconds from the start of the call to
        its response, the first arrival and the last, and how many messages arrived.
        """
        self._command_line("publish", str(count), path, *(str(body_file(body)) for body in bodies))
        changes = [tuple(map(float, self._answer("change"))) for _ in range(count)]
        self._answer("done")
        return changes

    def _command_line(self, *words: str) -> None:
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()

    def _answer(self, expected: str) -> list[str]:
        line = self._process.stdout.readline()
        words = line.split()
        if not words:
            raise BenchmarkError("flag_subscribers gave up; its message is above")
        if words[0] != expected:
            raise BenchmarkError(f"expected {expected!r} but got: {line.strip()}")
        return words[1:]


def machine(when: str = "at the start") -> str:
    """The machine in one line, for docs/benchmarks.md."""
    model = "unknown CPU"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    release = dict(
        line.split("=", 1)
        for line in pathlib.Path("/etc/os-release").read_text().splitlines()
        if "=" in line
    )
    system = release.get("PRETTY_NAME", "Linux").strip('"')
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores of {model}, {memory:.0f} GiB, {system},"
        f" Linux {os.uname().release}; load {os.getloadavg()[0]:.2f} {when}"
    )


def revision() -> str:
    """The commit that is measured."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() or "unknown"


def percentile(values: list[float], percent: float) -> float:
    """The smallest value that at least `percent` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def spread(values: list[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """A Markdown table, ready for docs/benchmarks.md."""
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def run(main) -> None:
    """Runs a benchmark's main function; an error is a message and exit code 1."""
    try:
        sys.exit(main())
    except BenchmarkError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
