import itertools
import json
import re

import pytest

import stubs

stubs.generate()

from attacks import MIB, memory_table  # noqa: E402  (needs the stubs)
from client import Client  # noqa: E402
from conformance_table import (  # noqa: E402, F401  (hooks that pytest finds here)
    pytest_collection_modifyitems,
    pytest_deselected,
    pytest_runtest_makereport,
)
from postgres import PrivatePostgres  # noqa: E402
from redis_server import PrivateRedis  # noqa: E402
from server import BINARY, KeelsonServer, run  # noqa: E402
from watching import arriving  # noqa: E402

numbers = itertools.count(1)


def pytest_addoption(parser):
    parser.addoption(
        "--write-conformance", action="store_true", help="write docs/conformance.md anew"
    )


@pytest.fixture(scope="session", autouse=True)
def binary():
    if not BINARY.exists():
        pytest.exit(
            f"{BINARY} is not there: run `swift build -c release`, or name it in KEELSON_BINARY",
            returncode=2,
        )
    return BINARY


@pytest.fixture(scope="session")
def server(binary, tmp_path_factory):
    """The shared server. Tests use keys of their own and leave it running."""
    server = KeelsonServer(tmp_path_factory.mktemp("shared")).start()
    yield server
    assert server.is_running(), f"the shared server died: {server.log_text()[-3000:]}"
    server.stop()


@pytest.fixture(autouse=True)
def shared_server_survives(request):
    """A test that brings the shared server down fails itself, not those after it."""
    yield
    if "server" in request.fixturenames:
        shared = request.getfixturevalue("server")
        assert shared.is_running(), f"the server died: {shared.log_text()[-3000:]}"


@pytest.fixture(scope="session")
def shared_client(server):
    client = Client(server.address).ready()
    yield client
    client.close()


@pytest.fixture(scope="session")
def quiet_watch(shared_client):
    """Messages of a stream of a set that nobody changes, open since the first test."""
    shared_client.create_set("quiet")
    stream = shared_client.watch("quiet", timeout=86_400)
    yield arriving(stream)
    stream.cancel()


@pytest.fixture
def client(shared_client, quiet_watch):
    return shared_client


@pytest.fixture
def connect(server):
    """Makes further clients of the shared server, each with a connection of its own."""
    made = []

    def connect(address=None):
        made.append(Client(address or server.address))
        return made[-1]

    yield connect
    for client in made:
        client.close()


@pytest.fixture
def key(request):
    """A key that no other test uses."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower().removeprefix("test_"))
    return f"{name[:60].strip('-')}-{next(numbers)}"


@pytest.fixture
def flag_set(client, key):
    """A flag set that no other test uses."""
    name = f"set-{key}"
    client.create_set(name)
    return name


@pytest.fixture
def launch(binary, tmp_path):
    """Starts private servers; ends them with SIGTERM and checks that they end well."""
    made = []

    def launch(**options):
        server = KeelsonServer(tmp_path / f"server-{len(made)}", **options)
        made.append(server)
        return server.start()

    yield launch
    failures = []
    for server in made:
        try:
            server.stop()
        except AssertionError as failure:
            failures.append(failure)
    assert not failures, failures


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server; tests make databases of their own, and start it again when they stop
    it."""
    postgres = PrivatePostgres()
    yield postgres
    postgres.remove()


@pytest.fixture(scope="session")
def shared_redis():
    """A Redis server; tests use databases of their own, and neither stop nor empty it."""
    redis = PrivateRedis()
    yield redis
    redis.remove()


@pytest.fixture
def start_redis():
    """Starts private Redis servers and removes them."""
    made = []

    def start_redis(**options):
        made.append(PrivateRedis(**options))
        return made[-1]

    yield start_redis
    for redis in made:
        redis.remove()


@pytest.fixture
def redis(start_redis):
    """A Redis server of this test alone, to be broken."""
    return start_redis()


@pytest.fixture
def private(launch):
    return launch()


@pytest.fixture
def dial():
    """Makes clients of any server and closes them."""
    made = []

    def dial(server, **options):
        made.append(Client(server.address, **options).ready())
        return made[-1]

    yield dial
    for client in made:
        client.close()


@pytest.fixture
def cli(server):
    """Runs a client command that must succeed; what it says."""

    def cli(*arguments):
        ended = run(*arguments, "--server", server.address)
        assert ended.returncode == 0, (arguments, ended.stdout, ended.stderr)
        assert ended.stderr == ""
        return ended.stdout

    return cli


@pytest.fixture
def cli_json(cli):
    """Runs a client command with `--output json`; the parsed answer."""
    return lambda *arguments: json.loads(cli(*arguments, "--output", "json"))


@pytest.fixture
def fails(server):
    """Runs a client command that must fail with one sentence; the sentence."""

    def fails(*arguments, code=1, to=None):
        ended = run(*arguments, "--server", to or server.address)
        assert ended.returncode == code, (ended.returncode, ended.stdout, ended.stderr)
        assert ended.stdout == ""
        lines = [line for line in ended.stderr.splitlines() if line]
        assert lines, "no word about what went wrong"
        if code == 1:
            assert len(lines) == 1, lines
        for word in ("Fatal error", "RPCError(", "KeelsonError(", "Optional("):
            assert word not in ended.stderr
        return ended.stderr.strip()

    return fails


measured = []


@pytest.fixture
def terminal():
    """Takes a line with a figure, printed at the end of the run."""
    return measured.append


def pytest_terminal_summary(terminalreporter):
    """What the attacks cost: the server's memory, and the good client's calls meanwhile."""
    if measured:
        terminalreporter.section("measured")
        for line in measured:
            terminalreporter.write_line(line)
    if not memory_table:
        return
    terminalreporter.section("memory of the server under attack, MiB")
    heading = ("attack", "before", "most", "after", "good calls", "slowest")
    terminalreporter.write_line("%-52s %7s %7s %7s %11s %9s" % heading)
    for name, before, peak, after, calls, slowest in memory_table:
        terminalreporter.write_line(
            f"{name[:52]:52} {before / MIB:7.1f} {peak / MIB:7.1f} {after / MIB:7.1f}"
            f" {calls:11} {slowest * 1000:6.0f} ms"
        )
