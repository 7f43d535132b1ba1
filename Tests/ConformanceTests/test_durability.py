"""What was acknowledged is never lost: kill -9, full disk, restart."""

import concurrent.futures
import os
import random
import subprocess
import threading

import grpc
import pytest

from client import events, flags, struct
from watching import Fold, read_until, snapshot

Code = grpc.StatusCode
WRITERS = 4


def history_of(client, keys):
    """Every change of the flags: revision to (key, action)."""
    found = {}
    for key in keys:
        token = ""
        while True:
            page = client.history(key, page_size=1000, page_token=token)
            for entry in page.entries:
                assert entry.revision not in found, f"revision {entry.revision} twice"
                found[entry.revision] = (key, entry.action, entry.flag)
            token = page.next_page_token
            if not token:
                break
    return found


def revisions_of_starts(client):
    """What a server says of its own settings when it starts."""
    request = events.ListEventsRequest(page_size=1000, types=["keelson.configuration.*"])
    page = client.events.ListEvents(request)
    assert not page.next_page_token
    return {int(event.attributes["sequence"].ce_string) for event in page.events}


def all_keys(client):
    found, token = [], ""
    while True:
        page = client.flags.ListFlags(
            flags.ListFlagsRequest(page_size=1000, page_token=token, show_archived=True)
        )
        found += [each.key for each in page.flags]
        token = page.next_page_token
        if not token:
            return found


def write_until_cut(server, dial, chance, kill_after):
    """Writes from several threads, kills the server in between; the acknowledged flags."""
    acknowledged = [[] for _ in range(WRITERS)]
    enough = threading.Event()

    def write(number, connection):
        count = 0
        try:
            while True:
                count += 1
                key = f"w{number}-{round_number}-{count // 3:05}"
                if count % 3 == 0:
                    made = connection.create(key, metadata={"writer": number})
                elif count > 3:
                    made = connection.toggle(key, count % 3 == 2)
                else:
                    continue
                acknowledged[number].append(made)
                if sum(map(len, acknowledged)) >= kill_after:
                    enough.set()
        except grpc.RpcError as error:
            assert error.code() in (Code.UNAVAILABLE, Code.CANCELLED), (
                f"{error.code()} {error.details()}"
            )

    round_number = chance.randrange(10**6)
    connections = [dial(server) for _ in range(WRITERS)]
    with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
        writing = [
            pool.submit(write, number, connection) for number, connection in enumerate(connections)
        ]
        assert enough.wait(30), "too few writes were acknowledged in time"
        server.kill()
        for each in writing:
            each.result(30)
    return [made for writer in acknowledged for made in writer]


def test_kill_9_loses_nothing_acknowledged(launch, dial):
    """Several lives of one data folder, each ended by kill -9 amid writes of many threads."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    server = launch()
    resume, fold = 0, Fold()
    acknowledged = {}
    for _ in range(5):
        for made in write_until_cut(server, dial, chance, chance.randrange(20, 400)):
            assert made.revision not in acknowledged, "a revision was given twice"
            acknowledged[made.revision] = made
        server.start()
        client = dial(server)

        keys = all_keys(client)
        history = history_of(client, keys)
        for revision, made in acknowledged.items():
            assert revision in history, f"lost {made.key} at {revision}, seed {seed}"
            assert history[revision][2] == made
        # One flag set: beside its changes there are only the events of the server's starts.
        revisions = sorted(history)
        missing = set(range(revisions[0], revisions[-1] + 1)) - set(revisions)
        assert missing <= revisions_of_starts(client), f"a gap, seed {seed}"
        for key in keys:
            newest = client.history(key, page_size=1).entries[0]
            assert client.get(key) == newest.flag

        # The feed since the life before, without gap or repetition.
        stream = client.watch(resume_revision=resume)
        read_until(stream, fold, revisions[-1])
        stream.cancel()
        if resume:
            assert len(fold.snapshots) == 1, "a snapshot in place of the changes"
            assert fold.changes == [each for each in revisions if each > fold.snapshots[0]]
        assert fold.state() == snapshot(client).state()
        resume = fold.revision


def test_restart_keeps_everything(launch, dial):
    server = launch()
    client = dial(server)
    client.create_set("other", bucketing=flags.BUCKETING_V2, metadata=struct({"a": 1}))
    client.create_segment("s", {"var": "x"})
    client.create("a", targeting={"if": [{"$ref": "s"}, "on", "off"]}, tags=["t"])
    client.toggle("a", False)
    client.toggle("a", True)
    client.create("b", flag_set="other")
    client.create("c")
    client.flags.ArchiveFlag(flags.ArchiveFlagRequest(key="c"))
    current = next(client.watch()).revision

    def everything(client):
        return (
            client.get("a"),
            client.get("b", "other"),
            client.get("c"),
            [entry for entry in client.history("a").entries],
            client.flags.GetSegment(flags.GetSegmentRequest(key="s")),
            client.flags.GetFlagSet(flags.GetFlagSetRequest(key="other")),
            client.evaluate("a", context={"x": True}),
        )

    before, state = everything(client), snapshot(client).state()
    server.stop()
    server.start()
    client = dial(server)
    assert everything(client) == before
    assert snapshot(client).state() == state

    stream = client.watch(resume_revision=current)
    first = next(stream)
    assert first.WhichOneof("event") == "heartbeat"
    changed = client.toggle("a", False, etag=before[0].etag)
    assert changed.revision > current
    assert next(stream).revision == changed.revision
    stream.cancel()


def test_changes_before_a_restart_are_resumed_after_it(launch, dial):
    server = launch()
    client = dial(server)
    client.create("a")
    since = next(client.watch()).revision
    expected = [client.toggle("a", number % 2 == 1).revision for number in range(30)]
    server.stop()
    server.start()
    client = dial(server)
    stream = client.watch(resume_revision=since)
    got = [next(stream) for _ in expected]
    assert [each.revision for each in got] == expected
    assert [each.change.flag.enabled for each in got] == [n % 2 == 1 for n in range(30)]
    stream.cancel()


def test_unfinished_write_is_whole_or_not_at_all(launch, dial):
    """An update of several fields is one change, also when the server dies amid it."""
    server = launch()
    dial(server).create("a", metadata={"n": 0}, description="0")
    for _ in range(3):
        client = dial(server)
        started = threading.Event()

        def write():
            number = int(client.get("a").description)
            try:
                while True:
                    number += 1
                    wanted = flags.Flag(
                        key="a",
                        description=str(number),
                        owner=str(number),
                        metadata=struct({"n": number}),
                    )
                    client.update(wanted, "description", "owner", "metadata")
                    started.set()
            except grpc.RpcError:
                return

        thread = threading.Thread(target=write)
        thread.start()
        assert started.wait(20)
        server.kill()
        thread.join(30)
        server.start()
        found = dial(server).get("a")
        assert found.description == found.owner
        assert int(found.metadata["n"]) == int(found.description)
        client.close()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder):
    """Takes all space that is left; the file that holds it."""
    filler = folder / "filler"
    with filler.open("wb") as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    os.write(file.fileno(), b"\0" * size)
            except OSError:
                pass
    return filler


def test_full_disk_fails_writes_only_and_heals(small_disk, launch, dial):
    server = launch(data=small_disk / "data")
    client = dial(server)
    acknowledged = {}

    def write(key):
        made = client.create(
            key, targeting='{"==":["%s",1]}' % ("x" * 60_000), variants={"true": 1, "false": 0}
        )
        acknowledged[made.key] = made

    for number in range(5):
        write(f"before-{number}")
    watcher = dial(server).watch()
    fold = Fold()
    fold.apply(next(watcher))
    filler = fill(small_disk)

    # Space inside the files may still be reused: go on until it is used up.
    refusal = None
    for number in range(400):
        try:
            write(f"during-{number}")
        except grpc.RpcError as error:
            refusal = error
            break
    assert refusal is not None, "400 large writes on a full disk"
    assert refusal.code() in (Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE), refusal.details()
    assert refusal.details()
    assert str(small_disk) not in refusal.details(), "the server tells its paths"
    for _ in range(10):
        with pytest.raises(grpc.RpcError) as caught:
            write("again")
        assert caught.value.code() in (Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE)

    assert client.get("before-0") == acknowledged["before-0"]
    assert client.evaluate("before-0").variant == "false"
    assert len(client.flags.ListFlags(flags.ListFlagsRequest()).flags) == len(acknowledged)
    assert server.is_running()

    filler.unlink()
    deadline = threading.Event()
    for _ in range(100):
        try:
            write("after")
            break
        except grpc.RpcError as error:
            assert error.code() in (Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE)
            deadline.wait(0.1)
    assert "after" in acknowledged, "writes still fail after space has come back"
    read_until(watcher, fold, acknowledged["after"].revision)
    watcher.cancel()
    assert set(fold.flags) == set(acknowledged)

    server.stop()
    server.start()
    client = dial(server)
    for key, made in acknowledged.items():
        assert client.get(key) == made
    assert len(client.flags.ListFlags(flags.ListFlagsRequest()).flags) == len(acknowledged)
    server.stop()
