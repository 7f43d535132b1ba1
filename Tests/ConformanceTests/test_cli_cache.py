"""`keelson cache`: entries, invalidations, statistics and warm sets."""

import base64
import json
import signal

from server import run
from test_cli_commands import Lines

KEY = "cli:test:thing:1"


def test_entries_are_stored_read_and_deleted(cli, cli_json, fails, binary, server, tmp_path):
    assert "no entry" in fails("cache", "get", KEY)
    cli("cache", "set", KEY, '{"a": 1}', "--ttl", "1h", "--tag", "red", "--jitter", "0")
    sheet = cli("cache", "get", KEY)
    assert '{"a": 1}' in sheet and "red" in sheet and "3600" in sheet
    entry = cli_json("cache", "get", KEY)["entry"]
    assert base64.b64decode(entry["value"]) == b'{"a": 1}'
    assert entry["tags"] == ["red"] and float(entry["ttl"].rstrip("s")) == 3600

    # Bytes come out as they went in.
    data = bytes(range(256))
    file = tmp_path / "value"
    file.write_bytes(data)
    cli("cache", "set", KEY, f"@{file}")
    assert "256 bytes" in cli("cache", "get", KEY)
    cli("cache", "touch", KEY, "--ttl", "2h")
    assert float(cli_json("cache", "get", KEY)["entry"]["ttl"].rstrip("s")) > 7200 * 0.9 - 1
    assert "Deleted" in cli("cache", "delete", KEY)
    assert "no entry" in cli("cache", "delete", KEY)
    assert "no entry" in fails("cache", "touch", KEY)


def test_what_cannot_be_is_said(fails):
    assert "four parts" in fails("cache", "get", "a:b")
    assert "cache-ttl" in fails("cache", "set", KEY, "x", "--ttl", "36500d")
    assert "--ttl takes a time" in fails("cache", "set", KEY, "x", "--ttl", "never", code=2)
    assert "--jitter" in fails("cache", "set", KEY, "x", "--jitter", "2", code=2)
    assert "Say what" in fails("cache", "invalidate", code=2)
    assert "--all" in fails("cache", "invalidate", "--pattern", "*:*", code=2)
    assert "--yes" in fails("cache", "flush", code=2)
    assert "cannot be read" in fails("cache", "set", KEY, "@/nowhere")
    assert "nobody" in fails("cache", "warm-sets", "get", "nobody")


def test_watch_shows_what_becomes_void(cli, server):
    with Lines("cache", "watch", "--server", server.address) as watch:
        watch.until("From invalidation")
        cli("cache", "set", KEY, "1", "--tag", "blue")
        assert KEY in watch.next()
        cli("cache", "invalidate", "--key", KEY, "--tag", "blue", "--pattern", "cli:*")
        assert watch.next().endswith(f"key {KEY}")
        assert watch.next().endswith("tag blue")
        assert watch.next().endswith("pattern cli:*")
        cli("cache", "invalidate", "--pattern", "*", "--all")
        assert watch.next().endswith("pattern *")
        cli("cache", "flush", "--yes", "--reason", "a test")
        assert watch.next().endswith("everything")
        watch.process.send_signal(signal.SIGINT)
        assert watch.process.wait(15) == 0


def test_statistics_are_shown_once_and_again(cli, cli_json, server):
    cli("cache", "set", KEY, "1")
    cli("cache", "get", KEY)
    text = cli("cache", "stats")
    assert "hit ratio" in text and "memory" in text
    before = int(cli_json("cache", "stats", "--hottest", "0")["hits"])
    arguments = ["cache", "top", "--interval", "100ms", "--server", server.address]
    with Lines(*arguments) as top, Lines(*arguments, "--output", "json") as as_json:
        assert "gets " in top.next() and "MiB" in top.next()
        assert int(json.loads(as_json.next())["hits"]) >= before
        cli("cache", "get", KEY)
        while int(json.loads(as_json.next())["hits"]) <= before:
            pass


def test_a_warm_set_lives_its_life(cli, cli_json, fails, tmp_path):
    file = tmp_path / "set.json"
    file.write_text(
        json.dumps(
            {
                "description": "for a test",
                "concurrency": 2,
                "entries": [
                    {"key": "cli:warm:thing:1", "value": {"a": [1]}, "ttl": "1h"},
                    {"key": "cli:warm:thing:2", "text": "as it is", "tags": ["warm"]},
                ],
            }
        )
    )
    assert "for a test" in cli("cache", "warm-sets", "create", "cli-set", file)
    assert "already" in fails("cache", "warm-sets", "create", "cli-set", file)
    assert "cli-set" in cli("cache", "warm-sets", "list")
    assert "cli:warm:thing:2" in cli("cache", "warm-sets", "get", "cli-set")
    assert "2 of 2 loaded" in cli("cache", "warm-sets", "start", "cli-set")
    assert cli_json("cache", "warm-sets", "watch", "cli-set")["state"] == "COMPLETED"
    entry = cli_json("cache", "get", "cli:warm:thing:1")["entry"]
    assert json.loads(base64.b64decode(entry["value"])) == {"a": [1]}
    assert "as it is" in cli("cache", "get", "cli:warm:thing:2")
    (listed,) = cli_json("cache", "warm-sets", "runs", "cli-set")["runs"]
    assert (listed["state"], listed["loaded"]) == ("COMPLETED", 2)
    assert listed["id"] in cli("cache", "warm-sets", "runs")
    again = cli("cache", "warm-sets", "watch", "cli-set", "--run", listed["id"])
    assert "2 of 2 loaded" in again
    assert "no run 'x'" in fails("cache", "warm-sets", "cancel", "cli-set", "--run", "x")

    # What is not named stays.
    file.write_text('{"concurrency": 3, "description": "not this"}')
    arguments = ["--file", file, "--description", "what sells", "--on-start", "true"]
    changed = cli_json("cache", "warm-sets", "update", "cli-set", *arguments)
    assert (changed["description"], changed["concurrency"]) == ("what sells", 3)
    assert changed["on_start"] is True and changed["entry_count"] == 2
    again = ["cache", "warm-sets", "update", "cli-set", "--on-start", "false"]
    assert "current etag" in fails(*again, "--etag", "r0")
    assert "3" in cli(*again, "--etag", changed["etag"])
    assert "Name what to change" in fails("cache", "warm-sets", "update", "cli-set", code=2)
    assert "is 65" in fails("cache", "warm-sets", "update", "cli-set", "--concurrency", "65")
    file.write_text('{"entries": [{"key": "cli:warm:thing:3", "text": ""}]}')
    cli("cache", "warm-sets", "update", "cli-set", "--file", file)
    assert "cli:warm:thing:3" in cli("cache", "warm-sets", "get", "cli-set")
    assert "no warm set 'nobody'" in fails(*again[:3], "nobody", "--concurrency", "1")
    assert "Deleted" in cli("cache", "warm-sets", "delete", "cli-set")

    for content, problem in [
        ("{", "no JSON"),
        ("{}", "no entries"),
        ('{"entries": []}', "no entries"),
        ('{"entrys": []}', "did you mean 'entries'"),
        ('{"entries": [{"key": "a:b:c:d"}]}', 'needs one of "value"'),
        ('{"entries": [{"key": "a:b:c:d", "text": "", "ttl": "soon"}]}', "no time"),
    ]:
        file.write_text(content)
        assert problem in fails("cache", "warm-sets", "create", "other", file)


def test_completions_know_it(cli):
    result = run("completions", "bash")
    assert "'keelson cache warm-sets start'" in result.stdout
