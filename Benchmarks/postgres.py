"""A PostgreSQL server of the benchmark's own, and pgbench against it."""

import os
import pathlib
import pwd
import re
import shutil
import subprocess
import tempfile

import harness


class Postgres:
    """Data in a folder of its own, on a free loopback port; gone when its `with` block ends.

    The settings are PostgreSQL's own, fsync and synchronous_commit among them.
    """

    def __init__(self, parent: pathlib.Path | None = None) -> None:
        #: Where its folder is made; None: where temporary files are.
        self._parent = parent
        found = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True)
        if found.returncode != 0:
            raise harness.BenchmarkError("pg_config is not there: install PostgreSQL's libpq-dev")
        self.programs = pathlib.Path(found.stdout.strip())
        self.port = harness.free_port()
        # PostgreSQL refuses to run as root.
        self._prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        if os.getuid() != 0:
            self._prefix = []

    def _run(self, *command: str) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [*self._prefix, *command], capture_output=True, text=True, cwd="/"
        )
        if done.returncode != 0:
            raise harness.BenchmarkError(f"{command[0]}: {done.stderr or done.stdout}")
        return done

    def __enter__(self) -> "Postgres":
        made = tempfile.mkdtemp(prefix="keelson-bench-postgres-", dir=self._parent)
        self.folder = pathlib.Path(made)
        if self._prefix:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        data = self.folder / "data"
        self._run(
            str(self.programs / "initdb"), "-D", str(data), "-U", "bench", "-A", "trust",
            "--no-sync",
        )  # fmt: skip
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        self._control("start", "-l", str(self.folder / "log"), "-o", options)
        return self

    def _control(self, verb: str, *more: str) -> None:
        self._run(
            str(self.programs / "pg_ctl"), "-D", str(self.folder / "data"), "-w", verb, *more
        )

    def __exit__(self, *_: object) -> None:
        self._control("stop", "-m", "immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def sql(self, statement: str, database: str = "postgres") -> str:
        return self._run(
            str(self.programs / "psql"), "-h", "127.0.0.1", "-p", str(self.port), "-U", "bench",
            "-d", database, "-v", "ON_ERROR_STOP=1", "-Atc", statement,
        ).stdout.strip()  # fmt: skip

    def database(self, name: str) -> str:
        """Makes a database; where it is, for `serve --database`."""
        self.sql(f"CREATE DATABASE {name}")
        return f"postgres://bench@127.0.0.1:{self.port}/{name}"

    def pgbench(self, script: str, database: str, clients: int, seconds: int) -> float:
        """Runs a script of one transaction; how many there were a second."""
        file = self.folder / "script.sql"
        file.write_text(script)
        file.chmod(0o644)
        said = self._run(
            str(self.programs / "pgbench"), "-h", "127.0.0.1", "-p", str(self.port), "-U",
            "bench", "-n", "-M", "prepared", "-f", str(file), "-c", str(clients), "-j", "2",
            "-T", str(seconds), database,
        ).stdout  # fmt: skip
        rate = re.search(r"tps = ([\d.]+)", said)
        failed = re.search(r"number of failed transactions: (\d+)", said)
        if not rate or not failed or int(failed[1]) > 0:
            raise harness.BenchmarkError(f"pgbench says:\n{said}")
        return float(rate[1])
