"""What the `keelson` command writes, and where: every byte or an error, and no forged lines."""

import os
import signal
import stat
import subprocess
import threading

import pytest

from server import BINARY, run
from test_cli_commands import Lines

FORGED = "mallory\n99999  2027-01-01  root  keys.destroyed\x1b[31m\u009b1m\u202e"


@pytest.mark.parametrize(
    "words",
    [
        ["version"],
        ["limits"],
        ["health"],
        ["audit", "keys", "--pem"],
        ["audit", "checkpoints", "--sign", "--output", "json"],
        ["audit", "export"],
        ["events", "list"],
        ["config", "check"],
    ],
)
def test_output_that_cannot_be_written_is_an_error(server, words):
    to = [] if words[0] in ("version", "limits", "config") else ["--server", server.address]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [str(BINARY), *words, *to], stdout=full, stderr=subprocess.PIPE, text=True, timeout=20
        )
    assert ended.returncode == 1, ended
    assert "cannot be written: No space left on device" in ended.stderr


def test_what_others_wrote_stays_in_its_cell(cli, server, key):
    cli("audit", "record", "order.made", "order", key, "--actor", FORGED)
    cli("config", "set", f"{key}", FORGED, "--application", key)
    listed = cli("audit", "list", "--entity-id", key)
    shown = cli("audit", "get", listed.splitlines()[1].split()[0])
    to = ("--server", server.address)
    with Lines("audit", "tail", "--after", 0, "--entity-id", key, *to) as tail:
        line = tail.next()
    settings = cli("config", "list", "--application", key)
    with Lines("config", "watch", "--application", key, *to) as watch:
        watched = watch.next() + watch.next()
    event = cli("events", "list", "--subject", f"{key}*")
    for said in (listed, shown, line, settings, watched, event):
        for character in "\x1b\u009b\u202e":
            assert character not in said, said
        assert not any(row.startswith("99999") for row in said.splitlines()), said
    assert r"mallory\n99999  2027-01-01  root  keys.destroyed\u{1B}[31m\u{9B}1m\u{202E}" in listed
    assert len(listed.splitlines()) == 2


def export(server, file):
    ended = run("audit", "export", "--file", file, "--server", server.address)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_an_export_follows_links_and_leaves_devices(server, client, key, tmp_path):
    client.create(key)
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to("target")
    export(server, link)
    assert link.is_symlink() and not target.is_symlink()
    assert target.read_text().startswith("{")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    export(server, "/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert export(server, "-").startswith("{")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "target"]


def test_an_export_goes_into_a_pipe(server, client, key, tmp_path):
    client.create(key)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    export(server, pipe)
    reader.join(20)
    assert read[0].startswith("{")
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("time", ["300000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"])
@pytest.mark.parametrize("words", [["audit", "list", "--from"], ["events", "list", "--to"]])
def test_times_beyond_the_calendar_are_refused(fails, words, time):
    assert "takes a time" in fails(*words, time, code=2)


def test_an_audit_tail_goes_on_over_a_restart(launch, dial):
    server = launch()
    server.listen = [server.address]
    to = ("--server", server.address)
    with Lines("audit", "tail", "--after", 0, "--action", "flag.*", *to) as tail:
        dial(server).create("a")
        assert "default/a" in tail.next()
        server.kill()
        server.start()
        dial(server).create("b")
        assert "default/b" in tail.next()
        tail.process.send_signal(signal.SIGINT)
        assert tail.process.wait(15) == 0
