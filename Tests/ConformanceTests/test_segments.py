"""Segments: named conditions that the targeting of flags refers to."""

import grpc
import pytest
from google.rpc import error_details_pb2

from client import details, flags, invalid, refused, resource

Code = grpc.StatusCode
ADULT = {">=": [{"var": "age"}, 18]}


def referring(segment):
    return {"if": [{"$ref": segment}, "on", "off"]}


def get(client, key, flag_set=""):
    return client.flags.GetSegment(flags.GetSegmentRequest(key=key, flag_set=flag_set))


def update(client, segment, *paths):
    request = flags.UpdateSegmentRequest(segment=segment)
    request.update_mask.paths.extend(paths)
    return client.flags.UpdateSegment(request)


def delete(client, key, flag_set="", etag=""):
    return client.flags.DeleteSegment(
        flags.DeleteSegmentRequest(key=key, flag_set=flag_set, etag=etag)
    )


def test_create_and_get(client, key):
    wanted = flags.Segment(key=key, description="grown up", condition='{ ">=": [{"var":"age"},18]}')
    made = client.flags.CreateSegment(flags.CreateSegmentRequest(segment=wanted))
    assert (made.flag_set, made.key, made.description) == ("default", key, "grown up")
    assert made.condition == wanted.condition
    assert made.revision > 0
    assert made.etag
    assert made.create_time == made.update_time
    assert get(client, key) == made


def test_creating_twice_is_already_exists(client, key):
    client.create_segment(key, ADULT)
    error = refused(client.create_segment, key, ADULT, code=Code.ALREADY_EXISTS)
    assert key in resource(error).resource_name


def test_missing_segment_is_not_found(client, key):
    for call in (
        lambda: get(client, key),
        lambda: update(client, flags.Segment(key=key, description="x"), "description"),
        lambda: delete(client, key),
    ):
        assert key in resource(refused(call, code=Code.NOT_FOUND)).resource_name


@pytest.mark.parametrize("bad", ["", "-x", "a b", "ä"])
def test_bad_key_is_invalid(client, bad):
    invalid(client.create_segment, bad, ADULT, field="key")


@pytest.mark.parametrize("condition", ["", "{", {"bogus_op": [1]}, {"$ref": "other"}])
def test_bad_condition_is_invalid(client, key, condition):
    invalid(client.create_segment, key, condition, field="condition")
    refused(get, client, key, code=Code.NOT_FOUND)


def test_segment_cannot_use_another(client, key):
    client.create_segment(f"{key}.a", ADULT)
    condition = {"and": [{"$ref": f"{key}.a"}, {"var": "x"}]}
    invalid(client.create_segment, f"{key}.b", condition, field="condition")


def test_list_pages_in_the_order_of_keys(client, flag_set):
    names = ["b", "a1", "B", "a", "z/9"]
    for name in names:
        client.create_segment(name, ADULT, flag_set=flag_set)
    found, token = [], ""
    while True:
        page = client.flags.ListSegments(
            flags.ListSegmentsRequest(flag_set=flag_set, page_size=2, page_token=token)
        )
        found += [each.key for each in page.segments]
        token = page.next_page_token
        if not token:
            break
    assert found == sorted(names)
    refused(
        client.flags.ListSegments,
        flags.ListSegmentsRequest(flag_set=flag_set, page_token="nonsense"),
        code=Code.INVALID_ARGUMENT,
    )


def test_flags_refer_to_segments_and_follow_them_at_once(client, key):
    client.create_segment(key, ADULT)
    client.create(key, targeting=referring(key))
    assert client.evaluate(key, context={"age": 18}).variant == "on"
    assert client.evaluate(key, context={"age": 17}).variant == "off"
    for limit in (21, 16, 30):
        changed = flags.Segment(key=key, condition='{">=":[{"var":"age"},%d]}' % limit)
        revision = update(client, changed, "condition").revision
        answer = client.flags.EvaluateFlag(flags.EvaluateFlagRequest(key=key))
        assert answer.revision >= revision
        assert client.evaluate(key, context={"age": limit}).variant == "on"
        assert client.evaluate(key, context={"age": limit - 1}).variant == "off"


def test_segment_is_of_one_set(client, key, flag_set):
    client.create_segment(key, ADULT)
    refused(
        client.create,
        key,
        flag_set=flag_set,
        targeting=referring(key),
        code=Code.INVALID_ARGUMENT,
    )
    client.create_segment(key, {"<": [{"var": "age"}, 18]}, flag_set=flag_set)
    client.create(key, targeting=referring(key))
    client.create(key, flag_set=flag_set, targeting=referring(key))
    assert client.evaluate(key, context={"age": 20}).variant == "on"
    assert client.evaluate(key, flag_set=flag_set, context={"age": 20}).variant == "off"


def test_update_with_mask(client, key):
    before = client.create_segment(key, ADULT)
    wanted = flags.Segment(key=key, description="new", condition='{"var":"x"}')
    after = update(client, wanted, "description")
    assert (after.description, after.condition) == ("new", before.condition)
    assert after.revision > before.revision
    assert after.etag != before.etag
    wanted.description = "newer"
    after = update(client, wanted, "*")
    assert (after.description, after.condition) == ("newer", '{"var":"x"}')
    assert get(client, key) == after


def test_update_with_a_bad_mask_is_invalid(client, key):
    client.create_segment(key, ADULT)
    wanted = flags.Segment(key=key, description="new")
    invalid(update, client, wanted, field="update_mask")
    invalid(update, client, wanted, "colour", field="update_mask")
    invalid(update, client, wanted, "key", field="update_mask")


def test_update_to_a_bad_condition_is_invalid_and_changes_nothing(client, key):
    before = client.create_segment(key, ADULT)
    invalid(update, client, flags.Segment(key=key, condition="{"), "condition", field="condition")
    assert get(client, key) == before


def test_stale_etag_is_aborted(client, key):
    first = client.create_segment(key, ADULT)
    second = update(client, flags.Segment(key=key, description="x", etag=first.etag), "description")
    stale = flags.Segment(key=key, description="y", etag=first.etag)
    refused(update, client, stale, "description", code=Code.ABORTED)
    refused(delete, client, key, etag=first.etag, code=Code.ABORTED)
    assert get(client, key) == second
    delete(client, key, etag=second.etag)


def test_delete(client, key):
    client.create_segment(key, ADULT)
    delete(client, key)
    refused(get, client, key, code=Code.NOT_FOUND)
    refused(client.create, key, targeting=referring(key), code=Code.INVALID_ARGUMENT)
    client.create_segment(key, ADULT)


def test_delete_in_use_is_refused_and_names_the_flags(client, key):
    client.create_segment(key, ADULT)
    client.create(f"{key}.one", targeting=referring(key))
    client.create(
        f"{key}.two",
        targeting={"!": [{"$ref": key}]},
        variants={"true": "t", "b": "b"},
        environment="staging",
    )
    error = refused(delete, client, key, code=Code.FAILED_PRECONDITION)
    said = error.details() + str(error.trailing_metadata())
    assert f"{key}.one" in said
    assert f"{key}.two" in said
    (failure,) = details(error, error_details_pb2.PreconditionFailure)
    assert {violation.subject for violation in failure.violations} == {
        f"default/{key}.one",
        f"default/{key}.two",
    }
    assert {violation.type for violation in failure.violations} == {"IN_USE"}
    assert client.evaluate(f"{key}.one", context={"age": 20}).variant == "on"
    client.set_targeting(f"{key}.one", "")
    refused(delete, client, key, code=Code.FAILED_PRECONDITION)
    client.set_targeting(f"{key}.two", "", environment="staging")
    delete(client, key)
