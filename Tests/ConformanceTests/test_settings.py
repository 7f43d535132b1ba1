"""The server's own settings: layers, every error at once, reload, and secrets that never show."""

import contextlib
import json
import os
import signal
import subprocess

import pytest

from server import BINARY, run


@pytest.fixture
def folder(tmp_path):
    """A folder for a configuration."""
    made = tmp_path / "configuration"
    made.mkdir()
    return made


def write(folder, name, value):
    """Puts a file in its place in one step."""
    text = value if isinstance(value, str) else json.dumps(value)
    draft = folder / f".{name}.draft"
    draft.write_text(text)
    draft.chmod(0o600)
    draft.rename(folder / name)
    return folder / name


def check(folder, *arguments, code=0, **environment):
    ended = run("config", "check", "--config", folder, *arguments, environment=environment)
    assert ended.returncode == code, (ended.returncode, ended.stdout, ended.stderr)
    return ended.stdout


class Serving:
    """A server whose log is read line by line."""

    def __init__(self, *arguments, environment=None):
        self.process = subprocess.Popen(
            [str(BINARY), "serve", "--listen", "127.0.0.1:0", *map(str, arguments)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self.lines = []

    def until(self, words):
        """The next log line with these words; fails when the server ends before."""
        for line in self.process.stderr:
            self.lines.append(line)
            if words in line:
                return json.loads(line)
        raise AssertionError(f"ended without saying {words!r}: {''.join(self.lines)[-3000:]}")

    def hang_up(self):
        self.process.send_signal(signal.SIGHUP)

    def stop(self):
        self.process.terminate()
        self.lines += self.process.stderr.readlines()
        assert self.process.wait(30) == 0
        return "".join(self.lines)


@contextlib.contextmanager
def serving(*arguments, environment=None):
    server = Serving(*arguments, environment=environment)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait(10)


BROKEN = {
    "Loops": 0,
    "Lissten": ["127.0.0.1:0"],
    "Limits": {"connections": "many", "preface-timeout": "5s"},
    "Tls": {"KeyFile": "x"},
}
SAID = [
    "Loops: has to be at least 1; 0 is less",
    "Lissten: is no setting of Keelson's (did you mean 'Listen'?)",
    "Limits:connections: has to be a whole number",
    "Tls:KeyFile: needs Tls:CertificateFile (--tls-certificate) as well",
]


def test_check_tells_every_error_at_once(folder):
    file = write(folder, "appsettings.json", BROKEN)
    said = check(folder, code=1)
    assert "The configuration has 4 errors:" in said
    for words in SAID:
        assert f"{file}: {words}" in said
    errors = json.loads(check(folder, "--output", "json", code=1))["errors"]
    assert {(error["key"], error["rule"]) for error in errors} == {
        ("Loops", "minimum"),
        ("Lissten", "known-key"),
        ("Limits:connections", "type"),
        ("Tls:KeyFile", "required"),
    }


def test_serve_refuses_with_the_same_list(folder, tmp_path):
    write(folder, "appsettings.json", BROKEN)
    data = tmp_path / "data"
    ended = run("serve", "--config", folder, "--data", data)
    assert ended.returncode == 1
    for words in SAID:
        assert words in ended.stderr
    assert "'keelson config check'" in ended.stderr
    assert not data.exists(), "the data was touched"


def test_a_syntax_error_is_told_with_its_line(folder):
    write(folder, "appsettings.json", '{\n  "Loops": 2,\n  "Data" "x"\n}')
    assert "':' should stand here (line 3, column 10) [syntax]" in check(folder, code=1)


def test_an_environment_of_its_own_is_checked(folder):
    write(folder, "appsettings.json", {"Loops": 2})
    write(folder, "appsettings.Production.json", {"Loops": 3, "Environment": "other"})
    assert "The configuration is good." in check(folder)
    shown = json.loads(
        check(folder, "--environment", "production", "--show", "--output", "json")
    )
    assert shown["environment_source"] == "--environment"
    rows = {row["key"]: row for row in shown["settings"]}
    assert rows["Loops"]["value"] == "3"
    assert rows["Loops"]["layer"] == "environment-file"
    assert rows["Loops"]["source"].endswith("appsettings.Production.json")
    assert rows["Environment"]["value"] == "production"
    assert rows["Data"]["layer"] == "defaults"


def test_each_layer_is_named(folder):
    write(folder, "appsettings.json", {"Loops": 2, "Data": "/a"})
    shown = json.loads(
        check(
            folder,
            "--show",
            "--output",
            "json",
            KEELSON__Data="/b",
            KEELSON_LIMITS="connections=5",
        )
    )
    rows = {row["key"]: (row["value"], row["layer"], row["source"]) for row in shown["settings"]}
    assert rows["Data"] == ("/b", "environment-variables", "KEELSON__Data")
    assert rows["Limits:connections"] == ("5", "environment-variables", "KEELSON_LIMITS")
    assert rows["Loops"][1] == "file"


def test_files_that_settings_name_are_checked(folder):
    write(
        folder,
        "appsettings.json",
        {
            "Tls": {"CertificateFile": "/none.crt", "KeyFile": "/none.key"},
            "Encryption": {"KeyPath": "/none.d"},
        },
    )
    said = check(folder, code=1)
    assert "The TLS certificate file /none.crt cannot be read" in said
    assert "The TLS key file /none.key cannot be read" in said
    assert "The key file /none.d is not there" in said


def test_check_finds_what_serve_would_refuse(folder, tmp_path):
    """Before anything is started, and with the same words."""
    key = tmp_path / "signing.pem"
    key.write_text("garbage")
    write(
        folder,
        "appsettings.json",
        {
            "Audit": {"SigningKeyFile": str(key)},
            "Encryption": {"CurrentKey": "missing"},
            "Data": str(tmp_path / "data"),
        },
    )
    database = "postgres://u:se/hunter2@h:99999/x"
    port = "postgres://u@h:99999/x"
    for settings, words in [
        ({}, ["Audit:SigningKeyFile: The audit signing key", "Encryption:CurrentKey: 'missing'"]),
        ({"KEELSON_DATABASE": port}, ["Database: ", "the port is no number from 1 to 65535"]),
        ({"KEELSON_DATABASE": database}, ["Database: "]),
        ({"KEELSON_DATABASE_OWNER": "postgres://u@h/x"}, ["DatabaseOwner: needs Database"]),
    ]:
        said = check(folder, code=1, **settings)
        ended = run("serve", "--config", folder, environment=settings)
        assert ended.returncode == 1
        for word in words:
            assert word in said, said
            assert word in ended.stderr, ended.stderr
        assert "hunter2" not in said + ended.stderr
    assert not (tmp_path / "data").exists(), "the check has made something"


def test_check_reads_the_keys_beside_the_data(folder, tmp_path):
    keys = tmp_path / "data" / "keys"
    keys.mkdir(parents=True)
    (keys / "spring.key").write_text("11" * 32)
    (keys / "spring.key").chmod(0o600)
    settings = {"Encryption": {"CurrentKey": "spring"}, "Data": str(tmp_path / "data")}
    write(folder, "appsettings.json", settings)
    check(folder)
    settings["Encryption"]["CurrentKey"] = "summer"
    write(folder, "appsettings.json", settings)
    assert "Encryption:CurrentKey" in check(folder, code=1)


def test_every_option_of_serve_is_a_setting():
    rows = json.loads(run("config", "settings", "--output", "json").stdout)
    known = {row["option"] for row in rows} | {"--config", "--limit", "--help"}
    text = run("serve", "--help").stdout
    options = {
        word.strip(",")
        for line in text.splitlines()
        for word in line.split()[:2]
        if word.startswith("--")
    }
    assert len(options) > 10
    assert options <= known, options - known


def kept(address):
    """The events about settings, newest first: the name, and what a reload came to. The last is
    written just after the log has said so: looked for again until it is there."""
    arguments = ("events", "list", "--types", "keelson.configuration.*", "--output", "json")
    for _ in range(50):
        ended = run(*arguments, "--server", address)
        assert ended.returncode == 0, ended.stderr
        events = json.loads(ended.stdout)["events"]
        if len(events) >= 4:
            break
    return [
        (event["type"].rsplit(".", 1)[1], event["data"].get("outcome"))
        for event in events
    ]


def test_a_signal_has_the_settings_read_again(folder, tmp_path):
    write(folder, "appsettings.json", {"Logging": {"Level": "info"}})
    with serving("--config", folder, "--data", tmp_path / "data") as server:
        loaded = server.until("Loaded the settings.")
        assert loaded["fields"]["environment"] == "development"
        assert loaded["fields"]["environment_source"] == "default"
        assert loaded["fields"]["files"] == str(folder / "appsettings.json")
        address = server.until("Serving.")["fields"]["addresses"].removeprefix("on ")
        write(folder, "appsettings.json", {"Logging": {"Level": "loud"}})
        server.hang_up()
        refused = server.until("is not used, the old one stays")
        assert refused["level"] == "error"
        assert refused["fields"]["key"] == "Logging:Level"
        write(folder, "appsettings.json", {"Logging": {"Level": "warning"}, "Loops": 1})
        server.hang_up()
        assert server.until("loaded anew")["fields"]["keys"] == "Logging:Level, Loops"
        assert server.until("need a restart")["fields"]["keys"] == "Loops"
        assert kept(address) == [
            ("ConfigurationReloaded", "applied"),
            ("ConfigurationReloaded", "refused"),
            ("ConfigurationValidated", None),
            ("ConfigurationLoaded", None),
        ]
        trail = run("audit", "list", "--entity-type", "settings", "--server", address).stdout
        assert [line.split()[3:] for line in trail.splitlines()[1:]] == [
            ["settings.reload", "settings", "keelson/development", "success"],
            ["settings.reload", "settings", "keelson/development", "failure"],
            ["settings.validate", "settings", "keelson/development", "success"],
            ["settings.load", "settings", "keelson/development", "success"],
        ]
        # At warning, nothing is said about stopping.
        assert "Draining." not in server.stop()


def test_a_changed_file_is_seen_without_a_signal(folder, tmp_path):
    write(folder, "appsettings.json", {})
    with serving("--config", folder, "--data", tmp_path / "data") as server:
        server.until("Serving.")
        write(folder, "appsettings.json", {"DrainTimeout": "1s"})
        assert server.until("loaded anew")["fields"]["keys"] == "DrainTimeout"
        log = server.stop()
        assert "1.0 seconds" in log


def test_secrets_never_show(folder, tmp_path):
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    write(secrets, "Secrets__Azure__ClientSecret", "marked-secret-1\n")
    write(secrets, "Loops", "marked-secret-2")
    write(secrets, "Unrelated", "marked-secret-3")
    write(folder, "appsettings.json", {"Secrets": {"Files": {"Folder": str(secrets)}}})
    environment = {
        "KEELSON__Encryption__Keys__a": "marked-secret-4",
        "KEELSON__Secrets__Vault__Token": "marked-secret-5",
    }
    for output in ("table", "json"):
        said = check(folder, "--show", "--output", output, code=1, **environment)
        assert "Loops" in said and "***" in said
        assert "marked-secret" not in said
    data = tmp_path / "data"
    ended = run("serve", "--config", folder, "--data", data, environment=environment)
    assert ended.returncode == 1
    assert "Loops" in ended.stderr and "marked-secret" not in ended.stderr + ended.stdout
    # A server that runs with secrets, reloads them and fails to.
    write(secrets, "Loops", "2")
    with serving("--config", folder, "--data", data, "--log-level", "debug") as server:
        server.until("Serving.")
        write(secrets, "Loops", "marked-secret-6")
        assert server.until("not used")["fields"]["key"] == "Loops"
        log = server.stop()
    assert "marked-secret-6" not in log
    for file in data.rglob("*"):
        if file.is_file():
            assert b"marked-secret-6" not in file.read_bytes(), file
