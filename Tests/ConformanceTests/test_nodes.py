"""Several servers on one PostgreSQL: a change through one reaches the watchers of the others."""

import concurrent.futures
import itertools
import os
import re
import signal
import threading
import time

import grpc
import pytest
from google.rpc import error_details_pb2

from client import details, flag, refused
from server import KeelsonServer, run
from watching import Fold, read_until, snapshot

Code = grpc.StatusCode
CHANGES = int(os.environ.get("KEELSON_NODE_CHANGES", 4000))
WRITERS = int(os.environ.get("KEELSON_NODE_WRITERS", 4))
P99_SECONDS = os.environ.get("KEELSON_NODE_P99_SECONDS")


@pytest.fixture
def nodes(postgres, launch):
    """Starts servers on one new database."""
    url = postgres.create_database()
    return lambda **options: launch(arguments=["--database", url], **options)


@pytest.fixture
def p99_seconds(postgres):
    """How long changes may take. Where the system allows it the test and what it starts run ahead
    of other programs: else a backend of PostgreSQL may wait half a second for a processor on a
    machine that builds something meanwhile, and the bound is wider."""

    def schedule(policy, priority):
        server = (postgres.data / "postmaster.pid").read_text().split()[0]
        for thread in [server, *os.listdir("/proc/self/task")]:
            os.sched_setscheduler(int(thread), policy, os.sched_param(priority))

    try:
        schedule(os.SCHED_RR, 1)
    except PermissionError:
        yield float(P99_SECONDS or 0.25)
        return
    yield float(P99_SECONDS or 0.05)
    schedule(os.SCHED_OTHER, 0)


class Watcher:
    """Follows all changes of a server; after a break it goes on where it was."""

    def __init__(self, server, dial):
        self.server, self.dial = server, dial
        self.fold = Fold()
        self.arrivals = {}
        self.goal = None
        self.connected = threading.Event()
        self.pause = threading.Event()
        self.progress = threading.Condition()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        assert self.connected.wait(30)

    def _run(self):
        while self.goal is None or self.fold.revision < self.goal:
            try:
                client = self.dial(self.server)
                stream = client.watch(resume_revision=self.fold.revision, timeout=300)
                for message in stream:
                    self.fold.apply(message)
                    self.arrivals[message.revision] = time.perf_counter()
                    self.connected.set()
                    with self.progress:
                        self.progress.notify_all()
                    if self.goal is not None and self.fold.revision >= self.goal:
                        stream.cancel()
                        return
            except (grpc.RpcError, grpc.FutureTimeoutError, AssertionError, IndexError) as error:
                if isinstance(error, AssertionError) and "serving" not in str(error):
                    raise
                self.connected.clear()
                self.pause.wait(0.02)

    def reach(self, revision):
        """Waits until it has heard of a revision."""
        with self.progress:
            assert self.progress.wait_for(lambda: self.fold.revision >= revision, 60)

    def finish(self, goal):
        self.goal = goal
        self.thread.join(60)
        assert not self.thread.is_alive(), f"at {self.fold.revision}, wanted {goal}"


class Writers:
    """Change flags through a server until told to stop; what was acknowledged, and when."""

    def __init__(self, server, dial, count):
        self.acknowledged = {}
        self.failures = []
        self.stop = threading.Event()
        self.changed = threading.Condition()
        self.pool = concurrent.futures.ThreadPoolExecutor(count)
        clients = [dial(server) for _ in range(count)]
        for number, client in enumerate(clients):
            client.create(f"flag-{number}")
        self.running = [
            self.pool.submit(self._run, client, number) for number, client in enumerate(clients)
        ]

    def _run(self, client, number):
        changed = flag(f"flag-{number}")
        for count in itertools.count():
            if self.stop.is_set():
                return
            # Each differs, so that none is a change of nothing.
            changed.metadata["count"] = count
            began = time.perf_counter()
            try:
                made = client.update(changed, "metadata")
            except grpc.RpcError as error:
                assert error.code() == Code.UNAVAILABLE, f"{error.code()} {error.details()}"
                with self.changed:
                    self.failures.append(error)
                    self.changed.notify_all()
                self.stop.wait(0.01)
                continue
            assert made.revision not in self.acknowledged, "a revision was given twice"
            with self.changed:
                self.acknowledged[made.revision] = (began, made)
                self.changed.notify_all()

    def wait_for(self, reached, timeout_seconds=300):
        """Until the function says so."""
        with self.changed:
            assert self.changed.wait_for(
                lambda: reached() or any(each.done() for each in self.running), timeout_seconds
            ), f"{len(self.acknowledged)} in time"
        for each in self.running:
            if each.done():
                each.result()

    def wait_for_changes(self, count):
        self.wait_for(lambda: len(self.acknowledged) >= count)

    def finish(self):
        self.stop.set()
        for each in self.running:
            each.result(60)
        self.pool.shutdown()
        return self.acknowledged


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


@pytest.mark.waits
def test_each_change_reaches_the_other_node_once_through_kill_9_and_a_restart(
    p99_seconds, postgres, nodes, dial, terminal
):
    first, second = nodes(), nodes()
    watcher = Watcher(second, dial)
    writers = Writers(first, dial, WRITERS)
    disturbed = []

    writers.wait_for_changes(CHANGES // 3)
    began = time.perf_counter()
    second.kill()
    second.start()
    watcher.connected.wait(30)
    watcher.reach(max(writers.acknowledged))
    disturbed.append((began - 0.5, time.perf_counter() + 0.5))

    writers.wait_for_changes(2 * CHANGES // 3)
    began = time.perf_counter()
    postgres.stop("immediate")
    writers.wait_for(lambda: len(writers.failures) >= WRITERS)
    postgres.start()
    writers.wait_for_changes(len(writers.acknowledged) + 20)
    watcher.reach(max(writers.acknowledged))
    disturbed.append((began - 0.5, time.perf_counter() + 0.5))

    writers.wait_for_changes(CHANGES)
    acknowledged = writers.finish()
    client = dial(first)
    last = snapshot(client).revision
    watcher.finish(last)

    # Once each, in order: the watcher checks that itself. None left out: one flag set, so that
    # each revision is a change of it, or none of a flag's.
    changes = watcher.fold.changes
    others = postgres.query(
        "SELECT revision FROM events WHERE type NOT LIKE 'keelson.flags.%'",
        first.more[first.more.index("--database") + 1].rsplit("/", 1)[1],
    )
    missing = set(range(changes[0], last + 1)) - set(changes) - set(map(int, others))
    # A snapshot may stand in for changes while it was away.
    for revision in watcher.fold.snapshots[1:]:
        missing = {each for each in missing if each > revision}
    assert not missing, f"lost {sorted(missing)[:10]}"
    assert len(watcher.fold.snapshots) == 1, "a snapshot in place of changes"
    assert set(acknowledged) - {1} <= set(watcher.arrivals) | set(range(changes[0]))
    for revision, (_, made) in acknowledged.items():
        assert made.revision == revision
    assert watcher.fold.state() == snapshot(client).state() == snapshot(dial(second)).state()

    reach = [
        watcher.arrivals[revision] - began
        for revision, (began, _) in acknowledged.items()
        if revision in watcher.arrivals
        and not any(start <= began <= end for start, end in disturbed)
    ]
    assert len(reach) > CHANGES / 8
    p50, p99 = percentile(reach, 0.5), percentile(reach, 0.99)
    terminal(
        f"two servers, one PostgreSQL: {len(acknowledged)} changes by {WRITERS} callers, none lost"
        f" or repeated; from the call through one to a watcher of the other p50 {p50 * 1e3:.1f} ms,"
        f" p99 {p99 * 1e3:.1f} ms; {len(writers.failures)} calls refused during the restart"
    )
    assert p99 < p99_seconds


def test_both_nodes_write_the_same_flag(nodes, dial):
    """Each sees what the other did: no revision is given twice, and the etag of one is good at the
    other."""
    first, second = (dial(nodes()) for _ in range(2))
    first.create("shared")
    revisions = []
    for number in range(100):
        made = (first, second)[number % 2].toggle("shared", number % 2 == 1)
        assert (second, first)[number % 2].get("shared") == made
        revisions.append(made.revision)
    assert revisions == list(range(revisions[0], revisions[0] + 100))
    assert [each.revision for each in second.history("shared", page_size=1000).entries] == sorted(
        [*revisions, revisions[0] - 1], reverse=True
    )
    stale = first.get("shared")
    second.toggle("shared", stale.environments["production"].enabled is False)
    refused(first.toggle, "shared", True, etag=stale.etag, code=Code.ABORTED)


def test_two_servers_start_on_one_empty_database_at_once(postgres, tmp_path, dial):
    url = postgres.create_database()
    servers = [KeelsonServer(tmp_path / f"{n}", arguments=["--database", url]) for n in range(3)]
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        list(pool.map(KeelsonServer.start, servers))
    made = dial(servers[0]).create("a")
    for server in servers[1:]:
        assert dial(server).get("a") == made
    for server in servers:
        server.stop()


def test_a_lost_database_is_unavailable_at_once_and_comes_back_by_itself(postgres, nodes, dial):
    server = nodes()
    client = dial(server)
    client.create("kept")
    stream = client.watch(timeout=120)
    fold = Fold()
    fold.apply(next(stream))
    postgres.stop("immediate")
    try:
        # The first may find the connection broken while it waits for its answer.
        for call in (lambda: client.get("kept"), lambda: client.toggle("kept", True)):
            for _ in range(3):
                began = time.monotonic()
                error = refused(call, code=Code.UNAVAILABLE)
                assert time.monotonic() - began < 2
                assert details(error, error_details_pb2.RetryInfo), error.details()
        # What is in memory goes on.
        assert client.evaluate("kept").variant == "off"
    finally:
        postgres.start()
    end = time.monotonic() + 30
    while True:
        try:
            made = client.toggle("kept", False)
            assert client.get("kept") == made
            break
        except grpc.RpcError as error:
            assert error.code() == Code.UNAVAILABLE
            assert time.monotonic() < end, "not back in time"
    read_until(stream, fold, made.revision)
    stream.cancel()


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda url: re.sub(r"/[^/]*$", "/nowhere", url), 'database "nowhere" does not exist'),
        (lambda url: url.replace("s3cret", "wr0ng"), "Check the user and the password"),
        (lambda url: re.sub(r":\d+/", ":1/", url), "Check that the server runs"),
        (lambda url: url.replace("127.0.0.1", "nowhere.invalid"), "Check the host"),
        (lambda url: url + "?sslmode=verify-full", "Check sslmode"),
        (lambda url: url + "?sslmode=perhaps", "sslmode"),
        (lambda url: url.replace("postgres:", "mysql:"), "'mysql' is another kind of address"),
        (lambda url: url + "?bogus=1", "cannot be read"),
        (lambda url: url.replace("s3cret", "s3%cret"), "cannot be read"),
    ],
)
def test_an_address_that_does_not_work_is_explained_at_start(postgres, change, words):
    url = change(postgres.create_database())
    ended = run("serve", "--listen", "127.0.0.1:0", environment={"KEELSON_DATABASE": url})
    assert ended.returncode == 1, ended
    # Ahead of it the log says where the settings are from.
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    # One sentence; of what is wrong with the text itself, the list of the settings' errors.
    found_in_settings = words in ("'mysql' is another kind of address", "cannot be read")
    assert len(lines) == (3 if found_in_settings else 1), lines
    assert lines[0].startswith("keelson: "), lines
    assert words in lines[1 if found_in_settings else 0], lines
    for secret in ("s3cret", "s3%cret", "wr0ng", "of-the-tests"):
        assert secret not in ended.stderr + ended.stdout


def test_a_user_without_permission_is_told(postgres):
    url = postgres.create_database()
    database = url.rsplit("/", 1)[1]
    postgres.query("DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN PASSWORD 'g1est-pw'")
    postgres.query("REVOKE CREATE ON SCHEMA public FROM PUBLIC", database)
    guest = postgres.url(database, "guest", "g1est-pw")
    ended = run("serve", "--listen", "127.0.0.1:0", "--database", guest)
    assert ended.returncode == 1
    assert "permission denied for schema public" in ended.stderr
    assert "g1est-pw" not in ended.stderr


def test_a_newer_database_is_refused(postgres, nodes):
    server = nodes()
    server.stop()
    url = server.more[server.more.index("--database") + 1]
    postgres.query(
        "INSERT INTO schema_migrations (set_name, number, name, checksum, applied_at) "
        "VALUES ('flags', 99, 'from the future', 'x', 0)",
        url.rsplit("/", 1)[1],
    )
    ended = run("serve", "--listen", "127.0.0.1:0", "--database", url)
    assert ended.returncode == 1
    assert "newer" in ended.stderr


def test_what_an_acknowledgement_is_worth_is_in_the_log(postgres, nodes):
    """The tests' PostgreSQL does not flush; whoever runs one so is warned."""
    assert "fsync = off" in nodes().log_text()


def test_a_user_that_owns_nothing_serves(postgres, launch, dial, tmp_path):
    """The tables are made by their owner; who serves can neither drop them nor their triggers."""
    url = postgres.create_database()
    database = url.rsplit("/", 1)[1]
    postgres.query("DROP ROLE IF EXISTS server; CREATE ROLE server LOGIN PASSWORD 'server-pw'")
    postgres.query(
        "ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO server",
        database,
    )
    postgres.query("REVOKE CREATE ON SCHEMA public FROM PUBLIC", database)
    serving = postgres.url(database, "server", "server-pw")
    server = launch(arguments=["--database", serving, "--database-owner", url])
    client = dial(server)
    client.create("a")
    client.toggle("a", False)
    server.stop()
    # Nothing is left to migrate.
    server = launch(arguments=["--database", serving])
    assert not dial(server).get("a").environments["production"].enabled
    for sql in ("TRUNCATE audit_entries", "DROP TRIGGER audit_entries_update ON audit_entries"):
        with pytest.raises(AssertionError, match="permission denied|must be owner"):
            postgres.query(f"SET ROLE server; {sql}", database)
    postgres.query("DROP OWNED BY server", database)


def test_a_server_that_missed_what_is_no_longer_kept_ends(postgres, nodes, dial):
    """It has been stopped for so long that events were removed meanwhile: its rules are out of
    date, and nothing can tell it how."""
    first, second = nodes(), nodes()
    database = second.more[second.more.index("--database") + 1].rsplit("/", 1)[1]
    client = dial(first)
    client.create("a")
    second.process.send_signal(signal.SIGSTOP)
    try:
        for number in range(20):
            client.toggle("a", number % 2 == 1)
        postgres.query(
            "UPDATE change_sequence SET compacted_revision = last_revision; DELETE FROM events",
            database,
        )
    finally:
        second.process.send_signal(signal.SIGCONT)
    assert second.wait() == 1
    assert "Restart it" in second.log_text()
    second.start()
    assert dial(second).evaluate("a").variant == "off"
    assert dial(second).get("a") == client.get("a")
