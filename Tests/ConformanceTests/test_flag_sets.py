"""Flag sets."""

import grpc
import pytest

from client import flags, invalid, plain, refused, resource, struct

Code = grpc.StatusCode


def get(client, key):
    return client.flags.GetFlagSet(flags.GetFlagSetRequest(key=key))


def update(client, flag_set, *paths):
    request = flags.UpdateFlagSetRequest(flag_set=flag_set)
    request.update_mask.paths.extend(paths)
    return client.flags.UpdateFlagSet(request)


def test_default_set_is_always_there(client):
    assert get(client, "default").key == "default"
    refused(client.create_set, "default", code=Code.ALREADY_EXISTS)


def test_create_and_get(client, key):
    made = client.create_set(
        key, description="for tests", bucketing=flags.BUCKETING_V2, metadata=struct({"a": 1})
    )
    assert (made.key, made.description, made.bucketing) == (key, "for tests", flags.BUCKETING_V2)
    assert plain(made.metadata) == {"a": 1}
    assert made.revision > 0
    assert made.etag
    assert made.create_time == made.update_time
    assert get(client, key) == made


def test_creating_twice_is_already_exists(client, key):
    client.create_set(key)
    error = refused(client.create_set, key, code=Code.ALREADY_EXISTS)
    assert key in resource(error).resource_name


def test_missing_set_is_not_found(client, key):
    for call in (
        lambda: get(client, key),
        lambda: update(client, flags.FlagSet(key=key, description="x"), "description"),
    ):
        assert key in resource(refused(call, code=Code.NOT_FOUND)).resource_name


@pytest.mark.parametrize("bad", ["", "-x", "a b", "ä"])
def test_bad_key_is_invalid(client, bad):
    invalid(client.create_set, bad, field="key")


def test_unknown_bucketing_is_invalid(client, key):
    invalid(client.create_set, key, bucketing=1, field="bucketing")
    invalid(client.create_set, key, bucketing=99, field="bucketing")


def test_list_pages_in_the_order_of_keys(client, key):
    made = [f"{key}-{name}" for name in ("b", "a", "c")]
    for name in made:
        client.create_set(name)
    found, token = [], ""
    while True:
        page = client.flags.ListFlagSets(flags.ListFlagSetsRequest(page_size=2, page_token=token))
        assert len(page.flag_sets) <= 2
        found += [each.key for each in page.flag_sets]
        token = page.next_page_token
        if not token:
            break
    assert found == sorted(set(found))
    assert {"default", *made} <= set(found)
    refused(
        client.flags.ListFlagSets,
        flags.ListFlagSetsRequest(page_token="nonsense"),
        code=Code.INVALID_ARGUMENT,
    )


def test_update_with_mask(client, key):
    before = client.create_set(key, description="old")
    wanted = flags.FlagSet(
        key=key, description="new", bucketing=flags.BUCKETING_V2, metadata=struct({"a": 1})
    )
    after = update(client, wanted, "description")
    assert (after.description, after.bucketing) == ("new", before.bucketing)
    assert plain(after.metadata) == {}
    assert after.revision > before.revision
    assert after.etag != before.etag
    after = update(client, wanted, "metadata", "bucketing")
    assert (plain(after.metadata), after.bucketing) == ({"a": 1}, flags.BUCKETING_V2)
    wanted.description = "newer"
    wanted.bucketing = flags.BUCKETING_V3
    after = update(client, wanted, "*")
    assert (after.description, after.bucketing) == ("newer", flags.BUCKETING_V3)
    assert get(client, key) == after


def test_update_with_a_bad_mask_is_invalid(client, key):
    client.create_set(key)
    wanted = flags.FlagSet(key=key, description="new")
    invalid(update, client, wanted, field="update_mask")
    invalid(update, client, wanted, "colour", field="update_mask")
    invalid(update, client, wanted, "key", field="update_mask")


def test_stale_etag_is_aborted(client, key):
    first = client.create_set(key)
    second = update(client, flags.FlagSet(key=key, description="x", etag=first.etag), "description")
    stale = flags.FlagSet(key=key, description="y", etag=first.etag)
    refused(update, client, stale, "description", code=Code.ABORTED)
    assert get(client, key) == second
