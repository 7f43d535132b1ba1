"""WatchFlags: snapshot, changes in order, resuming, slow and many subscribers."""

import concurrent.futures
import random
import threading

import grpc
import pytest

from client import flag, flags, refused, struct
from watching import Fold, arriving, read_until, snapshot

Code = grpc.StatusCode
MIB = 1024 * 1024


@pytest.fixture
def watch(connect):
    """Opens streams and ends them."""
    opened = []

    def watch(flag_set="", environment="", resume_revision=0):
        stream = connect().watch(flag_set, environment, resume_revision)
        opened.append(stream)
        return stream

    yield watch
    for stream in opened:
        stream.cancel()


def test_snapshot_comes_first_with_its_revision(client, flag_set, watch):
    client.create_segment("adult", {">": [{"var": "age"}, 17]}, flag_set=flag_set)
    made = client.create(
        "a",
        flag_set=flag_set,
        targeting={"if": [{"$ref": "adult"}, "on", "off"]},
        metadata={"m": 1},
    )
    client.create("b", flag_set=flag_set, variants={"x": "y"}, enabled=False)
    gone = client.create("c", flag_set=flag_set)
    gone = client.flags.ArchiveFlag(flags.ArchiveFlagRequest(flag_set=flag_set, key="c"))

    first = next(watch(flag_set))
    assert first.WhichOneof("event") == "snapshot"
    assert first.revision >= gone.revision
    found = {each.key: each for each in first.snapshot.flags}
    assert sorted(found) == ["a", "b"]
    rules, state = found["a"], made.environments["production"]
    assert (rules.enabled, rules.default_variant, rules.targeting) == (
        state.enabled,
        state.default_variant,
        state.targeting,
    )
    assert (rules.type, rules.metadata, rules.revision) == (
        made.type,
        made.metadata,
        made.revision,
    )
    assert dict(rules.variants) == dict(made.variants)
    assert not found["b"].enabled
    assert [(each.key, each.condition) for each in first.snapshot.segments] == [
        ("adult", '{">":[{"var":"age"},17]}')
    ]
    assert first.snapshot.flag_set.bucketing in (flags.BUCKETING_V3, flags.BUCKETING_UNSPECIFIED)


def test_snapshot_of_an_empty_set(client, flag_set, watch):
    first = next(watch(flag_set))
    assert first.WhichOneof("event") == "snapshot"
    assert not first.snapshot.flags
    assert not first.snapshot.segments
    assert first.revision > 0


def test_missing_set_is_not_found(client, key):
    refused(client.watch, f"no-{key}", code=Code.NOT_FOUND)


def test_every_kind_of_change_is_delivered_in_order(client, flag_set, watch):
    stream = watch(flag_set)
    fold = Fold()
    fold.apply(next(stream))

    def expect(revision, kind):
        response = next(stream)
        assert response.WhichOneof("event") == "change", response
        assert response.change.WhichOneof("change") == kind
        assert response.revision == revision
        fold.apply(response)
        return getattr(response.change, kind)

    made = client.create("a", flag_set=flag_set)
    rules = expect(made.revision, "flag")
    assert (rules.key, rules.enabled, rules.revision) == ("a", True, made.revision)
    assert not expect(client.toggle("a", False, flag_set=flag_set).revision, "flag").enabled
    segment = client.create_segment("s", {"var": "x"}, flag_set=flag_set)
    assert expect(segment.revision, "segment").condition == '{"var":"x"}'
    targeting = {"if": [{"$ref": "s"}, "on", "off"]}
    changed = client.set_targeting("a", targeting, flag_set=flag_set)
    assert '"$ref"' in expect(changed.revision, "flag").targeting
    changed = client.flags.UpdateSegment(
        flags.UpdateSegmentRequest(
            segment=flags.Segment(flag_set=flag_set, key="s", condition='{"var":"y"}'),
            update_mask={"paths": ["condition"]},
        )
    )
    assert expect(changed.revision, "segment").condition == '{"var":"y"}'
    changed = client.set_targeting("a", "", flag_set=flag_set)
    assert expect(changed.revision, "flag").targeting == ""
    client.flags.DeleteSegment(flags.DeleteSegmentRequest(flag_set=flag_set, key="s"))
    response = next(stream)
    assert response.change.removed_segment == "s"
    fold.apply(response)
    archived = client.flags.ArchiveFlag(flags.ArchiveFlagRequest(flag_set=flag_set, key="a"))
    assert expect(archived.revision, "removed_flag") == "a"
    restored = client.flags.RestoreFlag(flags.RestoreFlagRequest(flag_set=flag_set, key="a"))
    assert expect(restored.revision, "flag").key == "a"
    changed = client.flags.UpdateFlagSet(
        flags.UpdateFlagSetRequest(
            flag_set=flags.FlagSet(
                key=flag_set, bucketing=flags.BUCKETING_V2, metadata=struct({"m": 1})
            ),
            update_mask={"paths": ["bucketing", "metadata"]},
        )
    )
    assert expect(changed.revision, "flag_set").bucketing == flags.BUCKETING_V2
    assert fold.state() == snapshot(client, flag_set).state()


def test_changes_of_other_sets_are_not_delivered(client, flag_set, key, watch):
    stream = watch(flag_set)
    next(stream)
    client.create(key)
    mine = client.create(key, flag_set=flag_set)
    response = next(stream)
    assert response.change.flag.key == key
    assert response.revision == mine.revision


def test_state_is_that_of_the_environment(client, flag_set, watch):
    wanted = flag("a", flag_set=flag_set, default="on")
    wanted.environments["staging"].default_variant = "off"
    client.flags.CreateFlag(flags.CreateFlagRequest(flag=wanted))
    production, staging = watch(flag_set, "production"), watch(flag_set, "staging")
    elsewhere = watch(flag_set, "elsewhere")
    own = next(watch(flag_set)).snapshot.flags[0]
    rules = next(production).snapshot.flags[0]
    assert (rules.enabled, rules.default_variant) == (True, "on")
    assert own == rules
    rules = next(staging).snapshot.flags[0]
    assert (rules.enabled, rules.default_variant) == (False, "off")
    assert not next(elsewhere).snapshot.flags[0].enabled
    changed = client.toggle("a", True, environment="staging", flag_set=flag_set)
    response = next(staging)
    assert (response.revision, response.change.flag.enabled) == (changed.revision, True)


def test_resume_gives_the_changes_since_and_nothing_twice(client, flag_set, watch):
    client.create("a", flag_set=flag_set)
    since = next(watch(flag_set)).revision
    expected = []
    for round in range(20):
        expected.append(client.toggle("a", round % 2 == 1, flag_set=flag_set).revision)
    for start in (0, 7, 19):
        after = since if start == 0 else expected[start - 1]
        stream = watch(flag_set, resume_revision=after)
        got = [next(stream) for _ in expected[start:]]
        assert [each.WhichOneof("event") for each in got] == ["change"] * len(got)
        assert [each.revision for each in got] == expected[start:]
        client_side = got[-1].change.flag
        assert client_side.enabled is True
        live = client.toggle("a", False, flag_set=flag_set)
        assert next(stream).revision == live.revision
        back = client.toggle("a", True, flag_set=flag_set)
        assert next(stream).revision == back.revision
        expected += [live.revision, back.revision]


def test_resume_at_the_current_revision_gives_a_heartbeat_at_once(client, flag_set, connect, watch):
    client.create("a", flag_set=flag_set)
    current = next(watch(flag_set)).revision
    stream = connect().watch(flag_set, resume_revision=current, timeout=5)
    response = next(stream)
    assert response.WhichOneof("event") == "heartbeat"
    assert response.revision == current
    assert response.heartbeat.interval.ToTimedelta().total_seconds() > 0
    changed = client.toggle("a", False, flag_set=flag_set)
    assert next(stream).revision == changed.revision
    stream.cancel()


@pytest.mark.parametrize("revision", [2**40, 2**63 - 1, -1, -(2**63)])
def test_resume_at_an_impossible_revision_is_answered_clearly(client, flag_set, connect, revision):
    made = client.create("a", flag_set=flag_set)
    stream = connect().watch(flag_set, resume_revision=revision, timeout=10)
    try:
        response = next(stream)
    except grpc.RpcError as error:
        assert error.code() in (Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE), error.details()
        return
    assert response.WhichOneof("event") == "snapshot"
    assert made.revision <= response.revision < 2**40
    changed = client.toggle("a", False, flag_set=flag_set)
    assert next(stream).revision == changed.revision
    stream.cancel()


def test_silence_is_broken_by_a_heartbeat(launch, dial):
    """Once and again, and each says within which time the next one comes."""
    server = launch(limits=["watch-heartbeat-interval=500ms"])
    messages = arriving(dial(server).watch(timeout=120))
    first = messages.get(timeout=30)
    assert first.WhichOneof("event") == "snapshot"
    for _ in range(3):
        response = messages.get(timeout=30)
        assert response.WhichOneof("event") == "heartbeat"
        assert response.revision == first.revision
        # A watch may just have been busy when the first interval was over.
        assert response.heartbeat.interval.ToMilliseconds() == 1000


def test_a_stream_that_was_silent_for_the_whole_run_lives(client, quiet_watch):
    """Nothing but heartbeats since the first test, and what happens now still comes."""
    client.create("loud", flag_set="quiet")
    assert quiet_watch.get(timeout=30).WhichOneof("event") == "snapshot"
    while (response := quiet_watch.get(timeout=30)).WhichOneof("event") == "heartbeat":
        assert response.heartbeat.interval.ToTimedelta().total_seconds() == 40
    assert response.change.flag.key == "loud"


def random_change(client, flag_set, chance, keys):
    """Tries one change. Its revision, and whether subscribers to production must hear of it."""
    key = chance.choice(keys)
    kind = chance.randrange(8)
    try:
        if kind == 0:
            changed = client.flags.ArchiveFlag(flags.ArchiveFlagRequest(flag_set=flag_set, key=key))
        elif kind == 1:
            changed = client.flags.RestoreFlag(flags.RestoreFlagRequest(flag_set=flag_set, key=key))
        elif kind == 2:
            changed = client.create_segment(f"s-{key}", {"var": key}, flag_set=flag_set)
        elif kind == 3:
            changed = client.flags.UpdateSegment(
                flags.UpdateSegmentRequest(
                    segment=flags.Segment(
                        flag_set=flag_set,
                        key=f"s-{key}",
                        condition='{"==":[1,%d]}' % chance.randrange(10**9),
                    ),
                    update_mask={"paths": ["condition"]},
                )
            )
        elif kind == 4:
            client.flags.DeleteSegment(
                flags.DeleteSegmentRequest(flag_set=flag_set, key=f"s-{key}")
            )
            return 0, False
        elif kind == 5:
            targeting = {"==": [{"var": "x"}, chance.randrange(10**9)]}
            changed = client.set_targeting(key, targeting, flag_set=flag_set)
        else:
            environment = chance.choice(["production", "production", "staging"])
            changed = client.toggle(key, chance.random() < 0.5, environment, flag_set)
            if environment != "production":
                return changed.revision, False
    except grpc.RpcError as error:
        assert error.code() in (
            Code.NOT_FOUND,
            Code.ALREADY_EXISTS,
            Code.FAILED_PRECONDITION,
            Code.INVALID_ARGUMENT,
        ), f"{error.code()} {error.details()}"
        return 0, False
    # An archived flag changes unheard, and archiving or restoring twice may count or not.
    in_use = isinstance(changed, flags.Segment) or not changed.HasField("archive_time")
    return changed.revision, in_use and kind >= 2


def test_resuming_subscribers_end_with_the_servers_state(client, connect, flag_set):
    """The model test: random changes; watchers that leave and come back at random."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    keys = [f"f{number}" for number in range(8)]
    for key in keys:
        client.create(key, flag_set=flag_set, variants={"true": 1, "false": 0}, default="true")
    last = threading.Event()
    heard = set()

    def change():
        chance = random.Random(seed)
        writer, newest = connect(), 0
        for _ in range(600):
            revision, must_be_heard = random_change(writer, flag_set, chance, keys)
            # Toggling to what it is changes nothing, and has the revision of an older change.
            if must_be_heard and revision > newest:
                heard.add(revision)
            newest = max(newest, revision)
        last.set()
        writer.create("final", flag_set=flag_set)

    def subscribe(number):
        chance = random.Random(seed + number)
        fold, connections = Fold(), 0
        connection = connect()
        while "final" not in fold.flags:
            stream = connection.watch(flag_set, resume_revision=fold.revision)
            connections += 1
            # The last time it stays until the end.
            stay = 10**9 if last.is_set() else chance.randrange(1, 25)
            while stay and "final" not in fold.flags:
                fold.apply(next(stream))
                stay -= 1
            stream.cancel()
        return fold, connections

    with concurrent.futures.ThreadPoolExecutor(7) as pool:
        changing = pool.submit(change)
        subscribers = [pool.submit(subscribe, number) for number in range(1, 7)]
        changing.result(60)
        results = [each.result(60) for each in subscribers]

    expected = snapshot(client, flag_set)
    for fold, connections in results:
        assert fold.state() == expected.state(), f"seed {seed}"
        assert fold.changes == sorted(set(fold.changes)), f"seed {seed}"
    assert sum(connections for _, connections in results) > 20, "nobody ever resumed"
    # Whoever never needed a second snapshot has been told of every change since the first.
    whole = [fold for fold, _ in results if len(fold.snapshots) == 1]
    assert whole, "nobody could ever resume"
    for fold in whole:
        missing = {each for each in heard if each > fold.snapshots[0]} - set(fold.changes)
        assert not missing, f"seed {seed}: never saw {sorted(missing)[:10]}"


def test_every_one_of_200_subscribers_gets_a_change(client, connect, flag_set):
    client.create("a", flag_set=flag_set)
    connections = [connect() for _ in range(10)]
    streams = [connection.watch(flag_set) for connection in connections for _ in range(20)]
    try:
        for stream in streams:
            assert next(stream).WhichOneof("event") == "snapshot"
        for enabled in (False, True, False):
            changed = client.toggle("a", enabled, flag_set=flag_set)
            for stream in streams:
                response = next(stream)
                assert response.revision == changed.revision
                assert response.change.flag.enabled is enabled
    finally:
        for stream in streams:
            stream.cancel()


def test_slow_subscribers_cost_bounded_memory_and_catch_up(private, dial):
    """Subscribers that do not read while the server makes far more than the sockets hold."""
    client = dial(private)
    client.create("a", variants={"true": 1, "false": 0}, default="true")
    slow = [dial(private, options=[("grpc.http2.bdp_probe", 0)]) for _ in range(20)]
    streams = [connection.watch() for connection in slow]
    folds = [Fold() for _ in streams]
    for stream, fold in zip(streams, folds, strict=True):
        fold.apply(next(stream))

    filler = "x" * 16_000
    before = private.resident_bytes()

    def change(number):
        writer = writers[number]
        for round in range(250):
            writer.set_targeting("a", {"==": [f"{number}-{round}-{filler}", {"var": "x"}]})

    writers = [dial(private) for _ in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(change, range(8)))
    # 2,000 changes of 16 kB are 32 MB for one subscriber, and 640 MB for all twenty.
    grown = private.resident_bytes() - before
    assert grown < 160 * MIB, f"grew by {grown // MIB} MiB"

    final = client.create("final").revision
    expected = snapshot(client).state()
    for stream, fold in zip(streams, folds, strict=True):
        read_until(stream, fold, final)
        assert fold.state() == expected
        live = client.toggle("final", False).revision
        read_until(stream, fold, live)
        assert not fold.flags["final"].enabled
        client.toggle("final", True)
        stream.cancel()
