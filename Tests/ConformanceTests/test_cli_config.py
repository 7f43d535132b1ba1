"""`keelson config`: keys, schemas, values, secrets and watches as people and scripts use them."""

import json
import signal

import pytest

from server import run
from test_cli_commands import Lines


@pytest.fixture
def config(launch):
    """Runs `keelson config` for one application of a server of its own."""
    server = launch()

    def config(*words, stdin=None, code=0):
        ended = run(
            "config", *words, "--server", server.address, "--application", "shop", stdin=stdin
        )
        assert ended.returncode == code, (words, ended.stdout, ended.stderr)
        return ended.stdout + ended.stderr

    config.server = server
    return config


def test_rotation_says_what_it_had_to_leave(launch, tmp_path):
    keys = tmp_path / "keys"
    keys.mkdir()

    def put(name, digits):
        (keys / f"{name}.key").write_text(digits * 32)
        (keys / f"{name}.key").chmod(0o600)

    put("spring", "11")
    settings = tmp_path / "appsettings.json"
    settings.write_text(json.dumps({"Encryption": {"KeyPath": str(keys)}}))
    server = launch(arguments=["--config", settings])
    options = ("--server", server.address, "--application", "shop")
    assert run("config", "set", "Password", "--secret", *options, stdin="hidden").returncode == 0
    server.stop()
    (keys / "spring.key").unlink()
    put("summer", "22")
    server.listen = [server.address]
    server.start()
    for rotation in (["--wrapping"], []):
        ended = run("config", "rotate-key", *rotation, *options)
        assert ended.returncode == 1, (rotation, ended.stdout)
        assert "'spring' is missing" in ended.stdout, ended.stdout
        assert "remove no key" in ended.stdout
    put("spring", "11")
    for rotation in (["--wrapping"], []):
        ended = run("config", "rotate-key", *rotation, *options)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert "finished; wrapped with" in ended.stdout


def test_a_schema_comes_back_as_it_was_defined(config, tmp_path):
    first = {
        "closed": True,
        "rules": [
            {"key": "Port", "type": "integer", "minimum": 1, "maximum": 65535, "default": 80},
            {"key": "Large", "type": "integer", "maximum": {"integer_value": "9007199254740993"}},
            {"key": "Share", "type": "number", "minimum": 0.5, "default": 0.75},
            {"key": "Wait", "type": "duration", "minimum": "1s", "default": "90s"},
            {"key": "Url", "type": "string", "format": "uri", "pattern": "^https:"},
            {"key": "Name", "type": "string", "minimum_length": 1, "maximum_length": 9},
            {"key": "Colour", "type": "string", "allowed_values": ["red", "blue"]},
            {"key": "Hosts", "type": "list", "default": ["a", "b"]},
            {"key": "Extra", "type": "object", "default": {"a": 1}},
            {"key": "Debug", "type": "boolean", "default": False, "description": "Says more."},
            {"key": "Password", "type": "string", "sensitive": True},
        ],
    }
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(first))
    config("schema", "define", file)
    got = json.loads(config("schema", "get", "--output", "json"))
    file.write_text(json.dumps(got))
    config("schema", "define", file)
    again = json.loads(config("schema", "get", "--output", "json"))
    assert again["rules"] == got["rules"]
    assert "has to be at most 65535" in config("set", "Port", "70000", code=1)
    assert "9007199254740993" in config("set", "Large", "9007199254740994", code=1)


@pytest.mark.parametrize("value", [{"integer_value": "many"}, {"duration_value": 3}])
def test_a_rule_is_never_dropped_in_silence(config, tmp_path, value):
    file = tmp_path / "schema.json"
    file.write_text(json.dumps({"rules": [{"key": "A", "type": "integer", "minimum": value}]}))
    assert "rules[0].minimum is" in config("schema", "define", file, code=2)


def test_negative_numbers_are_values(config):
    config("set", "Offset", "-5")
    assert json.loads(config("get", "Offset", "--output", "json"))["value"]["integer_value"] == -5
    config("set", "Offset", "-.5")
    assert "has no option '-x'" in config("set", "Offset", "-x", code=2)


def test_large_whole_numbers_keep_every_digit(config, tmp_path):
    config("set", "Large", "9007199254740993")
    said = json.loads(config("get", "Large", "--output", "json"))
    assert said["value"]["integer_value"] == "9007199254740993"
    changes = tmp_path / "changes.json"
    changes.write_text('{"Large": 9007199254740995}')
    assert "9007199254740995 would not be kept to the last digit" in config(
        "batch", changes, code=2
    )
    schema = tmp_path / "schema.json"
    schema.write_text('{"rules": [{"key": "Large", "type": "integer"}]}')
    config("schema", "define", schema)
    changes.write_text('{"Large": "9007199254740995"}')
    config("batch", changes)
    assert "9007199254740995" in config("get", "Large")


def test_a_secret_without_a_schema_is_not_taken_from_the_command_line(config):
    config("set", "Password", "--secret", stdin="first")
    assert "Leave the value away" in config("set", "Password", "second", code=2)
    assert "first" in config("get", "Password", "--reveal")


def test_nothing_on_the_standard_input_is_no_value(config, tmp_path):
    assert "No value came from the standard input" in config("set", "Password", "--secret", code=2)
    empty = tmp_path / "empty"
    empty.write_text("\n")
    assert str(empty) in config("set", "Password", "--file", empty, code=2)
    config("set", "Password", "--string")
    config("set", "Other", "")


def test_a_watch_goes_on_over_a_restart(config):
    server = config.server
    server.listen = [server.address]
    options = ("--server", server.address, "--application", "shop")
    config("set", "A", "1")
    with Lines("config", "watch", *options) as watch:
        assert watch.next().endswith("1 settings")
        assert " A = 1 " in watch.next()
        server.kill()
        server.start()
        config("set", "A", "2")
        assert " A = 2 " in watch.next()
        watch.process.send_signal(signal.SIGINT)
        assert watch.process.wait(15) == 0
        assert "Going on as soon as the server is back" in watch.process.stderr.read()


def test_a_watch_without_a_server_fails_at_once(config, launch):
    gone = launch()
    gone.stop()
    for words in (
        ["config", "watch", "--application", "shop"],
        ["audit", "tail"],
        ["events", "tail"],
        ["flags", "watch"],
    ):
        ended = run(*words, "--server", gone.address)
        assert ended.returncode == 1
        assert "Cannot reach Keelson" in ended.stderr


def test_a_watch_resumes_above_layers(launch, tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "appsettings.json").write_text('{"Port": 8080}')
    settings = tmp_path / "appsettings.json"
    settings.write_text(json.dumps({"Applications": {"shop": {"Folder": str(folder)}}}))
    server = launch(arguments=["--config", settings])
    options = ("--server", server.address, "--application", "shop")
    assert run("config", "set", "A", "1", *options).returncode == 0
    with Lines("config", "watch", *options, "--output", "json") as watch:
        seen = json.loads(watch.next())
    assert run("config", "set", "A", "2", *options).returncode == 0
    with Lines(
        "config", "watch", *options,
        "--resume", seen["revision"], "--resume-layers", seen["layers"],
    ) as watch:  # fmt: skip
        assert " A = 2 " in watch.next()
    with Lines("config", "watch", *options, "--resume", seen["revision"]) as watch:
        assert f"2 settings, layers {seen['layers']}" in watch.next()
    ended = run("config", "watch", *options, "--resume-layers", "x")
    assert ended.returncode == 2 and "needs --resume" in ended.stderr
