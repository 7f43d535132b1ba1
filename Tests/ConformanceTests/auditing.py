"""What the tests of the audit trail share: a client, drafts, and a database that was tampered
with."""

import contextlib
import sqlite3
import uuid

import grpc
from google.protobuf import timestamp_pb2
from keelson.audit.v1 import audit_pb2 as audit
from keelson.audit.v1 import audit_pb2_grpc as audit_grpc

Outcome = audit.Outcome


def stub(client):
    return audit_grpc.AuditServiceStub(client.channel)


def draft(action="thing.changed", actor="anna", entity_type="thing", entity_id="one", **fields):
    return audit.EntryDraft(
        actor=actor, action=action, entity_type=entity_type, entity_id=entity_id, **fields
    )


def new_id():
    return str(uuid.uuid4())


def record(client, *drafts):
    """What was recorded, in order."""
    request = audit.RecordEntriesRequest(entries=drafts)
    return stub(client).RecordEntries(request, timeout=20).entries


def pages(client, page_size=100, **filters):
    """All entries that match, newest first, page by page."""
    token = ""
    while True:
        answer = stub(client).ListEntries(
            audit.ListEntriesRequest(
                filter=audit.EntryFilter(**filters), page_size=page_size, page_token=token
            ),
            timeout=20,
        )
        yield list(answer.entries)
        token = answer.next_page_token
        if not token:
            return


def listed(client, **filters):
    return [entry for page in pages(client, **filters) for entry in page]


def verify(client, **range_):
    return stub(client).VerifyEntries(audit.VerifyEntriesRequest(**range_), timeout=60)


def export(client, format=audit.EXPORT_FORMAT_NDJSON, after=0, up_to=0, **filters):
    """The exported file's bytes."""
    request = audit.ExportEntriesRequest(
        filter=audit.EntryFilter(**filters),
        format=format,
        after_sequence=after,
        up_to_sequence=up_to,
    )
    return b"".join(piece.data for piece in stub(client).ExportEntries(request, timeout=60))


def set_policy(client, **fields):
    policy = stub(client).GetRetentionPolicy(audit.GetRetentionPolicyRequest())
    for name, value in fields.items():
        if name == "categories":
            policy.categories.clear()
            for category, seconds in value.items():
                policy.categories[category].seconds = seconds
        elif name == "audit_reads":
            policy.audit_reads = value
        else:
            getattr(policy, name).seconds = value
    return stub(client).UpdateRetentionPolicy(audit.UpdateRetentionPolicyRequest(policy=policy))


def timestamp(seconds):
    return timestamp_pb2.Timestamp(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))


@contextlib.contextmanager
def tampering(server):
    """The database file of a stopped server, as somebody has it who may do everything: without
    the triggers that guard the trail."""
    connection = sqlite3.connect(server.data / "keelson.sqlite", isolation_level=None)
    triggers = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit_entries'"
    ).fetchall()
    assert triggers
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    try:
        yield connection
    finally:
        for _, statement in triggers:
            connection.execute(statement)
        connection.close()


def refusal(code, call, *arguments, **options):
    """The error of a call that has to fail with that code."""
    try:
        answer = call(*arguments, **options)
        if hasattr(answer, "__next__"):
            list(answer)
    except grpc.RpcError as error:
        assert error.code() == code, (error.code(), error.details())
        return error
    raise AssertionError(f"not refused with {code}")
