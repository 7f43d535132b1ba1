"""The audit trail: recording, queries, the tail and exports."""

import csv
import io
import json
import threading

import grpc
import pytest

from auditing import (
    Outcome,
    audit,
    draft,
    export,
    listed,
    new_id,
    pages,
    record,
    refusal,
    set_policy,
    stub,
    timestamp,
    verify,
)

Code = grpc.StatusCode


@pytest.fixture
def trail(launch, dial):
    """A client of a server whose trail only this test writes."""
    client = dial(launch())
    set_policy(client, audit_reads=False)
    return client


def test_a_recorded_entry_is_read_back(trail):
    made = draft(
        entry_id=new_id(),
        before='{"a": 1, "b": {"c": true}}',
        after='{"a": 2, "b": {"c": true}}',
        category="critical",
        outcome=Outcome.OUTCOME_DENIED,
        correlation_id="abc",
        peer="ipv4:192.0.2.1:5",
        user_agent="shop/1",
        attributes={"order": "17"},
    )
    made.occur_time.seconds = 1_700_000_000
    recorded = record(trail, made)[0]
    assert recorded.entry_id == made.entry_id
    assert not recorded.duplicate
    entry = stub(trail).GetEntry(audit.GetEntryRequest(entry_id=made.entry_id))
    for field in made.DESCRIPTOR.fields:
        if field.name != "subject":
            assert getattr(entry, field.name) == getattr(made, field.name), field.name
    assert entry.sequence == recorded.sequence
    assert entry.hash == recorded.hash and len(entry.hash) == 32
    assert entry.recorder.startswith("anonymous ipv4:127.0.0.1:")
    assert [(c.path, c.before, c.after) for c in entry.changes] == [("/a", "1", "2")]
    assert stub(trail).GetEntry(audit.GetEntryRequest(sequence=entry.sequence)) == entry


def test_each_entry_has_the_hash_of_the_one_before(trail):
    record(trail, *(draft(entity_id=str(number)) for number in range(5)))
    entries = listed(trail)
    assert [e.sequence for e in entries] == list(range(len(entries), 0, -1))
    for newer, older in zip(entries, entries[1:]):
        assert newer.previous_hash == older.hash
        assert newer.time.ToNanoseconds() >= older.time.ToNanoseconds()
    assert entries[-1].previous_hash == bytes(32)
    assert verify(trail).valid


def test_keelsons_own_changes_are_entries(trail):
    trail.create("new-checkout")
    entry = listed(trail, action="flag.created")[0]
    assert (entry.actor, entry.entity_type) == ("anonymous", "flag")
    assert entry.entity_id == "default/new-checkout"
    assert entry.revision > 0 and entry.recorder == ""
    assert json.loads(entry.after)["key"] == "new-checkout"


def test_recording_again_records_nothing_twice(trail):
    drafts = [draft(entry_id=new_id(), entity_id=str(number)) for number in range(3)]
    first = record(trail, *drafts)
    again = record(trail, *drafts)
    assert [e.sequence for e in again] == [e.sequence for e in first]
    assert [e.hash for e in again] == [e.hash for e in first]
    assert all(e.duplicate for e in again)
    assert len(listed(trail, entity_type="thing")) == 3
    # A batch of which one was recorded before is completed.
    more = record(trail, drafts[1], draft(entry_id=new_id(), entity_id="new"))
    assert [e.duplicate for e in more] == [True, False]


def test_an_id_with_other_content_is_refused_and_nothing_recorded(trail):
    taken = draft(entry_id=new_id())
    record(trail, taken)
    taken.entity_id = "another"
    request = audit.RecordEntriesRequest(entries=[draft(entity_id="fresh"), taken])
    error = refusal(Code.ALREADY_EXISTS, stub(trail).RecordEntries, request)
    assert taken.entry_id in error.details()
    assert not listed(trail, entity_id="fresh")
    assert verify(trail).valid


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        (draft(actor=""), "actor"),
        (draft(action=""), "action"),
        (draft(action="Flag Created"), "action"),
        (draft(entity_type=""), "entity_type"),
        (draft(entry_id="17"), "entry_id"),
        (draft(before="{"), "before"),
        (draft(after='"' + "x" * 70_000 + '"'), "after"),
        (draft(outcome=9), "outcome"),
        (draft(attributes={str(n): "" for n in range(33)}), "attributes"),
        (draft(attributes={"a": "x" * 1_025}), "attributes"),
        (draft(actor="x" * 257), "actor"),
    ],
)
def test_a_wrong_entry_is_refused_by_field(trail, entry, field):
    request = audit.RecordEntriesRequest(entries=[draft(), entry])
    error = refusal(Code.INVALID_ARGUMENT, stub(trail).RecordEntries, request)
    assert f"entries[1].{field}" in error.details()


def test_batches_have_a_limit_and_ids_stand_once(trail):
    call = stub(trail).RecordEntries
    refusal(Code.INVALID_ARGUMENT, call, audit.RecordEntriesRequest())
    error = refusal(
        Code.INVALID_ARGUMENT, call, audit.RecordEntriesRequest(entries=[draft()] * 1_001)
    )
    assert "1000" in error.details()
    twice = draft(entry_id=new_id())
    error = refusal(
        Code.INVALID_ARGUMENT, call, audit.RecordEntriesRequest(entries=[twice, twice])
    )
    assert "entries[0]" in error.details()


FILTERS = [
    {"actor": "bob"},
    {"entity_type": "user"},
    {"entity_id": "7"},
    {"entity_type": "order", "entity_id": "7"},
    {"action": "order.deleted"},
    {"action": "order.*"},
    {"outcome": Outcome.OUTCOME_DENIED},
    {"category": "critical"},
    {"correlation_id": "call-3"},
    {"actor": "bob", "action": "order.*"},
    {"actor": "bob", "outcome": Outcome.OUTCOME_DENIED, "category": "critical"},
    {"action": "user.*", "entity_type": "order"},
    {"action": "nothing.*"},
    {"actor": "nobody"},
]


@pytest.fixture(scope="module")
def varied(binary, tmp_path_factory):
    """A trail with entries of many kinds; a server that looks at few of them for a page."""
    from client import Client
    from server import KeelsonServer

    server = KeelsonServer(
        tmp_path_factory.mktemp("varied"), limits=["audit-entries-examined=100"]
    ).start()
    client = Client(server.address).ready()
    set_policy(client, audit_reads=False)
    drafts = []
    for number in range(900):
        kind = ("order", "user", "flag")[number % 3]
        what = ("created", "deleted", "changed", "read")[number // 3 % 4]
        drafts.append(
            draft(
                action=f"{kind}.{what}",
                actor=("anna", "bob", "carl", "dora", "emil")[number % 5],
                entity_type=kind,
                entity_id=str(number % 11),
                outcome=(1, 1, 1, 2, 1, 1, 3)[number % 7],
                category=("change", "access", "critical")[number % 13 % 3],
                correlation_id=f"call-{number // 10}",
            )
        )
    for start in range(0, len(drafts), 300):
        record(client, *drafts[start : start + 300])
    yield client, listed(client)
    client.close()
    server.stop()


def matches(entry, filters):
    for name, wanted in filters.items():
        value = getattr(entry, name)
        if name == "action" and wanted.endswith("*"):
            if not value.startswith(wanted[:-1]):
                return False
        elif value != wanted:
            return False
    return True


@pytest.mark.parametrize("filters", FILTERS, ids=str)
@pytest.mark.parametrize("page_size", [7, 1000])
def test_a_filter_finds_what_matches_and_nothing_else(varied, filters, page_size):
    client, everything = varied
    wanted = [entry for entry in everything if matches(entry, filters)]
    found = []
    for page in pages(client, page_size=page_size, **filters):
        assert len(page) <= page_size
        found += page
    assert [e.sequence for e in found] == [e.sequence for e in wanted]
    assert found == wanted


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_an_export_has_what_matches(varied, filters):
    client, everything = varied
    lines = export(client, **filters).decode().splitlines()
    entries = [json.loads(line) for line in lines[1:-1]]
    wanted = [entry.sequence for entry in everything if matches(entry, filters)]
    assert [entry["sequence"] for entry in entries] == wanted[::-1]
    assert json.loads(lines[-1])["entries"] == len(wanted)
    assert json.loads(lines[0])["filtered"] is True


def test_times_bound_a_list(trail):
    record(trail, draft(entity_id="early"))
    [early] = listed(trail, entity_id="early")
    record(trail, draft(entity_id="late"))
    [late] = listed(trail, entity_id="late")
    if early.time.ToNanoseconds() == late.time.ToNanoseconds():
        pytest.skip("both within one microsecond")
    assert early.sequence not in [e.sequence for e in listed(trail, start_time=late.time)]
    assert late.sequence not in [e.sequence for e in listed(trail, end_time=late.time)]
    assert early.sequence in [e.sequence for e in listed(trail, end_time=late.time)]
    assert not listed(trail, start_time=timestamp(4_000_000_000))
    assert not listed(trail, end_time=timestamp(1_000))


@pytest.mark.parametrize(
    ("filters", "field"),
    [
        ({"action": "flag*"}, "filter.action"),
        ({"action": "*.created"}, "filter.action"),
        ({"outcome": 17}, "filter.outcome"),
        ({"entity_type": "A b"}, "filter.entity_type"),
        ({"actor": "x" * 300}, "filter.actor"),
        (
            {"start_time": timestamp(2_000), "end_time": timestamp(1_000)},
            "filter.end_time",
        ),
    ],
)
def test_a_filter_that_cannot_match_is_refused(trail, filters, field):
    error = refusal(Code.INVALID_ARGUMENT, lambda: listed(trail, **filters))
    assert field in error.details()


def test_page_tokens_belong_to_their_filters(trail):
    record(trail, *(draft(entity_id=str(number)) for number in range(5)))
    call = stub(trail).ListEntries
    first = call(audit.ListEntriesRequest(page_size=2))
    assert first.next_page_token
    foreign = audit.ListEntriesRequest(
        page_token=first.next_page_token, filter=audit.EntryFilter(actor="anna")
    )
    error = refusal(Code.INVALID_ARGUMENT, call, foreign)
    assert "page_token" in error.details()
    for token in ("x", first.next_page_token + "1x", "0." + "9" * 30):
        refusal(Code.INVALID_ARGUMENT, call, audit.ListEntriesRequest(page_token=token))
    refusal(Code.INVALID_ARGUMENT, call, audit.ListEntriesRequest(page_size=-1))


def test_pages_do_not_shift_when_entries_are_recorded(trail):
    record(trail, *(draft(entity_id=str(number)) for number in range(6)))
    call = stub(trail).ListEntries
    first = call(audit.ListEntriesRequest(page_size=3))
    record(trail, *(draft(entity_id="new") for _ in range(4)))
    second = call(audit.ListEntriesRequest(page_size=3, page_token=first.next_page_token))
    assert second.entries[0].sequence == first.entries[-1].sequence - 1


def test_a_users_history_is_what_they_did_and_what_was_done_to_them(trail):
    record(
        trail,
        draft(actor="dora", entity_id="a"),
        draft(actor="emil", entity_type="user", entity_id="dora"),
        draft(actor="emil", entity_id="b"),
    )
    call = stub(trail).ListUserHistory
    history = call(audit.ListUserHistoryRequest(user="dora")).entries
    assert [(e.actor, e.entity_id) for e in history] == [("emil", "dora"), ("dora", "a")]
    refusal(Code.INVALID_ARGUMENT, call, audit.ListUserHistoryRequest())


def test_reading_is_recorded_without_an_echo(launch, dial):
    client = dial(launch())
    listed(client, actor="anna")
    stub(client).GetEntry(audit.GetEntryRequest(sequence=1))
    verify(client)
    export(client)
    stub(client).ListUserHistory(audit.ListUserHistoryRequest(user="anna"))
    tail = stub(client).TailEntries(audit.TailEntriesRequest(), timeout=20)
    assert next(tail).WhichOneof("event") == "heartbeat"
    tail.cancel()
    # Whether this list is in its own answer is a matter of which comes first.
    actions = {e.action for e in listed(client, category="access")}
    for action in (
        "list_entries",
        "get_entry",
        "verify_entries",
        "export_entries",
        "list_user_history",
        "tail_entries",
    ):
        assert f"audit.{action}" in actions, actions
    tails = listed(client, action="audit.tail_entries")
    assert len(tails) == 1, "a tail's own entries are not recorded again"
    set_policy(client, audit_reads=False)
    before = len(listed(client))
    assert len(listed(client)) == before


def test_a_tail_shows_entries_as_they_come(trail):
    tail = stub(trail).TailEntries(
        audit.TailEntriesRequest(filter=audit.EntryFilter(actor="anna")), timeout=30
    )
    assert next(tail).WhichOneof("event") == "heartbeat"
    record(trail, draft(actor="bob"), draft(entity_id="first"), draft(entity_id="second"))
    assert next(tail).entry.entity_id == "first"
    answer = next(tail)
    assert answer.entry.entity_id == "second"
    tail.cancel()
    # Resumed, it goes on where it was.
    record(trail, draft(entity_id="meanwhile"))
    resumed = stub(trail).TailEntries(
        audit.TailEntriesRequest(after_sequence=answer.sequence), timeout=30
    )
    assert next(resumed).WhichOneof("event") == "heartbeat"
    assert next(resumed).entry.entity_id == "meanwhile"
    resumed.cancel()


def test_a_tail_from_the_beginning_has_everything_once(trail):
    stop = threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            record(trail, *(draft(entity_id=f"{number}-{n}") for n in range(20)))
            number += 1

    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    tail = stub(trail).TailEntries(audit.TailEntriesRequest(after_sequence=0), timeout=60)
    sequences = []
    for answer in tail:
        if answer.WhichOneof("event") == "entry":
            sequences.append(answer.entry.sequence)
        if len(sequences) == 3_000:
            break
    tail.cancel()
    stop.set()
    for writer in writers:
        writer.join()
    assert sequences == list(range(1, 3_001))
    assert verify(trail).valid


@pytest.mark.waits
def test_a_silent_tail_has_heartbeats(launch, dial):
    server = launch()
    client = dial(server)
    tail = stub(client).TailEntries(
        audit.TailEntriesRequest(filter=audit.EntryFilter(actor="nobody")), timeout=60
    )
    first = next(tail)
    assert first.heartbeat.interval.seconds == 40
    second = next(tail)
    assert second.WhichOneof("event") == "heartbeat"
    assert second.sequence >= first.sequence
    tail.cancel()


def test_a_stopping_server_ends_tails(launch, dial):
    server = launch()
    client = dial(server)
    tail = stub(client).TailEntries(audit.TailEntriesRequest(), timeout=60)
    next(tail)
    server.terminate()
    assert refusal(Code.UNAVAILABLE, lambda: list(tail))
    assert server.wait() == 0


def test_csv_has_every_column(trail):
    record(trail, draft(entity_id='a "quoted", thing', after='{"text": "two\\nlines"}'))
    text = export(trail, audit.EXPORT_FORMAT_CSV, entity_type="thing").decode()
    [row] = csv.DictReader(io.StringIO(text))
    assert row["entity_id"] == 'a "quoted", thing'
    assert row["after"] == '{"text": "two\\nlines"}'
    assert len(row["hash"]) == len(row["previous_hash"]) == 64


def test_an_exports_range_is_checked(trail):
    call = stub(trail).ExportEntries
    refusal(Code.INVALID_ARGUMENT, call, audit.ExportEntriesRequest(after_sequence=-1))
    refusal(
        Code.INVALID_ARGUMENT,
        call,
        audit.ExportEntriesRequest(after_sequence=5, up_to_sequence=5),
    )
    refusal(Code.INVALID_ARGUMENT, call, audit.ExportEntriesRequest(format=9))


def test_what_is_not_there_is_not_found(trail):
    call = stub(trail).GetEntry
    refusal(Code.NOT_FOUND, call, audit.GetEntryRequest(entry_id=new_id()))
    refusal(Code.NOT_FOUND, call, audit.GetEntryRequest(sequence=10_000))
    refusal(Code.INVALID_ARGUMENT, call, audit.GetEntryRequest(sequence=0))
    refusal(Code.INVALID_ARGUMENT, call, audit.GetEntryRequest(entry_id="x"))
    refusal(Code.INVALID_ARGUMENT, call, audit.GetEntryRequest())


def test_many_callers_at_once_make_one_chain(trail):
    def write(worker):
        for number in range(20):
            record(trail, *(draft(actor=f"w{worker}", entity_id=str(number)) for _ in range(3)))

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = verify(trail)
    assert report.valid
    entries = listed(trail, entity_type="thing")
    assert len(entries) == 480
    # The entries of one call follow one another.
    sequences = sorted(e.sequence for e in entries)
    assert sequences == list(range(sequences[0], sequences[0] + 480))
