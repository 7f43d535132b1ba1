"""The `keelson` command: errors, help and shell completions."""

import concurrent.futures
import shutil
import socket
import signal
import subprocess

import grpc
import pytest

from server import BINARY, run

COMMANDS = [
    "serve",
    "flags",
    "segments",
    "flag-sets",
    "health",
    "version",
    "completions",
    "flags create",
    "flags get",
    "flags list",
    "flags update",
    "flags toggle",
    "flags archive",
    "flags restore",
    "flags history",
    "flags evaluate",
    "flags watch",
    "segments create",
    "segments get",
    "segments list",
    "segments update",
    "segments delete",
    "flag-sets create",
    "flag-sets get",
    "flag-sets list",
    "flag-sets update",
]

# Errors


def test_server_that_does_not_run(fails):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % free.getsockname()[1]
    for command in (("flags", "list"), ("health",), ("flags", "watch")):
        said = fails(*command, to=address)
        assert address in said
        assert "keelson serve" in said


class Busy(grpc.GenericRpcHandler):
    """Answers every call with UNAVAILABLE."""

    def service(self, details):
        def answer(request, context):
            context.abort(grpc.StatusCode.UNAVAILABLE, "Too busy just now.")

        return grpc.unary_unary_rpc_method_handler(answer)


def test_unavailable_said_by_the_server_is_shown_as_it_is(fails):
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1), handlers=(Busy(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        for command in (("flags", "list"), ("health",), ("flags", "update", "k", "--owner", "")):
            assert fails(*command, to=f"127.0.0.1:{port}") == "keelson: Too busy just now."
    finally:
        server.stop(None)


def test_watch_of_a_server_that_stops_says_so_and_goes_on(launch, dial):
    server = launch()
    server.listen = [server.address]
    command = [str(BINARY), "flags", "watch", "--server", server.address]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watching:
        assert "snapshot" in watching.stdout.readline()
        server.stop()
        said = watching.stderr.readline()
        assert "stopping" in said and "Going on as soon as the server is back" in said
        server.start()
        dial(server).create("a")
        assert "a: " in watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        _, more = watching.communicate(timeout=30)
    assert watching.returncode == 0
    assert "Cannot reach" not in more


def test_unknown_flag(fails, key):
    for command in (
        ("get", key),
        ("toggle", key, "--on"),
        ("evaluate", key),
        ("archive", key),
        ("history", key),
        ("update", key, "--description", "x"),
    ):
        assert key in fails("flags", *command)


def test_bad_key_says_the_rule(fails):
    assert "key" in fails("flags", "create", "not a key", "--type", "boolean")


def test_existing_flag(fails, client, key):
    client.create(key)
    assert key in fails("flags", "create", key, "--type", "boolean")


def test_bad_targeting_says_what_is_wrong(fails, client, key):
    said = fails("flags", "create", key, "--type", "boolean", "--targeting", '{"bogus_op":[1]}')
    assert "bogus_op" in said


@pytest.mark.parametrize(
    "command",
    [
        ("flags", "create", "k", "--type", "boolean", "--targeting", "{not json"),
        ("flags", "create", "k", "--variant", "a={"),
        ("flags", "create", "k", "--variant", "no-equals-sign"),
        ("flags", "evaluate", "k", "--context", "{"),
        ("flags", "evaluate", "k", "--context", "[1]"),
        ("flags", "create", "k", "--type", "boolean", "--targeting", "@/no/such/file"),
    ],
)
def test_bad_json_is_refused_before_it_is_sent(server, command):
    ended = run(*command, "--server", server.address)
    assert ended.returncode in (1, 2)
    assert ended.stderr.strip()
    assert ended.stdout == ""
    assert "Error Domain" not in ended.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("no-such-command",),
        ("flags", "no-such-command"),
        ("flags", "get"),
        ("flags", "list", "--no-such-option"),
        ("flags", "list", "--output", "xml"),
        ("flags", "list", "--page-size", "many"),
        ("flags", "get", "a", "b"),
        ("flags", "create", "k", "--type", "colour"),
        ("completions", "tcsh"),
        ("flags", "list", "--server"),
    ],
)
def test_wrong_usage_is_exit_code_2(command):
    ended = run(*command)
    assert ended.returncode == 2, (ended.returncode, ended.stdout, ended.stderr)
    assert ended.stderr.strip()
    assert ended.stdout == ""


# Help and completions


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(command):
    ended = run(*command.split(), "--help")
    assert ended.returncode == 0, ended.stderr
    assert "usage" in ended.stdout.lower()
    assert ended.stderr == ""
    assert all(len(line) <= 100 for line in ended.stdout.splitlines())


def test_help_names_every_command_and_common_option():
    top = run("--help").stdout
    for command in COMMANDS:
        words = command.split()
        assert words[-1] in (top if len(words) == 1 else run(words[0], "--help").stdout)
    options = run("flags", "list", "--help").stdout
    for option in ("--server", "--flag-set", "--output", "--tag", "--page-size"):
        assert option in options


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions(shell, tmp_path):
    ended = run("completions", shell)
    assert ended.returncode == 0, ended.stderr
    for word in ("keelson", "flags", "segments", "toggle", "flag-sets"):
        assert word in ended.stdout
    file = tmp_path / f"completions.{shell}"
    file.write_text(ended.stdout)
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n", str(file)], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr


def test_bash_completes_commands(tmp_path):
    """The functions really answer when bash asks them."""
    file = tmp_path / "completions.bash"
    file.write_text(run("completions", "bash").stdout)
    script = f"""
        source {file}
        function=$(complete -p keelson | sed -E 's/.*-F ([^ ]+).*/\\1/')
        COMP_WORDS=(keelson fl); COMP_CWORD=1; COMP_LINE='keelson fl'; COMP_POINT=10
        $function keelson fl keelson
        echo "${{COMPREPLY[@]}}"
    """
    ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=20)
    assert "flags" in ended.stdout, ended.stderr
    assert "flag-sets" in ended.stdout
