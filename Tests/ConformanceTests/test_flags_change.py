"""Updating with masks and etags, toggling, archiving, restoring, and the history of it all."""

import concurrent.futures

import grpc
import pytest

from client import flag, flags, invalid, plain, refused, struct, value

Code = grpc.StatusCode


def changed(key, **more):
    """A flag that differs from `client.create(key)` in every field that can change."""
    other = flag(
        key,
        variants={"on": True, "off": False, "also": True},
        default="also",
        description="changed",
        owner="changed",
        tags=["changed"],
        metadata={"changed": True},
        targeting={"if": [True, "also"]},
        enabled=False,
        **more,
    )
    other.expire_time.FromJsonString("2030-01-01T00:00:00Z")
    other.environments["staging"].enabled = True
    return other


SIMPLE_PATHS = ["description", "variants", "owner", "tags", "expire_time", "metadata"]


def without(message, *names):
    """A copy without some fields and those that every change changes."""
    copy = type(message)()
    copy.CopyFrom(message)
    for name in (*names, "etag", "revision", "update_time"):
        copy.ClearField(name)
    return copy


@pytest.mark.parametrize("path", SIMPLE_PATHS + ["environments"])
def test_update_changes_only_what_the_mask_names(client, key, path):
    before = client.create(key, description="old", owner="old", tags=["old"])
    wanted = changed(key)
    if path == "environments":
        wanted.environments["production"].default_variant = "on"
        wanted.environments["production"].targeting = '{"if": [true, "on"]}'
    after = client.update(wanted, path)
    assert without(after, path) == without(before, path)
    if path in ("variants", "environments"):
        assert dict(getattr(after, path)) == dict(getattr(wanted, path))
    else:
        assert getattr(after, path) == getattr(wanted, path)
    assert after.revision > before.revision
    assert after.etag != before.etag
    assert after.update_time.ToNanoseconds() >= before.update_time.ToNanoseconds()
    assert client.get(key) == after


@pytest.mark.parametrize("part", ["enabled", "default_variant", "targeting"])
def test_update_changes_one_part_of_one_environment(client, key, part):
    before = client.create(key, targeting={"if": [False, "on"]})
    wanted = changed(key)
    wanted.environments["production"].default_variant = "on"
    wanted.environments["production"].targeting = '{"if": [true, "on"]}'
    after = client.update(wanted, f"environments.production.{part}")
    expected = flags.FlagState()
    expected.CopyFrom(before.environments["production"])
    setattr(expected, part, getattr(wanted.environments["production"], part))
    assert after.environments["production"] == expected
    assert list(after.environments) == ["production"]
    assert without(after, "environments") == without(before, "environments")


def test_update_makes_an_environment_that_was_not_there(client, key):
    before = client.create(key)
    wanted = flags.Flag(key=key)
    wanted.environments["staging"].default_variant = "on"
    wanted.environments["staging"].enabled = True
    after = client.update(
        wanted, "environments.staging.enabled", "environments.staging.default_variant"
    )
    assert after.environments["staging"] == wanted.environments["staging"]
    assert after.environments["production"] == before.environments["production"]
    assert client.evaluate(key, environment="staging").variant == "on"


def test_update_of_several_paths_is_one_change(client, key):
    before = client.create(key)
    after = client.update(changed(key), "description", "tags", "owner")
    assert (after.description, list(after.tags), after.owner) == ("changed", ["changed"], "changed")
    entries = client.history(key).entries
    assert [entry.revision for entry in entries] == [after.revision, before.revision]


def test_update_with_star_replaces_everything_that_can_change(client, key):
    before = client.create(key, description="old", owner="old", tags=["old"])
    wanted = changed(key)
    after = client.update(wanted, "*")
    for name in ("description", "owner", "tags", "expire_time", "metadata"):
        assert getattr(after, name) == getattr(wanted, name)
    assert dict(after.variants) == dict(wanted.variants)
    assert dict(after.environments) == dict(wanted.environments)
    assert (after.key, after.type, after.create_time) == (key, before.type, before.create_time)


def test_update_clears_masked_fields_that_are_unset(client, key):
    client.flags.CreateFlag(flags.CreateFlagRequest(flag=changed(key)))
    after = client.update(
        flags.Flag(key=key), "description", "owner", "tags", "expire_time", "metadata"
    )
    assert (after.description, after.owner, list(after.tags)) == ("", "", [])
    assert not after.HasField("expire_time")
    assert plain(after.metadata) == {}


@pytest.mark.parametrize(
    "path",
    [
        "colour",
        "key",
        "flag_set",
        "type",
        "revision",
        "etag",
        "create_time",
        "archive_time",
        "description.length",
        "environments.production.colour",
        "environments.production.enabled.x",
        "",
        "environments.",
        "Description",
    ],
)
def test_update_with_an_unknown_path_is_invalid_and_names_it(client, key, path):
    before = client.create(key)
    error = invalid(client.update, changed(key), "description", path, field="update_mask")
    assert path in str(error.details()) + str(error.trailing_metadata())
    assert client.get(key) == before


def test_update_without_a_mask_is_invalid(client, key):
    client.create(key)
    invalid(client.update, changed(key), field="update_mask")
    invalid(client.flags.UpdateFlag, flags.UpdateFlagRequest(flag=changed(key)), field="mask")


def test_update_that_breaks_the_flag_is_invalid_and_changes_nothing(client, key):
    before = client.create(key, variants={"a": "x", "b": "y"}, default="a")
    no_default = flags.Flag(key=key)
    no_default.variants["b"].CopyFrom(value("y"))
    refused(client.update, no_default, "variants", code=Code.INVALID_ARGUMENT)
    other_type = flags.Flag(key=key)
    other_type.variants["a"].CopyFrom(value(1))
    invalid(client.update, other_type, "variants", field="variants")
    refused(client.set_targeting, key, {"bogus": []}, code=Code.INVALID_ARGUMENT)
    assert client.get(key) == before
    assert len(client.history(key).entries) == 1


def test_stale_etag_is_aborted(client, key):
    first = client.create(key)
    second = client.toggle(key, False, etag=first.etag)
    stale = changed(key, etag=first.etag)
    for call in (
        lambda: client.update(stale, "description"),
        lambda: client.toggle(key, True, etag=first.etag),
        lambda: client.flags.ArchiveFlag(flags.ArchiveFlagRequest(key=key, etag=first.etag)),
        lambda: client.flags.RestoreFlag(flags.RestoreFlagRequest(key=key, etag=first.etag)),
        lambda: client.toggle(key, True, etag="nonsense"),
    ):
        refused(call, code=Code.ABORTED)
    assert client.get(key) == second


def test_current_etag_is_accepted(client, key):
    current = client.create(key)
    current = client.update(changed(key, etag=current.etag), "description")
    current = client.toggle(key, False, etag=current.etag)
    current = client.flags.ArchiveFlag(flags.ArchiveFlagRequest(key=key, etag=current.etag))
    current = client.flags.RestoreFlag(flags.RestoreFlagRequest(key=key, etag=current.etag))
    assert current.description == "changed"


def test_toggle_to_what_it_is_changes_nothing(client, key):
    made = client.create(key, enabled=True)
    assert client.toggle(key, True) == made
    off = client.toggle(key, False)
    assert off.revision > made.revision
    assert not off.environments["production"].enabled
    assert client.toggle(key, False) == off
    assert len(client.history(key).entries) == 2


def test_toggle_touches_one_environment(client, key):
    client.create(key, enabled=True)
    after = client.toggle(key, True, environment="staging")
    assert after.environments["staging"].enabled
    after = client.toggle(key, False, environment="production")
    assert after.environments["staging"].enabled
    assert not after.environments["production"].enabled


def test_empty_environment_is_the_servers_own(client, key):
    client.create(key, enabled=False)
    assert client.toggle(key, True).environments["production"].enabled
    assert client.evaluate(key).variant == client.evaluate(key, environment="production").variant


def test_archived_flag_is_as_if_it_were_not_there_until_restored(client, key):
    before = client.create(key, targeting={"if": [True, "on"]})
    archived = client.flags.ArchiveFlag(flags.ArchiveFlagRequest(key=key))
    assert archived.HasField("archive_time")
    assert archived.revision > before.revision
    refused(client.evaluate, key, code=Code.NOT_FOUND)
    many = client.flags.EvaluateFlags(flags.EvaluateFlagsRequest(keys=[key]))
    assert many.evaluations[0].error_code == "FLAG_NOT_FOUND"
    everything = client.flags.EvaluateFlags(flags.EvaluateFlagsRequest())
    assert key not in [each.key for each in everything.evaluations]

    restored = client.flags.RestoreFlag(flags.RestoreFlagRequest(key=key))
    assert not restored.HasField("archive_time")
    assert without(restored) == without(before)
    assert client.evaluate(key).variant == "on"


def test_history_is_newest_first_with_the_flag_after_each_change(client, key):
    made = client.create(key)
    states = [
        ("created", made),
        ("updated", client.update(changed(key), "description")),
        ("toggled", client.toggle(key, False)),
        ("targeting_updated", client.set_targeting(key, {"if": [True, "on"]})),
        ("archived", client.flags.ArchiveFlag(flags.ArchiveFlagRequest(key=key))),
        ("restored", client.flags.RestoreFlag(flags.RestoreFlagRequest(key=key))),
    ]
    answer = client.history(key)
    assert not answer.next_page_token
    assert [entry.action for entry in answer.entries] == [name for name, _ in reversed(states)]
    for entry, (_, after) in zip(answer.entries, reversed(states), strict=True):
        assert entry.flag == after
        assert entry.revision == after.revision
        assert entry.time == after.update_time
        assert entry.actor
        assert entry.correlation_id


def test_history_pages_are_stable_under_new_changes(client, key):
    client.create(key)
    for round in range(6):
        client.toggle(key, round % 2 == 1)
    whole = [entry.revision for entry in client.history(key).entries]
    first = client.history(key, page_size=3)
    client.toggle(key, False)
    found, token = [entry.revision for entry in first.entries], first.next_page_token
    while token:
        page = client.history(key, page_size=3, page_token=token)
        found += [entry.revision for entry in page.entries]
        token = page.next_page_token
    assert found == whole
    refused(client.history, key, page_token="nonsense", code=Code.INVALID_ARGUMENT)


def test_history_keeps_the_correlation_id_of_the_call(client, key):
    client.flags.CreateFlag(
        flags.CreateFlagRequest(flag=flag(key)), metadata=[("x-correlation-id", f"id-of-{key}")]
    )
    assert client.history(key).entries[0].correlation_id == f"id-of-{key}"


def test_history_of_one_flag_has_no_other(client, key):
    client.create(key)
    client.create(f"{key}.other")
    client.create(f"{key}/x")
    assert [entry.flag.key for entry in client.history(key).entries] == [key]


def test_failed_changes_leave_no_history(client, key):
    made = client.create(key)
    refused(client.toggle, key, False, etag="stale", code=Code.ABORTED)
    refused(client.update, changed(key), "nothing", code=Code.INVALID_ARGUMENT)
    assert [entry.revision for entry in client.history(key).entries] == [made.revision]


def test_same_flag_changed_from_many_threads_loses_nothing(client, connect, key):
    """Read, change, write back with the etag, again when ABORTED: every increment counts."""
    client.create(key, metadata={"count": 0})

    def increment(connection):
        done = 0
        while done < 10:
            current = connection.get(key)
            count = plain(current.metadata)["count"]
            wanted = flags.Flag(key=key, etag=current.etag, metadata=struct({"count": count + 1}))
            try:
                connection.update(wanted, "metadata")
                done += 1
            except grpc.RpcError as error:
                assert error.code() == Code.ABORTED, error.details()

    connections = [connect() for _ in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for each in [pool.submit(increment, connection) for connection in connections]:
            each.result(60)
    assert plain(client.get(key).metadata) == {"count": 40}
    assert len(client.history(key).entries) == 41
