"""`keelson events`: following, finding, and how long events are kept."""

import json
import signal
import subprocess

import pytest

from client import events
from server import BINARY, run
from test_cli_commands import Lines


def test_tail_follows_through_the_lives_of_the_server(launch, dial):
    server = launch()
    # The same address in every life.
    server.listen = [server.address]
    dial(server).create("a")
    arguments = ["events", "tail", "--from-oldest", "--types", "keelson.flags.FeatureFlagC*"]
    with Lines(*arguments, "--server", server.address, "--output", "json") as tail:
        first = json.loads(tail.next())
        assert first["specversion"] == "1.0"
        assert first["type"] == "keelson.flags.FeatureFlagCreated"
        assert first["subject"] == "default/a"
        assert first["data"] == {"flag_set": "default", "key": "a"}
        server.kill()
        server.start()
        made = dial(server).create("b")
        second = json.loads(tail.next())
        assert int(second["sequence"]) == made.revision
        tail.process.send_signal(signal.SIGINT)
        assert tail.process.wait(15) == 0, tail.process.stderr.read()


def test_tail_ends_with_its_reader(private, dial):
    client = dial(private)
    client.create("a")
    tail = subprocess.Popen(
        [str(BINARY), "events", "tail", "--since-revision", "0", "--server", private.address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert " FeatureFlag" in tail.stdout.readline().replace("keelson.flags.", " ")
    tail.stdout.close()
    # The next line has nowhere to go.
    for number in range(100):
        client.toggle("a", number % 2 == 1)
        if tail.poll() is not None:
            break
    tail.wait(15)
    tail.stderr.close()


def test_tail_says_what_cannot_be(fails):
    assert "FeatureFlagToggled" in fails(
        "events", "tail", "--types", "keelson.flags.FeatureFlagTogled"
    )
    assert "has not been reached" in fails("events", "tail", "--since-revision", 10**15)
    assert "--since-revision" in fails(
        "events", "tail", "--since-revision", "1", "--from-oldest", code=2
    )


def test_telemetry_on_request(server, client, key):
    client.create(key)
    with Lines("events", "tail", "--telemetry", "--server", server.address) as tail:
        # Until it is heard, nobody listens.
        while True:
            client.evaluate(key)
            line = tail.arrived.get(timeout=15) if not tail.arrived.empty() else ""
            assert line is not None, tail.process.stderr.read()
            if f"FeatureFlagEvaluated default/{key}" in line:
                assert line.startswith("- ")
                break


def test_list_and_get(cli, cli_json, client, key):
    made = client.create(key)
    table = cli("events", "list", "--subject", f"default/{key}")
    assert "keelson.flags.FeatureFlagCreated" in table and str(made.revision) in table
    answer = cli_json("events", "list", "--subject", f"default/{key}")
    assert [int(each["sequence"]) for each in answer["events"]] == [made.revision]
    sheet = cli("events", "get", made.revision)
    assert f"default/{key}" in sheet and "anonymous" in sheet
    assert cli_json("events", "get", made.revision) == answer["events"][0]
    assert cli("events", "list", "--actor", "nobody").strip() == "No events."
    page = cli_json("events", "list", "--page-size", "1", "--oldest-first")
    assert int(page["events"][0]["sequence"]) == 1
    more = cli_json(
        *("events", "list", "--page-size", "1", "--oldest-first"),
        *("--page-token", page["next_page_token"]),
    )
    assert int(more["events"][0]["sequence"]) == 2
    assert cli_json("events", "list", "--from", "2999-01-01T00:00:00Z")["events"] == []


def test_mistakes(fails):
    assert "no event" in fails("events", "get", 10**15)
    assert "whole number" in fails("events", "get", "x", code=2)
    assert "keelson.flags" in fails("events", "list", "--types", "keelson.flags.FeatureFlagCreate")
    assert "--from takes a time" in fails("events", "list", "--from", "yesterday", code=2)


def test_types(cli, cli_json):
    assert "keelson.flags.FeatureFlagToggled" in cli("events", "types")
    types = cli_json("events", "types")["event_types"]
    assert {"EVENT_CLASS_DURABLE", "EVENT_CLASS_TELEMETRY"} == {each["class"] for each in types}


def test_retention(private, dial):
    def command(*arguments, code=0):
        ended = run("events", "retention", *arguments, "--server", private.address)
        assert ended.returncode == code, (ended.stdout, ended.stderr)
        return ended.stdout + ended.stderr

    assert "30d" in command("get") and "1000000" in command("get")
    changed = command("set", "--max-age", "90m", "--max-count", "none")
    assert "90m" in changed and "none" in changed
    policy = dial(private).events.GetRetentionPolicy(events.GetRetentionPolicyRequest())
    assert policy.max_age.seconds == 5_400 and policy.max_count == 0
    assert f'"etag":"{policy.etag}"' in command("get", "--output", "json")
    assert "changed in between" in command("set", "--max-age", "1d", "--etag", "r0", code=1)
    assert "Say --max-age" in command("set", code=2)
    assert "30d, 12h or 90m" in command("set", "--max-age", "1 day", code=2)
    assert "1 minute" in command("set", "--max-age", "1s", code=1)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_know_it(shell):
    assert "retention" in run("completions", shell).stdout
