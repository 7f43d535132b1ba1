"""The proof of the audit trail: what was tampered with in the database's file, in exports and in
archives is found, by the server and by `keelson audit verify FILE` without one."""

import csv
import gzip
import io
import json
import sqlite3
import time

import grpc
import pytest
from google.protobuf import timestamp_pb2

from auditing import (
    audit,
    draft,
    export,
    listed,
    record,
    refusal,
    set_policy,
    stub,
    tampering,
    verify,
)
from server import run

Code = grpc.StatusCode


@pytest.fixture
def trail(launch, dial):
    """A server with a trail of its own, and a client of it."""
    server = launch()
    client = dial(server)
    set_policy(client, audit_reads=False)
    record(client, *(draft(entity_id=str(number)) for number in range(10)))
    return server, client


def audit_json(server, *arguments, code=0):
    ended = run("audit", *arguments, "--server", server.address, "--output", "json")
    assert ended.returncode == code, (ended.stdout, ended.stderr)
    return json.loads(ended.stdout)


def check(*arguments, code=0):
    """What `keelson audit verify FILE` says; there is no server where it would look for one."""
    ended = run(
        "audit", "verify", *map(str, arguments), "--output", "json",
        environment={"KEELSON_SERVER": "127.0.0.1:1"},
    )  # fmt: skip
    assert ended.returncode == code, (ended.stdout, ended.stderr)
    return json.loads(ended.stdout)


@pytest.fixture
def kept(trail, tmp_path):
    """What somebody outside keeps: the public key and a signed checkpoint."""
    server, _ = trail
    key, checkpoint = tmp_path / "key.pem", tmp_path / "checkpoint.json"
    key.write_text(run("audit", "keys", "--pem", "--server", server.address).stdout)
    checkpoint.write_text(json.dumps(audit_json(server, "checkpoints", "--sign")))
    return ["--checkpoint", checkpoint, "--public-key", key]


CHANGES = {
    "a changed actor": "UPDATE audit_entries SET actor = 'bob' WHERE sequence = 6",
    "a changed state": "UPDATE audit_entries SET after_state = '{}' WHERE sequence = 6",
    "a changed time": "UPDATE audit_entries SET time = time + 1 WHERE sequence = 6",
    "a deleted entry": "DELETE FROM audit_entries WHERE sequence = 5",
    "a replaced entry": (
        "INSERT OR REPLACE INTO audit_entries SELECT * FROM ("
        "SELECT * FROM audit_entries WHERE sequence = 6)"
    ),
    "two swapped": (
        "UPDATE audit_entries SET sequence = CASE sequence WHEN 6 THEN -7 ELSE -6 END"
        " WHERE sequence IN (6, 7); "
        "UPDATE audit_entries SET sequence = -sequence WHERE sequence < 0"
    ),
    "the tail cut": "DELETE FROM audit_entries WHERE sequence >= 6",
}


@pytest.mark.parametrize("change", [name for name in CHANGES if name != "a replaced entry"])
def test_a_tampered_database_does_not_verify(trail, dial, change):
    server, client = trail
    assert verify(client).valid
    server.stop()
    with tampering(server) as database:
        database.executescript(CHANGES[change])
    server.start()
    report = verify(dial(server))
    assert not report.valid
    assert report.failed_sequence == 6, report.failure
    ended = run("audit", "verify", "--server", server.address)
    assert ended.returncode == 1
    assert "DOES NOT FIT" in ended.stdout


def test_the_database_file_itself_refuses(trail):
    server, _ = trail
    server.stop()
    database = sqlite3.connect(server.data / "keelson.sqlite")
    for name, change in CHANGES.items():
        with pytest.raises(sqlite3.DatabaseError):
            database.executescript(change)
            pytest.fail(f"{name} was let through")
        database.rollback()
    database.close()


@pytest.mark.parametrize("format", ["ndjson", "csv"])
def test_an_export_verifies_without_a_server(trail, tmp_path, kept, format):
    server, client = trail
    file = tmp_path / f"trail.{format}"
    audit_json(server, "list")
    ended = run("audit", "export", "--format", format, "--file", file, "--server", server.address)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    report = check(file, *kept)
    assert report["valid"]
    assert report["entries"] == len(listed(client))
    assert report["checkpoints"] == 1


def ndjson(client):
    return export(client).decode().splitlines(keepends=True)


def rows(client):
    text = export(client, audit.EXPORT_FORMAT_CSV).decode()
    return text.splitlines(keepends=True)


@pytest.mark.parametrize(
    ("change", "sequence"),
    [
        (lambda lines: lines.__setitem__(6, lines[6].replace("anna", "bobo")), 6),
        (lambda lines: lines.pop(5), 6),
        (lambda lines: lines.insert(6, lines.pop(5)), 6),
        (lambda lines: lines.insert(6, lines[6]), 6),
        (lambda lines: lines.__setitem__(6, "damaged\n"), 6),
        (lambda lines: lines.__setitem__(-1, lines[-1][:20]), None),
    ],
    ids=["changed", "deleted", "swapped", "doubled", "damaged", "cut off"],
)
@pytest.mark.parametrize("lines", [ndjson, rows], ids=["ndjson", "csv"])
def test_a_tampered_export_does_not_verify(trail, tmp_path, lines, change, sequence):
    _, client = trail
    changed = lines(client)
    change(changed)
    file = tmp_path / "trail"
    file.write_text("".join(changed))
    report = check(file, code=1)
    assert not report["valid"]
    assert report["failure"]
    if sequence:
        # A doubled line is found where it stands again.
        assert report["failed_sequence"] in (sequence, sequence + 1)


@pytest.mark.parametrize("format", ["ndjson", "csv"])
def test_a_tail_cut_after_a_checkpoint_is_found(trail, tmp_path, kept, format):
    _, client = trail
    short = export(
        client,
        audit.EXPORT_FORMAT_CSV if format == "csv" else audit.EXPORT_FORMAT_NDJSON,
        up_to=8,
    )
    file = tmp_path / "trail"
    file.write_bytes(short)
    assert check(file)["valid"]
    report = check(file, *kept, code=1)
    assert report["failed_sequence"] == 9
    assert "checkpoint" in report["failure"]


def test_a_checkpoint_counts_by_its_signature(trail, tmp_path, kept):
    _, client = trail
    file = tmp_path / "trail"
    file.write_bytes(export(client))
    ended = run("audit", "verify", file, *kept[:2])
    assert ended.returncode == 2 and "--public-key" in ended.stderr
    forged = json.loads(kept[1].read_text())
    forged["signed_text"] = forged["signed_text"].replace("count", "count 1\ncount", 1)
    kept[1].write_text(json.dumps(forged))
    ended = run("audit", "verify", file, *kept)
    assert ended.returncode == 1 and "cannot be used" in ended.stderr
    kept[1].write_text("{}")
    ended = run("audit", "verify", file, *kept)
    assert ended.returncode == 1 and "checkpoints --output json" in ended.stderr


def test_another_file_is_refused_in_words(tmp_path):
    contents = {"empty": b"", "text": b"hello\nworld\n", "gzip": gzip.compress(b"x\n")}
    for name, content in contents.items():
        file = tmp_path / name
        file.write_bytes(content)
        ended = run("audit", "verify", file)
        assert ended.returncode == 1, name
        assert ended.stderr.startswith("keelson: "), name
    ended = run("audit", "verify", tmp_path / "missing")
    assert ended.returncode == 1 and "cannot be read" in ended.stderr


def test_a_filtered_export_says_what_it_proves(trail, tmp_path):
    server, _ = trail
    file = tmp_path / "some.ndjson"
    run("audit", "export", "--entity-id", "3", "--file", file, "--server", server.address)
    # What the file says of itself anybody can have written.
    assert "--filtered" in check(file, code=1)["failure"]
    report = check(file, "--filtered")
    assert report["filtered"] and report["entries"] == 1
    text = run("audit", "verify", file, "--filtered").stdout
    assert "not that none is missing" in text
    csv_file = tmp_path / "some.csv"
    record(trail[1], draft(entity_id="3"))
    run(
        "audit", "export", "--entity-id", "3", "--format", "csv", "--file", csv_file,
        "--server", server.address,
    )  # fmt: skip
    assert not check(csv_file, code=1)["valid"]
    assert check(csv_file, "--filtered")["valid"]


def test_options_that_say_nothing_about_a_file_are_refused(trail, tmp_path, kept):
    server, _ = trail
    file = tmp_path / "all.ndjson"
    run("audit", "export", "--file", file, "--server", server.address)
    for options in (["--from", "3"], ["--to", "3"], kept[2:], ["--manifest", file]):
        ended = run("audit", "verify", file, *options)
        assert ended.returncode == 2 and options[0] in ended.stderr, options
    header = tmp_path / "header.csv"
    run(
        "audit", "export", "--entity-id", "nothing", "--format", "csv", "--file", header,
        "--server", server.address,
    )  # fmt: skip
    assert "no entries" in run("audit", "verify", header).stdout


@pytest.fixture
def archived(trail, tmp_path):
    """An archive fetched from the server, with its manifest, and the server's public key."""
    server, client = trail
    last = listed(client)[0]
    before = timestamp_pb2.Timestamp()
    before.FromNanoseconds(last.time.ToNanoseconds() + 1_000)
    result = stub(client).ArchiveEntries(audit.ArchiveEntriesRequest(before_time=before))
    assert result.archived == last.sequence and result.deleted == 0
    [archive] = result.archives
    file = tmp_path / "archive.ndjson.gz"
    run("audit", "archives", archive.name, "--file", file, "--server", server.address)
    key = tmp_path / "archive-key.pem"
    key.write_text(run("audit", "keys", "--pem", "--server", server.address).stdout)
    return file, ["--public-key", key], archive


def test_an_archive_verifies_without_a_server(archived):
    file, key, archive = archived
    report = check(file, *key)
    assert report["valid"] and report["manifest_signed"]
    assert report["entries"] == archive.entries
    assert not check(file)["manifest_signed"]


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines.__setitem__(6, lines[6].replace(b"anna", b"bobo")),
        lambda lines: lines.pop(5),
        lambda lines: lines.insert(6, lines.pop(5)),
        lambda lines: lines.__delitem__(slice(7, -1)),
    ],
    ids=["changed", "deleted", "swapped", "cut"],
)
def test_a_tampered_archive_does_not_verify(archived, change):
    file, key, _ = archived
    lines = gzip.decompress(file.read_bytes()).splitlines(keepends=True)
    change(lines)
    file.write_bytes(gzip.compress(b"".join(lines)))
    assert not check(file, *key, code=1)["valid"]


def test_an_archive_without_its_manifest_is_no_proof(archived):
    file, key, _ = archived
    file.with_name(file.name + ".manifest.json").unlink()
    report = check(file, *key, code=1)
    assert not report["valid"] and "manifest" in report["failure"]
    # Without a key nobody asked who signed it.
    assert check(file)["valid"]


def test_a_damaged_archive_names_where(archived):
    file, key, _ = archived
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    assert not check(file, *key, code=1)["valid"]
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 4
    file.write_bytes(changed)
    ended = run("audit", "verify", file, *key)
    assert ended.returncode == 1


def test_an_archive_that_was_made_anew_has_no_signature(archived):
    file, key, _ = archived
    # The same entries, compressed again: every hash fits but that of the file.
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()), mtime=1))
    report = check(file, *key, code=1)
    assert "manifest" in report["failure"]


def test_archives_outlive_the_entries(trail, archived, dial):
    server, client = trail
    # Nothing is kept any more: all that is archived goes.
    set_policy(client, default_retention=1, categories={})
    last = archived[2].last_sequence

    def gone():
        stub(client).ArchiveEntries(audit.ArchiveEntriesRequest())
        return not [e for e in listed(client) if e.sequence <= last]

    give_up = time.monotonic() + 60
    while not gone():
        assert time.monotonic() < give_up, "expired entries are not deleted"
        record(client, draft(entity_id="later"))
    report = verify(client)
    assert report.valid and report.archived_sequence >= last
    error = refusal(Code.NOT_FOUND, stub(client).GetEntry, audit.GetEntryRequest(sequence=3))
    assert archived[2].name in error.details()
    refusal(
        Code.OUT_OF_RANGE,
        stub(client).TailEntries,
        audit.TailEntriesRequest(after_sequence=1),
        timeout=20,
    )
    # After a restart the trail goes on where it was.
    server.stop()
    server.start()
    client = dial(server)
    record(client, draft(entity_id="after the restart"))
    assert verify(client).valid


def test_errors_of_archives_and_subjects(trail):
    _, client = trail
    call = stub(client)
    refusal(Code.NOT_FOUND, call.GetArchive, audit.GetArchiveRequest(name="nothing"))
    refusal(Code.NOT_FOUND, call.DownloadArchive, audit.DownloadArchiveRequest(name="nothing"))
    refusal(Code.NOT_FOUND, call.EraseSubject, audit.EraseSubjectRequest(subject="nobody"))
    refusal(Code.INVALID_ARGUMENT, call.EraseSubject, audit.EraseSubjectRequest())
    refusal(Code.NOT_FOUND, call.GetCheckpoint, audit.GetCheckpointRequest(number=99))
    refusal(
        Code.OUT_OF_RANGE, call.VerifyEntries, audit.VerifyEntriesRequest(start_sequence=5_000)
    )
    refusal(
        Code.OUT_OF_RANGE, call.VerifyEntries, audit.VerifyEntriesRequest(end_sequence=5_000)
    )
    refusal(
        Code.INVALID_ARGUMENT,
        call.VerifyEntries,
        audit.VerifyEntriesRequest(start_sequence=5, end_sequence=4),
    )
    refusal(
        Code.OUT_OF_RANGE,
        call.TailEntries,
        audit.TailEntriesRequest(after_sequence=2**63 - 1),
        timeout=20,
    )


def test_a_signing_key_that_is_none_stops_the_start(trail, tmp_path):
    server, _ = trail
    server.stop()
    key = server.data / "audit-signing-key.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    key.write_text("nothing")
    with pytest.raises(AssertionError, match="audit signing key"):
        server.start()
    key.unlink()
    server.start()


def test_a_new_signing_key_does_not_break_old_checkpoints(trail, dial):
    server, client = trail
    old = stub(client).CreateCheckpoint(audit.CreateCheckpointRequest())
    server.stop()
    (server.data / "audit-signing-key.pem").unlink()
    server.start()
    client = dial(server)
    new = stub(client).CreateCheckpoint(audit.CreateCheckpointRequest())
    assert new.key_id != old.key_id
    keys = stub(client).ListSigningKeys(audit.ListSigningKeysRequest()).keys
    assert {key.key_id for key in keys} == {old.key_id, new.key_id}
    # What the old key signed still has to fit, and counts when the server is told to trust it.
    report = verify(client)
    assert report.valid and list(report.untrusted_key_ids) == [old.key_id]
    assert list(report.trusted_key_ids) == [new.key_id]
    counted = report.checkpoints
    server.stop()
    trusted = server.data / "trusted.pem"
    trusted.write_text("".join(key.public_key for key in keys))
    server.more += ["--audit-trusted-keys", str(trusted)]
    server.start()
    report = verify(dial(server))
    assert report.valid and not report.untrusted_key_ids
    assert report.checkpoints > counted
    shown = run("audit", "verify", "--server", server.address).stdout
    assert old.key_id in shown and new.key_id in shown


def test_openssl_checks_a_checkpoint(trail, tmp_path, kept):
    import base64
    import subprocess

    checkpoint = json.loads(kept[1].read_text())
    text, signature = tmp_path / "text", tmp_path / "signature"
    text.write_text(checkpoint["signed_text"])
    signature.write_bytes(base64.b64decode(checkpoint["signature"]))
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", kept[3], "-rawin"]
    command += ["-in", text, "-sigfile", signature]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout


def test_the_command_line_reads_the_trail(trail):
    server, client = trail
    recorded = audit_json(
        server, "record", "order.cancelled", "order", "17", "--actor", "dora",
        "--before", '{"a": 1}', "--after", '{"a": 2}', "--attribute", "reason=late",
        "--outcome", "denied",
    )  # fmt: skip
    sequence = recorded["entries"][0]["sequence"]
    entry = audit_json(server, "get", str(sequence))
    assert entry["actor"] == "dora" and entry["attributes"] == {"reason": "late"}
    assert [c["path"] for c in entry["changes"]] == ["/a"]
    found = audit_json(server, "list", "--actor", "dora", "--outcome", "denied")
    assert [e["sequence"] for e in found["entries"]] == [sequence]
    history = audit_json(server, "history", "dora")
    assert [e["sequence"] for e in history["entries"]] == [sequence]
    assert len(audit_json(server, "list", "--limit", "3")["entries"]) == 3
    plan = audit_json(server, "archive", "--dry-run")
    assert plan["archived"] == 0
    policy = audit_json(server, "retention", "--category", "access=30d", "--default", "forever")
    assert policy["categories"]["access"].startswith("2592000")
    ended = run("audit", "erase", "dora", "--server", server.address)
    assert ended.returncode == 2 and "--yes" in ended.stderr
    ended = run("audit", "list", "--action", "order*", "--server", server.address)
    assert ended.returncode == 1 and "filter.action" in ended.stderr


def test_columns_of_csv_are_those_of_ndjson(trail):
    _, client = trail
    line = json.loads(ndjson(client)[1])
    columns = next(csv.reader(io.StringIO("".join(rows(client)))))
    assert [name for name in columns if name in line] == list(line)
