"""Limits are settings: named, listed, set by option and environment, refused with a reason."""

import grpc
import pytest

from client import refused
from server import run
from wire import Wire


def serve(tmp_path, *arguments, **environment):
    """A start that must fail for its limits; what it says."""
    ended = run(
        "serve", "--listen", "127.0.0.1:0", "--data", tmp_path, *arguments, environment=environment
    )
    assert ended.returncode == 2, (ended.returncode, ended.stdout, ended.stderr)
    return ended.stderr


def test_they_are_listed(cli_free):
    text = cli_free("limits")
    assert text.splitlines()[0].split() == ["NAME", "DEFAULT", "OF", "WHAT", "BEYOND", "IT"]
    rows = {line.split()[0]: line for line in text.splitlines()[1:]}
    assert "50000" in rows["running-calls"]
    assert "RESOURCE_EXHAUSTED" in rows["running-calls"]


@pytest.fixture
def cli_free():
    """Runs a command that needs no server; what it says."""

    def cli_free(*arguments):
        ended = run(*arguments)
        assert (ended.returncode, ended.stderr) == (0, "")
        return ended.stdout

    return cli_free


def test_an_option_sets_one(launch, dial):
    server = launch(limits=["request-message-size=1KiB"])
    error = refused(
        dial(server).raw,
        "/grpc.health.v1.Health/Check",
        b"x" * 1025,
        code=grpc.StatusCode.RESOURCE_EXHAUSTED,
    )
    assert "1024" in error.details()


def test_the_environment_sets_one_and_an_option_goes_ahead(launch, monkeypatch):
    monkeypatch.setenv("KEELSON_LIMITS", "streams-per-connection=7, header-list-size=2KiB")
    server = launch(limits=["header-list-size=3KiB"])
    with Wire(server.endpoint) as wire:
        assert wire.settings[3] == 7
        assert wire.settings[6] == 3072


def test_a_wrong_name_is_answered_with_the_near_one(tmp_path):
    said = serve(tmp_path, "--limit", "runing-calls=5")
    assert "did you mean 'running-calls'?" in said
    assert "keelson limits" in said


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("preface-timeout=10", "500ms, 10s, 5m or 2h"),
        ("request-message-size=0", "from 1 to 1GiB"),
        ("connections=many", "a whole number, from 1 to 1000000"),
        ("connections", "NAME=VALUE"),
    ],
)
def test_a_wrong_value_is_answered_with_what_is_right(tmp_path, setting, words):
    assert words in serve(tmp_path, "--limit", setting)
    assert words in serve(tmp_path, KEELSON_LIMITS=setting)
