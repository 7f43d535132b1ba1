"""Events: subscriptions that lose and repeat nothing, lists, telemetry, what is kept."""

import concurrent.futures
import json
import random
import threading

import grpc
import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2

import auditing
from attacks import MIB
from client import details, events, flags, invalid, refused
from tls import Certificates
from watching import Fold, arriving

Code = grpc.StatusCode

TOGGLED = "keelson.flags.FeatureFlagToggled"
EVALUATED = "keelson.flags.FeatureFlagEvaluated"
BOTH = [events.EVENT_CLASS_DURABLE, events.EVENT_CLASS_TELEMETRY]


def text(event, name):
    """An attribute that is text; empty when it is not there."""
    return event.attributes[name].ce_string if name in event.attributes else ""


def reason(error):
    """The reason of an error's ErrorInfo, and its metadata."""
    (info,) = details(error, error_details_pb2.ErrorInfo)
    return info.reason, dict(info.metadata)


def next_event(stream):
    """The next message that is no heartbeat."""
    while True:
        response = next(stream)
        if response.WhichOneof("content") != "heartbeat":
            return response


def keep(client, **policy):
    """Sets the retention policy."""
    request = events.UpdateRetentionPolicyRequest(policy=events.RetentionPolicy(**policy))
    request.update_mask.paths.extend(policy)
    return client.events.UpdateRetentionPolicy(request)


def compacted(client, upto):
    """Waits until the events up to a revision are gone."""
    patience = threading.Event()
    for _ in range(400):
        oldest = client.events.GetRetentionPolicy(
            events.GetRetentionPolicyRequest()
        ).oldest_revision
        if oldest > upto:
            return oldest
        patience.wait(0.05)
    raise AssertionError(f"events up to {upto} are still there: the oldest is {oldest}")


# Subscriptions


def test_a_change_is_a_cloud_event(private, dial):
    client = dial(private)
    stream = client.subscribe()
    first = next(stream)
    assert first.WhichOneof("content") == "heartbeat"
    assert first.heartbeat.interval.ToTimedelta().total_seconds() > 0
    trace = "0af7651916cd43dd8448eb211c80319c"
    made, call = client.flags.CreateFlag.with_call(
        flags.CreateFlagRequest(flag=flags.Flag(key="a", description="what nobody else sees")),
        metadata=[
            ("x-correlation-id", "order-17"),
            ("traceparent", f"00-{trace}-b7ad6b7169203331-01"),
        ],
    )
    response = next(stream)
    event = response.event
    assert response.revision == made.revision == first.revision + 1
    assert event.spec_version == "1.0"
    assert event.type == "keelson.flags.FeatureFlagCreated"
    assert event.source == "/keelson/production"
    assert text(event, "subject") == "default/a"
    assert text(event, "sequence") == f"{made.revision:019}"
    assert text(event, "actor") == "anonymous"
    assert text(event, "correlationid") == "order-17"
    assert text(event, "traceparent").split("-")[1] == trace
    assert event.attributes["time"].ce_timestamp == made.update_time
    assert text(event, "datacontenttype") == "application/json"
    assert json.loads(event.text_data) == {"flag_set": "default", "key": "a"}
    assert b"what nobody else sees" not in response.SerializeToString()
    same = client.events.GetEvent(events.GetEventRequest(revision=made.revision))
    assert same == event
    stream.cancel()


def test_source_is_what_the_admin_says(launch, dial):
    server = launch(arguments=["--event-source", "https://keelson.example.org/eu"])
    made = dial(server).create("a")
    event = dial(server).events.GetEvent(events.GetEventRequest(revision=made.revision))
    assert event.source == "https://keelson.example.org/eu"


def test_wishes_that_cannot_be_are_named(client):
    invalid(client.subscribe, "keelson.flags.FeatureFlagTogled", field="types[0]")
    invalid(client.subscribe, EVALUATED, field="types[0]")
    invalid(client.subscribe, subjects=["a*b"], field="subjects[0]")
    invalid(client.subscribe, *["keelson.flags.*"] * 101, field="types")
    invalid(client.subscribe, after_revision=-1, field="after_revision")
    invalid(client.subscribe, classes=[7], field="classes[0]")
    error = refused(client.subscribe, after_revision=10**15, code=Code.OUT_OF_RANGE)
    assert reason(error)[0] == "REVISION_UNKNOWN"
    get = client.events.GetEvent
    refused(get, events.GetEventRequest(revision=10**15), code=Code.NOT_FOUND)
    invalid(get, events.GetEventRequest(), field="revision")


class Reader:
    """Follows events through the lives of a server, and checks that none comes twice."""

    def __init__(self):
        self.position = 0
        self.revisions = []

    def read_until(self, stream, revision):
        while self.position < revision:
            response = next(stream)
            if response.WhichOneof("content") == "event":
                assert response.revision > self.position, "not in order, or twice"
                self.revisions.append(response.revision)
            assert response.revision >= self.position
            self.position = response.revision


def test_kill_9_loses_and_repeats_nothing(launch, dial):
    """Readers that read while others write and the server is killed, and go on in its next life."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    server = launch()
    dial(server).create("a")
    readers = [Reader() for _ in range(4)]
    for _ in range(4):
        client = dial(server)
        goal = chance.randrange(30, 200)
        enough = threading.Event()
        acknowledged = []

        def write(number):
            connection = dial(server)
            try:
                for round in range(10_000):
                    made = connection.toggle("a", (round + number) % 2 == 0)
                    acknowledged.append(made.revision)
                    if len(acknowledged) > goal:
                        enough.set()
            except grpc.RpcError as error:
                assert error.code() in (Code.UNAVAILABLE, Code.CANCELLED), error.details()

        def follow(reader):
            stream = dial(server).subscribe(after_revision=reader.position)
            try:
                reader.read_until(stream, 10**15)
            except grpc.RpcError as error:
                assert error.code() in (Code.UNAVAILABLE, Code.CANCELLED), error.details()

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            work = [pool.submit(write, number) for number in range(2)]
            work += [pool.submit(follow, reader) for reader in readers]
            assert enough.wait(30)
            server.kill()
            for each in work:
                each.result(30)
        server.start()
        client = dial(server)
        last = client.create(f"end-{goal}-{chance.random()}").revision
        assert max(acknowledged) < last, f"an acknowledged change is gone, seed {seed}"
        for reader in readers:
            stream = client.subscribe(after_revision=reader.position)
            reader.read_until(stream, last)
            stream.cancel()
    for reader in readers:
        assert reader.revisions == list(range(1, last + 1)), f"lost or repeated, seed {seed}"


def test_the_stop_of_the_server_says_when_to_come_back(launch, dial):
    server = launch()
    stream = dial(server).subscribe()
    next(stream)
    messages = arriving(stream)
    server.stop()
    error = messages.get(timeout=20)
    assert error.code() == Code.UNAVAILABLE
    assert details(error, error_details_pb2.RetryInfo)
    server.start()


def test_slow_readers_cost_bounded_memory_and_get_everything(launch, dial):
    """Readers that do not read while the server writes far more than is kept in memory."""
    server = launch(limits=["recent-events=256"])
    client = dial(server)
    client.create("a")
    slow = [dial(server, options=[("grpc.http2.bdp_probe", 0)]) for _ in range(40)]
    streams = [connection.subscribe() for connection in slow]
    starts = [next(stream).revision for stream in streams]
    before = server.resident_bytes()

    def write(writer):
        for round in range(750):
            writer.toggle("a", round % 2 == 0)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(write, [dial(server) for _ in range(8)]))
    # Up to 6,000 events of some 400 bytes are 2.4 MB for one reader, and 96 MB for all forty.
    grown = server.resident_bytes() - before
    assert grown < 48 * MIB, f"grew by {grown // MIB} MiB"
    last = client.create("end").revision
    for stream, start in zip(streams, starts, strict=True):
        revisions = []
        while not revisions or revisions[-1] < last:
            revisions.append(next_event(stream).revision)
        assert revisions == list(range(start + 1, last + 1))
        stream.cancel()


def test_subscribers_are_limited(launch, dial):
    server = launch(limits=["event-subscribers=2"])
    client = dial(server)
    streams = [client.subscribe() for _ in range(2)]
    for stream in streams:
        next(stream)
    error = refused(client.subscribe, code=Code.RESOURCE_EXHAUSTED)
    assert details(error, error_details_pb2.RetryInfo)
    for stream in streams:
        stream.cancel()


# Telemetry


def test_telemetry_comes_to_who_asks_for_it(private, dial):
    client = dial(private)
    client.create("a", metadata={"secret": "of the flag"})
    plain = client.subscribe()
    both = client.subscribe("keelson.flags.*", classes=BOTH)
    next(plain)
    next(both)
    client.evaluate("a", targeting_key="anna", context={"email": "anna@example.org"})
    response = next(both)
    assert response.event.type == EVALUATED
    assert text(response.event, "subject") == "default/a"
    told = json.loads(response.event.text_data)
    assert told["variant"] == "off" and told["environment"] == "production"
    assert b"anna" not in response.SerializeToString()
    changed = client.toggle("a", False)
    assert next(both).revision == changed.revision
    assert next(plain).revision == changed.revision
    for stream in (plain, both):
        stream.cancel()


@pytest.mark.waits
def test_health_checks_are_told(private, dial):
    stream = dial(private).subscribe("keelson.health.*", classes=[events.EVENT_CLASS_TELEMETRY])
    found = {}
    while len(found) < 4:
        event = next_event(stream).event
        found[event.type] = json.loads(event.text_data)
    assert found["keelson.health.DatabaseHealthChecked"]["status"] == "healthy"
    cache = found["keelson.health.CacheHealthChecked"]
    assert cache["status"] == "healthy" and cache["details"]["engine"] == "memory"
    jobs = found["keelson.health.BackgroundJobHealthChecked"]
    assert jobs["status"] == "healthy" and jobs["details"]["active"] == 0
    system = found["keelson.health.SystemHealthChecked"]
    assert system["ready"] is True
    assert [each["name"] for each in system["components"]] == ["database", "cache", "jobs"]
    stream.cancel()


def test_telemetry_that_a_reader_is_too_slow_for_is_counted(launch, dial):
    server = launch(limits=["event-telemetry-buffer=20"])
    client = dial(server)
    client.create("a")
    # A reader that grants the least window and reads nothing at first.
    narrow = dial(
        server, options=[("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1)]
    )
    stream = narrow.subscribe(EVALUATED, classes=[events.EVENT_CLASS_TELEMETRY])
    next(stream)
    keys = ["a"] * 1000
    sent = 0
    for _ in range(40):
        client.flags.EvaluateFlags(flags.EvaluateFlagsRequest(keys=keys))
        sent += len(keys)
    received = dropped = 0
    while received + dropped < sent:
        response = next_event(stream)
        if response.WhichOneof("content") == "dropped":
            dropped += response.dropped.count
        else:
            received += 1
    assert received + dropped == sent
    assert dropped > 0
    stream.cancel()


# Lists


def test_list_pages_both_ways_and_by_every_filter(private, dial):
    client = dial(private)
    for number in range(5):
        client.create(f"flag-{number}")
    client.create_set("mobile")
    client.create("x", flag_set="mobile")

    def revisions(**fields):
        found, request = [], events.ListEventsRequest(page_size=3, **fields)
        while True:
            page = client.events.ListEvents(request)
            assert len(page.events) <= 3
            found += [int(text(event, "sequence")) for event in page.events]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    everything = revisions(order_by="revision")
    assert everything == list(range(1, everything[-1] + 1))
    assert revisions() == everything[::-1]
    assert len(revisions(types=["keelson.flags.FeatureFlagCreated"])) == 6
    assert len(revisions(types=["keelson.flags.FeatureFlagSet*"])) == 2
    assert len(revisions(types=["*"])) == len(everything)
    assert len(revisions(subject="default/*")) == 5
    assert len(revisions(subject="mobile/x")) == 1
    assert 1 in revisions(actor="system")
    assert revisions(actor="nobody") == []
    first = client.events.ListEvents(events.ListEventsRequest(page_size=3))
    client.create("later")
    newer = client.events.ListEvents(
        events.ListEventsRequest(page_size=3, page_token=first.previous_page_token)
    )
    assert [text(event, "subject") for event in newer.events] == ["default/later"]
    time = first.events[0].attributes["time"].ce_timestamp
    assert revisions(start_time=time)[-1] == everything[-1]
    assert revisions(end_time=time) == everything[:-1][::-1]
    invalid(
        client.events.ListEvents,
        events.ListEventsRequest(page_token=first.next_page_token, actor="a"),
        field="page_token",
    )
    invalid(client.events.ListEvents, events.ListEventsRequest(order_by="x"), field="order_by")


def test_catalogue(client):
    types = client.events.ListEventTypes(events.ListEventTypesRequest()).event_types
    names = [each.name for each in types]
    assert names == sorted(set(names))
    by_name = {each.name: each for each in types}
    assert getattr(by_name[TOGGLED], "class") == events.EVENT_CLASS_DURABLE
    assert by_name[TOGGLED].description
    telemetry = client.events.ListEventTypes(
        events.ListEventTypesRequest(**{"class": events.EVENT_CLASS_TELEMETRY})
    ).event_types
    assert EVALUATED in {each.name for each in telemetry}
    assert TOGGLED not in {each.name for each in telemetry}


# Retention


def test_old_events_go_and_who_needs_them_is_told(launch, dial):
    server = launch(limits=["event-minimum-age=0ms"])
    client = dial(server)
    client.create("a")
    watched = next(client.watch()).revision
    for number in range(150):
        client.toggle("a", number % 2 == 1)
    policy = keep(client, max_count=100)
    oldest = compacted(client, policy.current_revision - 100)
    assert oldest == policy.current_revision - 99

    error = refused(client.subscribe, after_revision=watched, code=Code.OUT_OF_RANGE)
    assert reason(error) == (
        "REVISION_COMPACTED",
        {"oldest_revision": str(oldest), "requested_revision": str(watched)},
    )
    get = client.events.GetEvent
    gone = refused(get, events.GetEventRequest(revision=oldest - 1), code=Code.OUT_OF_RANGE)
    assert reason(gone)[0] == "REVISION_COMPACTED"
    assert text(get(events.GetEventRequest(revision=oldest)), "sequence") == f"{oldest:019}"
    stream = client.subscribe(from_oldest=True)
    assert next(stream).revision == oldest - 1
    assert next(stream).revision == oldest
    stream.cancel()

    # A watch that resumes from before gets a snapshot, not silence and not an error.
    fold = Fold()
    assert fold.apply(next(client.watch(resume_revision=watched))) == "snapshot"
    assert "a" in fold.flags
    assert len(client.history("a", page_size=1000).entries) == 151, "history is not events"

    # And so it stays after a restart.
    server.stop()
    server.start()
    client = dial(server)
    refused(client.subscribe, after_revision=watched, code=Code.OUT_OF_RANGE)
    # The server tells of its own start as well.
    assert client.create("b").revision > policy.current_revision


def test_events_that_are_kept_too_long_go_when_somebody_asks(launch, dial):
    client = dial(launch(limits=["event-minimum-age=0ms"]))
    compact = client.events.CompactEvents
    # Below what is kept, so that this removes nothing; the server looks again in a minute.
    keep(client, max_count=100)
    assert compact(events.CompactEventsRequest()).removed == 0
    client.create("a")
    for number in range(150):
        client.toggle("a", number % 2 == 1)
    before = client.events.GetRetentionPolicy(events.GetRetentionPolicyRequest())
    answer = compact(events.CompactEventsRequest())
    assert answer.removed == before.current_revision - 100
    assert answer.oldest_revision == before.current_revision - 99
    (entry,) = auditing.listed(client, action="events.compacted")
    assert entry.attributes["removed"] == str(answer.removed)
    kept = client.events.ListEvents(
        events.ListEventsRequest(types=["keelson.events.EventsCompactedByHand"])
    ).events
    assert len(kept) == 1


def test_retention_policy_is_checked_and_audited(private, dial):
    client = dial(private)
    initial = client.events.GetRetentionPolicy(events.GetRetentionPolicyRequest())
    assert initial.max_age.ToTimedelta().days == 30 and initial.max_count == 1_000_000
    changed = keep(client, max_age=duration_pb2.Duration(seconds=86_400))
    assert changed.max_count == initial.max_count
    event = client.events.GetEvent(events.GetEventRequest(revision=changed.current_revision))
    assert event.type == "keelson.events.EventRetentionPolicyUpdated"
    update = client.events.UpdateRetentionPolicy
    stale = events.UpdateRetentionPolicyRequest(
        policy=events.RetentionPolicy(max_count=500, etag=initial.etag)
    )
    stale.update_mask.paths.append("max_count")
    error = refused(update, stale, code=Code.ABORTED)
    assert reason(error) == ("ETAG_MISMATCH", {"etag": changed.etag})
    invalid(keep, client, max_count=5, field="policy.max_count")
    invalid(keep, client, max_age=duration_pb2.Duration(seconds=5), field="policy.max_age")
    invalid(update, events.UpdateRetentionPolicyRequest(), field="policy")


# Who it was


def test_the_certificate_names_the_actor(launch, tmp_path):
    certificates = Certificates(tmp_path / "certs", clients=("spiffe://example.org/checkout",))
    server = launch(arguments=certificates.mutual_options)
    client = certificates.client(server.address, "checkout").ready()
    try:
        made = client.create("a")
        event = client.events.GetEvent(events.GetEventRequest(revision=made.revision))
        assert text(event, "actor") == "spiffe://example.org/checkout"
        listed = client.events.ListEvents(
            events.ListEventsRequest(actor="spiffe://example.org/checkout")
        )
        assert list(listed.events) == [event]
        assert client.history("a").entries[0].actor == "spiffe://example.org/checkout"
    finally:
        client.close()
