"""A PostgreSQL server of the tests' own: data in a folder of its own, a free loopback port."""

import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import tempfile

USER = "keelson"
PASSWORD = "s3cret-of-the-tests"
BIN = pathlib.Path(
    subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True).stdout.strip() or "/"
)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def unprivileged(*arguments):
    """The command as a user that PostgreSQL runs under: not root."""
    if os.getuid() == 0:
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *arguments]
    return list(arguments)


class PrivatePostgres:
    """`settings` are those of postgresql.conf, by name."""

    def __init__(self, *, folder="/tmp", **settings):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="keelson-postgres-", dir=folder))
        if os.getuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        self.port = free_port()
        self.settings = {
            "listen_addresses": "127.0.0.1", "max_connections": 200, "fsync": "off",
            "max_prepared_transactions": 5,
        }
        self.settings.update(settings)
        self.databases = 0
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run(
            BIN / "initdb", "-D", self.data, "-U", USER, "-A", "scram-sha-256", "--pwfile",
            password, "--no-sync", "-E", "UTF8", "--locale=C.UTF-8",
            "--locale-provider=icu", "--icu-locale=en",
        )
        self.start()

    @property
    def data(self):
        return self.folder / "data"

    def _run(self, *command):
        ended = subprocess.run(
            unprivileged(*map(str, command)), capture_output=True, text=True, cwd="/", timeout=120
        )
        assert ended.returncode == 0, (command, ended.stdout, ended.stderr, self.log_text())
        return ended.stdout

    def log_text(self):
        log = self.folder / "log"
        return log.read_text(errors="replace")[-2000:] if log.exists() else ""

    def start(self):
        options = " ".join(f"-c {name}={value}" for name, value in self.settings.items())
        self._pg_ctl("start", "-o", f"-p {self.port} -k {self.folder} {options}")

    def stop(self, mode="fast"):
        """`immediate` ends it as a crash would."""
        self._pg_ctl("stop", "-m", mode)

    def _pg_ctl(self, *arguments):
        # Its output goes to a file: the server would hold a pipe open.
        with (self.folder / "said").open("w") as said:
            ended = subprocess.run(
                unprivileged(
                    str(BIN / "pg_ctl"), "-D", str(self.data), "-l", str(self.folder / "log"),
                    "-w", "-s", *arguments,
                ),
                stdout=said, stderr=said, cwd="/", timeout=120,
            )
        assert ended.returncode == 0, (self.folder / "said").read_text() + self.log_text()

    def query(self, sql, database="postgres", user=USER, password=PASSWORD):
        """The rows, columns parted by `|`."""
        with self.session(database, user, password) as psql:
            said, errors = psql.communicate(sql, timeout=60)
        assert psql.returncode == 0, errors
        return said.splitlines()

    def session(self, database="postgres", user=USER, password=PASSWORD):
        """A psql that reads statements from its input and ends at the first that fails."""
        return subprocess.Popen(
            [str(BIN / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", str(self.folder),
             "-p", str(self.port), "-U", user, "-d", database],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PGPASSWORD": password},
        )

    def create_database(self):
        """The address of a new, empty database."""
        self.databases += 1
        name = f"test_{self.databases}"
        self.query(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, database, user=USER, password=PASSWORD):
        return f"postgres://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def remove(self):
        if (self.data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.folder)
