"""Servers, workers in processes of their own, and the connections between them, all of which can be
broken."""

import contextlib
import json
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

from keelson.jobs.v1 import jobs_pb2 as jobs

from fault_worker import EXIT_CODE
from server import BINARY

PROGRAM = pathlib.Path(__file__).with_name("fault_worker.py")
STUBS = pathlib.Path(jobs.__file__).parents[3]


class CuttingProxy:
    """Listens, and connects each client to one of the servers that run, to the next one each time.

    `endpoints` gives the hosts and ports of those servers, in any order.
    """

    def __init__(self, endpoints):
        self.endpoints = endpoints
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.lock = threading.Lock()
        self.pairs = []
        self.accepted = 0
        self.flowing = threading.Event()
        self.flowing.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return  # Closed: the end.
            self.accepted += 1
            server = self._dial()
            if server is None:
                client.close()
                continue
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.pairs.append((client, server))
            for source, target in ((client, server), (server, client)):
                threading.Thread(
                    target=self._pump, args=(source, target, (client, server)), daemon=True
                ).start()

    def _dial(self):
        endpoints = self.endpoints()
        for turn in range(len(endpoints)):
            with contextlib.suppress(OSError):
                return socket.create_connection(
                    endpoints[(self.accepted + turn) % len(endpoints)]
                )
        return None

    def _pump(self, source, target, pair):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.flowing.wait()
                target.sendall(data)
        with self.lock, contextlib.suppress(ValueError):
            self.pairs.remove(pair)
        self._end(pair)

    @staticmethod
    def _end(pair):
        for each in pair:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def cut(self):
        """Cuts all connections: what is on its way is lost."""
        with self.lock:
            pairs = list(self.pairs)
        for pair in pairs:
            self._end(pair)
        return len(pairs)

    def stall(self):
        """Lets nothing through any more, and tells nobody."""
        self.flowing.clear()

    def resume(self):
        self.flowing.set()

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.resume()
        self.cut()


class WorkerProcess:
    """One life of a worker after the other, behind a proxy of its own. One that a job has ended is
    started again, as whoever runs workers does."""

    KINDS = ("quick", "other")
    # What handlers do, with how many of a thousand jobs do it.
    PLANS = (
        (700, []),
        (150, ["fail"]),
        (40, ["fail", "slow:0.1", "fail"]),
        (60, ["slow:0.05"]),
        (40, ["slow:0.5"]),
        (8, ["hang"]),
        (2, ["exit"]),
    )

    def __init__(self, slot, folder, endpoints, *, queue, on_receipts=lambda count: None):
        self.slot, self.folder, self.queue = slot, folder, queue
        self.proxy = CuttingProxy(endpoints)
        self.on_receipts = on_receipts
        self.lives = 0
        self.process = None
        self.readers = []
        # Held by who ends a life on purpose, until the next one has begun.
        self.lock = threading.RLock()

    @property
    def name(self):
        """Of this life of it."""
        return f"{self.slot}.{self.lives}"

    @property
    def own_queue(self):
        """Of jobs that no other worker runs."""
        return f"only-{self.slot}"

    @staticmethod
    def parameters(plan):
        """What has a job do that."""
        return json.dumps({"plan": plan})

    def command(self):
        command = [sys.executable, PROGRAM, "--name", self.name, self.proxy.address]
        command += ["--log", self.folder / f"{self.name}.log"]
        for name, values in (("--queue", (self.queue, self.own_queue)), ("--kind", self.KINDS)):
            for value in values:
                command += [name, value]
        return command

    def start(self):
        self.lives += 1
        with (self.folder / f"{self.name}.err").open("wb") as said:
            self.process = subprocess.Popen(
                list(map(str, self.command())),
                stdout=subprocess.PIPE, stderr=said, stdin=subprocess.DEVNULL, text=True,
                env={"PYTHONPATH": str(STUBS), "GRPC_VERBOSITY": "NONE"},
            )
        self.listens = threading.Event()
        reader = threading.Thread(
            target=self._read, args=(self.process, self.listens), daemon=True
        )
        self.readers.append(reader)
        reader.start()
        return self

    def _read(self, process, listens):
        for line in process.stdout:
            listens.set()
            self.on_receipts(int(line) if line.strip().isdigit() else 0)
        code = process.wait()
        with self.lock:
            if code == EXIT_CODE and process is self.process:
                self.start()

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def kill_and_start(self):
        with self.lock:
            self.kill()
            self.start()

    def stop(self, timeout_seconds=60):
        """Ends it as its user would: it has to end well."""
        assert self.listens.wait(timeout_seconds), f"worker {self.name} does not listen to signals"
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"worker {self.name} did not end: {self.errors()}") from None
        assert code in (0, EXIT_CODE), f"worker {self.name} ended: {code} {self.errors()}"

    def stop_and_start(self):
        with self.lock:
            self.stop()
            self.start()

    def errors(self):
        return (self.folder / f"{self.name}.err").read_text()[-2000:]

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()
        self.proxy.close()
        for reader in self.readers:
            reader.join(10)


class KeelsonWorker(WorkerProcess):
    """A `keelson worker`, whose jobs run a script: it says in a file that all share when it begins
    and ends."""

    KINDS = ("keelson.command",)
    PLANS = (
        (700, []),
        (150, ["fail"]),
        (90, ["slow:0.1"]),
        (50, ["slow:0.5", "fail"]),
        (10, ["hang"]),
    )
    SCRIPT = """
        log=$1
        shift
        echo "begin $KEELSON_JOB_ID $KEELSON_JOB_ATTEMPT" >> "$log"
        step=ok
        [ "$KEELSON_JOB_ATTEMPT" -gt $# ] || eval "step=\\${$KEELSON_JOB_ATTEMPT}"
        case $step in
            fail) exit 1 ;;
            slow:*) sleep "${step#slow:}" ;;
            hang) sleep 5 ;;
        esac
        echo "end $KEELSON_JOB_ID $KEELSON_JOB_ATTEMPT" >> "$log"
        echo "$KEELSON_JOB_ID $KEELSON_JOB_ATTEMPT"
    """

    @staticmethod
    def parameters(plan):
        return json.dumps({"command": "step", "arguments": plan})

    def command(self):
        script, allowed = self.folder / "step.sh", self.folder / "allowed.json"
        if not allowed.exists():
            script.write_text(self.SCRIPT)
            arguments = [str(script), str(self.folder / "commands.log")]
            step = {"path": "/bin/sh", "arguments": arguments, "allow_arguments": True}
            allowed.write_text(json.dumps({"step": step}))
            allowed.chmod(0o600)
        return [
            BINARY, "worker", "--server", self.proxy.address, "--name", self.name,
            "--queues", f"{self.queue},{self.own_queue}", "--kinds", ",".join(self.KINDS),
            "--concurrency", 8, "--allow-command-file", allowed,
        ]


class Fleet:
    """Servers on one database, and workers connected to any of them."""

    def __init__(self, servers, folder, *, workers, queue, program=WorkerProcess):
        self.servers = servers
        self.folder = folder
        folder.mkdir()
        self.changed = threading.Condition()
        self.receipts = 0
        # What the test itself says goes another way than what is cut.
        self.way = CuttingProxy(self.endpoints)
        self.workers = [
            program(f"w{number}", folder, self.endpoints, queue=queue, on_receipts=self._count)
            for number in range(workers)
        ]
        for worker in self.workers:
            worker.start()

    def endpoints(self):
        # A server that is just being started has said no address yet.
        said = [each for server in self.servers for each in server.addresses]
        return [(host, int(port)) for host, port in (each.rsplit(":", 1) for each in said)]

    def _count(self, receipts):
        with self.changed:
            self.receipts += receipts
            self.changed.notify_all()

    def wait(self, reached, what, timeout_seconds, found=lambda: ""):
        """Until the function says so; when it does not in time `found` says what there is. It is
        asked when workers have heard of their results, and now and then in any case: who is killed
        does not hear of its own."""
        end = time.monotonic() + timeout_seconds
        while not reached():
            self.check()
            with self.changed:
                seen = self.receipts
                self.changed.wait_for(lambda: self.receipts >= seen + 50, 0.5)
            assert time.monotonic() < end, f"{what}: not in {timeout_seconds} s\n{found()}"

    def check(self):
        """Nothing may end by itself but a worker that a job has ended."""
        for worker in self.workers:
            code = worker.process.poll()
            assert code in (None, EXIT_CODE), f"{worker.name} ended: {code} {worker.errors()}"
        for server in self.servers:
            assert server.is_running(), f"a server ended: {server.log_text()[-3000:]}"

    def stop(self):
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.stop()

    def close(self):
        for worker in self.workers:
            worker.close()
        self.way.close()
