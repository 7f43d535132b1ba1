"""A Redis server of the tests' own: in a folder of its own, on a free loopback port, gone with the
process that started it, however that ends."""

import concurrent.futures
import contextlib
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading

START_TIMEOUT_SECONDS = 20
ANSWER_TIMEOUT_SECONDS = 20

# Linux ends a process with the thread that started it, so that has to be one that stays.
KEEPER = concurrent.futures.ThreadPoolExecutor(1)


def restartable_port():
    """A port that nobody gets while its server is away: no system gives one like it to a client."""
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", random.randrange(15_000, 30_000)))
            return probe.getsockname()[1]


class RedisFailure(Exception):
    """What Redis answers with a minus."""


class RedisConnection:
    """Commands and their answers, one after the other: numbers, bytes, lists, None."""

    def __init__(self, port, password=None, database=0):
        self.socket = socket.create_connection(("127.0.0.1", port), ANSWER_TIMEOUT_SECONDS)
        self.file = self.socket.makefile("rb")
        if password:
            self("AUTH", password)
        if database:
            self("SELECT", database)

    def __call__(self, *words):
        encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        parts = [b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded]
        self.socket.sendall(b"*%d\r\n%s" % (len(parts), b"".join(parts)))
        return self.read()

    def read(self):
        """The next answer, or on a subscription the next message."""
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("Redis has gone")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RedisFailure(rest.decode())
        if kind == b"+":
            return rest
        count = int(rest)
        if kind == b":" or count < 0:
            return count if kind == b":" else None
        return self.file.read(count + 2)[:-2] if kind == b"$" else [
            self.read() for _ in range(count)
        ]

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class PrivateRedis:
    """`settings` are those of redis.conf, by name with `_` for `-`: `maxmemory="20mb"`. Without
    `dump` it forgets everything when it ends; with it `SAVE` writes what a restart finds.
    `certificates` (see tls.py) has it speak TLS, and nothing to `say`."""

    def __init__(self, *, password=None, dump=False, certificates=None, **settings):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="keelson-redis-"))
        self.port = restartable_port()
        self.password = password
        self.settings = {
            "bind": "127.0.0.1", "port": self.port, "dir": self.folder, "save": "",
            "databases": 1000, **settings,
        }
        if password:
            self.settings["requirepass"] = password
        if certificates:
            self.settings |= {
                "port": 0, "tls_port": self.port, "tls_cert_file": certificates.server,
                "tls_key_file": certificates.server_key, "tls_ca_cert_file": certificates.ca,
                "tls_auth_clients": "no",
            }
        if not dump:
            # Also a SAVE would be found by the next start.
            self.settings["dbfilename"] = "none.rdb"
        self.dump = dump
        self.process = None
        self.databases = 0
        self.start()

    def start(self):
        """Returns when it answers."""
        assert self.process is None, "already started"
        if not self.dump:
            (self.folder / "none.rdb").unlink(missing_ok=True)
        command = ["setpriv", "--pdeathsig", "KILL", "redis-server"]
        for name, value in self.settings.items():
            command += ["--" + name.replace("_", "-"), str(value)]
        self.process = KEEPER.submit(
            subprocess.Popen, command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, text=True, cwd="/",
        ).result()
        self.said = []
        ready = threading.Event()
        reader = threading.Thread(
            target=self._read, args=(self.process.stdout, self.said, ready), daemon=True
        )
        reader.start()
        started = ready.wait(START_TIMEOUT_SECONDS) and self.process.poll() is None
        assert started, "".join(self.said)[-2000:]
        return self

    @staticmethod
    def _read(stream, said, ready):
        with stream:
            for line in stream:
                said.append(line)
                if "Ready to accept connections" in line:
                    ready.set()
        ready.set()

    def url(self, database=None, password=None):
        """Where it is, for `serve --cache`; as many databases as one likes."""
        password = password or self.password
        login = f":{password}@" if password else ""
        path = "" if database is None else f"/{database}"
        return f"redis://{login}127.0.0.1:{self.port}{path}"

    def next_database(self):
        """The number of an empty database."""
        self.databases += 1
        return self.databases

    def connect(self, database=0):
        return RedisConnection(self.port, self.password, database)

    def say(self, *words, database=0):
        """The answer to one command."""
        with self.connect(database) as connection:
            return connection(*words)

    def info(self, section="everything"):
        lines = self.say("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def kill(self):
        """Ends it with SIGKILL."""
        self.process.kill()
        self.process.wait(10)
        self.process = None

    def restart(self):
        """Ends it as a crash does, and starts it again on the same port."""
        self.kill()
        return self.start()

    def pause(self):
        """Stops it where it stands: it answers nothing and keeps its connections."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def remove(self):
        if self.process is not None:
            self.kill()
        shutil.rmtree(self.folder)
