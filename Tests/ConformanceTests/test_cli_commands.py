"""The `keelson` command: every client command as a table and as JSON."""

import json
import queue
import subprocess
import threading

import pytest

from client import flags
from server import BINARY, run


def entries(answer, name):
    """The items of a listing, which may come as an array or in a message."""
    return answer[name] if isinstance(answer, dict) else answer


class Lines:
    """The output lines of a command that goes on, as they come."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [str(BINARY), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        self.arrived = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.arrived.put(line.rstrip("\n"))
        self.arrived.put(None)

    def next(self):
        line = self.arrived.get(timeout=15)
        assert line is not None, f"ended: {self.process.stderr.read()}"
        return line

    def until(self, text):
        """The first line from here on that contains the text."""
        while text not in (line := self.next()):
            pass
        return line

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)
        self.process.stdout.close()
        self.process.stderr.close()


# Flags


def test_create(cli, cli_json, client, key):
    assert key in cli("flags", "create", key, "--type", "boolean", "--description", "for a test")
    made = client.get(key)
    assert made.type == flags.FLAG_TYPE_BOOLEAN
    assert made.description == "for a test"
    assert sorted(made.variants) == ["off", "on"]

    answer = cli_json(
        "flags",
        "create",
        f"{key}.s",
        "--type",
        "string",
        "--variant",
        'a="Alpha"',
        "--variant",
        'b="Beta"',
        "--default-variant",
        "a",
        "--enabled",
        "--targeting",
        '{"if":[{"var":"x"},"b",null]}',
    )
    assert answer["key"] == f"{key}.s"
    assert answer["type"] == "FLAG_TYPE_STRING"
    assert answer["variants"] == {"a": "Alpha", "b": "Beta"}
    state = answer["environments"]["production"]
    assert state["enabled"] is True
    assert state["default_variant"] == "a"
    assert json.loads(state["targeting"]) == {"if": [{"var": "x"}, "b", None]}
    assert isinstance(answer["revision"], int)
    assert answer["flag_set"] == "default"
    assert client.evaluate(f"{key}.s").variant == "a"


@pytest.mark.parametrize(
    "type, variants",
    [
        ("number", {"a": 1, "b": 2.5}),
        ("object", {"a": {"x": [1, None]}, "b": {}}),
        ("string", {"a": "x=y", "b": ""}),
        ("boolean", {"yes": True, "no": False}),
    ],
)
def test_create_of_every_type(cli_json, key, type, variants):
    options = []
    for name, value in variants.items():
        options += ["--variant", f"{name}={json.dumps(value)}"]
    answer = cli_json("flags", "create", key, "--type", type, *options)
    assert answer["type"] == f"FLAG_TYPE_{type.upper()}"
    assert answer["variants"] == variants


def test_create_in_an_environment_with_targeting_from_a_file(cli, client, key, tmp_path):
    file = tmp_path / "targeting.json"
    file.write_text('{"if": [true, "on", "off"]}')
    cli(
        "flags",
        "create",
        key,
        "--type",
        "boolean",
        "--environment",
        "staging",
        "--enabled",
        "--default-variant",
        "off",
        "--targeting",
        f"@{file}",
    )
    assert client.evaluate(key, environment="staging").variant == "on"
    assert client.evaluate(key).reason == flags.REASON_DISABLED


def test_get(cli, cli_json, client, key):
    made = client.create(key, description="for a test", tags=["t"], owner="me")
    table = cli("flags", "get", key)
    for word in (key, "for a test", "production", "off"):
        assert word in table
    answer = cli_json("flags", "get", key)
    assert answer["key"] == key
    assert answer["etag"] == made.etag
    assert answer["revision"] == made.revision
    assert answer["tags"] == ["t"]
    assert answer["create_time"].endswith("Z")


def test_list(cli, cli_json, client, flag_set):
    for name in ("a", "b", "c"):
        client.create(name, flag_set=flag_set, tags=["even"] if name == "b" else [])
    table = cli("flags", "list", "--flag-set", flag_set)
    assert len([line for line in table.splitlines() if line]) >= 3
    answer = cli_json("flags", "list", "--flag-set", flag_set)
    assert [each["key"] for each in entries(answer, "flags")] == ["a", "b", "c"]
    answer = cli_json("flags", "list", "--flag-set", flag_set, "--tag", "even")
    assert [each["key"] for each in entries(answer, "flags")] == ["b"]
    answer = cli_json("flags", "list", "--flag-set", flag_set, "--page-size", "2")
    assert [each["key"] for each in entries(answer, "flags")][:2] == ["a", "b"]


def test_list_of_nothing(cli, cli_json, flag_set):
    cli("flags", "list", "--flag-set", flag_set)
    answer = cli_json("flags", "list", "--flag-set", flag_set)
    assert answer in ([], {}) or not answer.get("flags")


def test_update(cli, cli_json, client, key):
    client.create(key)
    cli("flags", "update", key, "--description", "new words")
    assert client.get(key).description == "new words"
    answer = cli_json(
        "flags", "update", key, "--targeting", '{"if":[true,"on"]}', "--default-variant", "on"
    )
    assert answer["description"] == "new words"
    assert json.loads(answer["environments"]["production"]["targeting"]) == {"if": [True, "on"]}
    assert client.evaluate(key).reason == flags.REASON_TARGETING_MATCH
    assert client.get(key).environments["production"].default_variant == "on"


def test_update_clears_with_an_empty_value(cli, cli_json, key):
    cli(
        *("flags", "create", key, "--description", "words", "--owner", "me", "--tag", "t"),
        *("--expires", "2031-01-31T00:00:00Z", "--metadata", '{"a":1}'),
        *("--default-variant", "on", "--targeting", '{"if":[true,"on"]}'),
    )
    named = ("description", "owner", "tag", "expires", "metadata", "default-variant", "targeting")
    fields = {"tag": "tags", "expires": "expire_time"}
    answer = cli_json("flags", "get", key)
    state = answer["environments"]["production"]
    for name in named:
        name = fields.get(name, name.replace("-", "_"))
        assert answer.get(name) or state.get(name), name
    for number, option in enumerate(named):
        answer = cli_json("flags", "update", key, f"--{option}", "")
        state = answer["environments"].get("production", {})
        for index, name in enumerate(named):
            name = fields.get(name, name.replace("-", "_"))
            is_set = bool(answer.get(name) or state.get(name))
            assert is_set == (index > number), (option, name)


def test_flag_set_metadata_is_cleared_with_an_empty_value(cli_json, key):
    assert cli_json("flag-sets", "create", key, "--metadata", '{"a":1}')["metadata"] == {"a": 1}
    assert not cli_json("flag-sets", "update", key, "--metadata", "").get("metadata")


def test_toggle(cli, cli_json, client, key):
    client.create(key, enabled=True)
    cli("flags", "toggle", key, "--off")
    assert client.evaluate(key).reason == flags.REASON_DISABLED
    answer = cli_json("flags", "toggle", key, "--on")
    assert answer["environments"]["production"]["enabled"] is True
    cli("flags", "toggle", key, "--on", "--environment", "staging")
    assert client.get(key).environments["staging"].enabled


def test_toggle_needs_on_or_off(fails, client, key):
    client.create(key)
    fails("flags", "toggle", key, code=2)
    fails("flags", "toggle", key, "--on", "--off", code=2)


def test_archive_and_restore(cli, cli_json, client, key):
    client.create(key)
    cli("flags", "archive", key)
    assert client.get(key).HasField("archive_time")
    cli("flags", "restore", key)
    assert not client.get(key).HasField("archive_time")
    assert "archive_time" in cli_json("flags", "archive", key)
    assert not cli_json("flags", "restore", key).get("archive_time")


def test_history(cli, cli_json, client, key):
    client.create(key)
    client.toggle(key, False)
    table = cli("flags", "history", key)
    assert "created" in table
    assert "toggled" in table
    answer = entries(cli_json("flags", "history", key), "entries")
    assert [each["action"] for each in answer] == ["toggled", "created"]
    assert isinstance(answer[0]["revision"], int)


def test_history_shows_all_or_one_page(cli_json, client, key):
    client.create(key)
    for number in range(104):
        client.toggle(key, number % 2 == 1)
    whole = cli_json("flags", "history", key)
    assert [each["action"] for each in whole["entries"]] == ["toggled"] * 104 + ["created"]
    assert not whole.get("next_page_token")

    page = cli_json("flags", "history", key, "--page-size", "3")
    assert page["entries"] == whole["entries"][:3]
    rest = cli_json("flags", "history", key, "--page-token", page["next_page_token"])
    assert rest["entries"] == whole["entries"][3:]


def test_evaluate(cli, cli_json, client, key):
    client.create(
        key,
        targeting={
            "if": [
                {"==": [{"var": "plan"}, "pro"]},
                "on",
                {"==": [{"var": "targetingKey"}, "ann"]},
                "on",
                None,
            ]
        },
    )
    assert "off" in cli("flags", "evaluate", key)
    table = cli("flags", "evaluate", key, "--context", '{"plan":"pro"}')
    assert "on" in table
    assert "TARGETING_MATCH" in table
    answer = cli_json("flags", "evaluate", key, "--targeting-key", "ann")
    answer = answer.get("evaluation", answer)
    assert answer["variant"] == "on"
    assert answer["value"] is True
    assert answer["reason"] == "REASON_TARGETING_MATCH"


def test_watch(client, server, flag_set):
    client.create("a", flag_set=flag_set)
    command = ("flags", "watch", "--server", server.address, "--flag-set", flag_set)
    with Lines(*command, "--output", "json") as watching:
        first = json.loads(watching.next())
        assert [each["key"] for each in first["snapshot"]["flags"]] == ["a"]
        changed = client.toggle("a", False, flag_set=flag_set)
        second = json.loads(watching.next())
        assert second["revision"] == changed.revision
        assert second["change"]["flag"]["key"] == "a"
        assert not second["change"]["flag"].get("enabled")
    with Lines(*command, "--output", "json", "--resume", first["revision"]) as watching:
        assert json.loads(watching.next())["revision"] == changed.revision
    with Lines(*command) as watching:
        watching.until("a")
        client.create("bright-new-flag", flag_set=flag_set)
        assert "bright-new-flag" in watching.until("bright-new-flag")


# Segments and flag sets


def test_segments(cli, cli_json, client, key):
    condition = '{">=":[{"var":"age"},18]}'
    cli("segments", "create", key, "--condition", condition, "--description", "grown up")
    found = client.flags.GetSegment(flags.GetSegmentRequest(key=key))
    assert found.condition == condition
    assert found.description == "grown up"
    assert key in cli("segments", "get", key)
    assert cli_json("segments", "get", key)["condition"] == condition
    assert key in cli("segments", "list")
    assert key in [each["key"] for each in entries(cli_json("segments", "list"), "segments")]
    cli("segments", "update", key, "--condition", '{"var":"x"}')
    answer = cli_json("segments", "update", key, "--description", "others")
    assert (answer["condition"], answer["description"]) == ('{"var":"x"}', "others")
    cli("segments", "delete", key)
    assert key not in cli("segments", "list")


def test_flag_sets(cli, cli_json, client, key):
    cli("flag-sets", "create", key, "--description", "for tests")
    assert client.flags.GetFlagSet(flags.GetFlagSetRequest(key=key)).description == "for tests"
    assert key in cli("flag-sets", "get", key)
    assert cli_json("flag-sets", "get", key)["key"] == key
    assert "default" in cli("flag-sets", "list")
    found = [each["key"] for each in entries(cli_json("flag-sets", "list"), "flag_sets")]
    assert {"default", key} <= set(found)
    answer = cli_json("flag-sets", "update", key, "--description", "changed")
    assert answer["description"] == "changed"
    cli("flags", "create", "inside", "--type", "boolean", "--flag-set", key)
    assert client.get("inside", key).key == "inside"


# Health and version


def test_health(cli, cli_json, server):
    table = cli("health")
    assert "database" in table
    assert "healthy" in table.lower()
    answer = cli_json("health")
    assert answer["status"] == "STATUS_HEALTHY"
    assert answer["ready"] is True
    assert answer["environment"] == "production"
    assert answer["version"] == server.version
    assert "database" in [each["name"] for each in answer["components"]]


def test_health_watch(server):
    with Lines("health", "--watch", "--server", server.address, "--output", "json") as watching:
        assert json.loads(watching.next())["status"] == "STATUS_HEALTHY"


def test_version(server):
    ended = run("version")
    assert ended.returncode == 0
    assert server.version in ended.stdout


def test_server_address_from_the_environment(server, client, key):
    client.create(key)
    ended = run("flags", "get", key, environment={"KEELSON_SERVER": server.address})
    assert ended.returncode == 0
    assert key in ended.stdout


def test_over_a_unix_socket(launch, tmp_path):
    server = launch(listen=(f"unix:{tmp_path}/k.sock",))
    ended = run("flags", "create", "a", "--type", "boolean", "--server", server.address)
    assert (ended.returncode, ended.stderr) == (0, "")
