"""Creating, reading and listing flags."""

import grpc
import pytest
from google.rpc import error_details_pb2

from client import details, flag, flags, invalid, plain, refused, resource, struct, value

Code = grpc.StatusCode

TYPES = {
    "boolean": (flags.FLAG_TYPE_BOOLEAN, {"yes": True, "no": False}),
    "string": (flags.FLAG_TYPE_STRING, {"a": "alpha", "ä": "Ünïcode \u2713", "empty": ""}),
    "number": (flags.FLAG_TYPE_NUMBER, {"zero": 0, "tenth": 0.1, "huge": 1e300, "minus": -7}),
    "object": (flags.FLAG_TYPE_OBJECT, {"none": {}, "deep": {"a": [1, None, {"b": "c"}]}}),
}


def test_boolean_flag_without_variants_gets_on_and_off(client, key):
    made = client.flags.CreateFlag(
        flags.CreateFlagRequest(flag=flags.Flag(key=key, type=flags.FLAG_TYPE_BOOLEAN))
    )
    assert made.flag_set == "default"
    assert {name: plain(made.variants[name]) for name in made.variants} == {
        "on": True,
        "off": False,
    }
    assert made.revision > 0
    assert made.etag
    assert made.create_time.ToNanoseconds() > 0
    assert made.update_time == made.create_time
    assert not made.HasField("archive_time")
    assert client.get(key) == made


def test_new_flag_without_state_is_disabled_everywhere(client, key):
    client.flags.CreateFlag(
        flags.CreateFlagRequest(flag=flags.Flag(key=key, type=flags.FLAG_TYPE_BOOLEAN))
    )
    for environment in ("", "production", "staging", "somewhere"):
        assert client.evaluate(key, environment=environment).reason == flags.REASON_DISABLED


@pytest.mark.parametrize("name", TYPES)
def test_every_type_keeps_its_values(client, key, name):
    type, variants = TYPES[name]
    made = client.create(key, type=type, variants=variants)
    assert made.type == type
    assert {variant: plain(made.variants[variant]) for variant in made.variants} == variants
    for variant, expected in variants.items():
        update = flags.Flag(key=key)
        update.environments["production"].default_variant = variant
        client.update(update, "environments.production.default_variant")
        answer = client.evaluate(key, expected_type=type)
        assert answer.variant == variant
        assert plain(answer.value) == expected


@pytest.mark.parametrize("name", TYPES)
def test_type_is_taken_from_the_variants(client, key, name):
    type, variants = TYPES[name]
    assert client.create(key, variants=variants).type == type


def test_all_fields_come_back(client, key):
    wanted = flag(
        key,
        variants={"a": "x", "b": "y"},
        description="what it is for",
        owner="team-a",
        tags=["one", "two"],
        metadata={"team": "a", "n": 1},
        targeting={"if": [True, "a", "b"]},
    )
    wanted.expire_time.FromJsonString("2031-02-03T04:05:06.789012Z")
    wanted.environments["staging"].enabled = False
    wanted.environments["staging"].default_variant = "b"
    made = client.flags.CreateFlag(flags.CreateFlagRequest(flag=wanted))
    assert made.description == wanted.description
    assert made.owner == wanted.owner
    assert sorted(made.tags) == sorted(wanted.tags)
    assert made.metadata == wanted.metadata
    assert made.expire_time == wanted.expire_time
    assert dict(made.environments) == dict(wanted.environments)
    assert client.get(key) == made


def test_targeting_is_kept_as_it_was_written(client, key):
    written = ' { "if" : [ {"==": [ {"var" : "a"} , 1.0 ]},\n "on", "off" ] } '
    made = client.create(key, targeting=written)
    assert made.environments["production"].targeting == written
    assert client.get(key).environments["production"].targeting == written


def test_fields_set_by_the_server_are_ignored(client, key):
    wanted = flag(key, revision=10**12, etag="mine")
    wanted.create_time.FromJsonString("2001-01-01T00:00:00Z")
    wanted.archive_time.FromJsonString("2001-01-01T00:00:00Z")
    made = client.flags.CreateFlag(flags.CreateFlagRequest(flag=wanted))
    assert made.revision < 10**12
    assert made.etag not in ("", "mine")
    assert made.create_time.ToDatetime().year > 2001
    assert not made.HasField("archive_time")


def test_revisions_rise_with_every_change(client, key):
    revisions = [client.create(key).revision]
    for enabled in (False, True, False):
        revisions.append(client.toggle(key, enabled).revision)
    assert revisions == sorted(set(revisions))


def test_creating_twice_is_already_exists(client, key):
    client.create(key)
    error = refused(client.create, key, code=Code.ALREADY_EXISTS)
    assert key in resource(error).resource_name


def test_archived_flag_keeps_its_key(client, key):
    client.create(key)
    client.flags.ArchiveFlag(flags.ArchiveFlagRequest(key=key))
    refused(client.create, key, code=Code.ALREADY_EXISTS)
    assert client.get(key).HasField("archive_time")


def test_missing_flag_is_not_found_with_resource_info(client, key):
    for call in (
        lambda: client.get(key),
        lambda: client.toggle(key, True),
        lambda: client.update(flag(key, description="x"), "description"),
        lambda: client.flags.ArchiveFlag(flags.ArchiveFlagRequest(key=key)),
        lambda: client.flags.RestoreFlag(flags.RestoreFlagRequest(key=key)),
        lambda: client.history(key),
    ):
        found = resource(refused(call, code=Code.NOT_FOUND))
        assert key in found.resource_name
        assert found.resource_type


def test_creating_in_a_missing_set_is_not_found(client, key):
    error = refused(client.create, key, flag_set=f"no-{key}", code=Code.NOT_FOUND)
    assert f"no-{key}" in resource(error).resource_name


def test_request_without_a_flag_is_invalid(client):
    refused(client.flags.CreateFlag, flags.CreateFlagRequest(), code=Code.INVALID_ARGUMENT)


@pytest.mark.parametrize(
    "bad", ["", ".dot", "-dash", "_line", "/slash", "a b", "ä", "a\0b", "a:b", "a\n", "a%2f"]
)
def test_bad_key_is_invalid(client, bad):
    invalid(client.create, bad, field="key")


def test_key_may_have_all_allowed_characters(client, key):
    name = f"9A.z_-/{key}"
    assert client.create(name).key == name
    assert client.evaluate(name).variant == "off"


@pytest.mark.parametrize(
    "type, variants",
    [
        (flags.FLAG_TYPE_UNSPECIFIED, {"a": True, "b": "text"}),
        (flags.FLAG_TYPE_BOOLEAN, {"a": "text"}),
        (flags.FLAG_TYPE_STRING, {"a": 1}),
        (flags.FLAG_TYPE_NUMBER, {"a": "1"}),
        (flags.FLAG_TYPE_OBJECT, {"a": [1]}),
        (flags.FLAG_TYPE_UNSPECIFIED, {"a": None}),
        (flags.FLAG_TYPE_STRING, {}),
    ],
)
def test_variants_of_the_wrong_type_are_invalid(client, key, type, variants):
    wanted = flags.Flag(key=key, type=type)
    for name, variant in variants.items():
        wanted.variants[name].CopyFrom(value(variant))
    invalid(client.flags.CreateFlag, flags.CreateFlagRequest(flag=wanted), field="variants")


def test_default_variant_must_be_a_variant(client, key):
    invalid(client.create, key, default="neither", field="default_variant")


@pytest.mark.parametrize(
    "targeting, named",
    [
        ("{", None),
        ("[1, 2", None),
        ('{"if": [', None),
        ({"no_such_operator": [1]}, "no_such_operator"),
        ({"if": [{"bogus_op": [{"var": "a"}, 1]}, "on", "off"]}, "bogus_op"),
        ({"fractional": [["on", -1.5], ["off", "many"]]}, "fractional"),
        ({"if": [{"$ref": "no-such-segment"}, "on", "off"]}, "no-such-segment"),
    ],
)
def test_bad_targeting_is_invalid_and_says_where(client, key, targeting, named):
    error = refused(client.create, key, targeting=targeting, code=Code.INVALID_ARGUMENT)
    found = [
        violation
        for bad in details(error, error_details_pb2.BadRequest)
        for violation in bad.field_violations
    ]
    assert any("targeting" in violation.field for violation in found), found
    if named:
        said = error.details() + " ".join(violation.description for violation in found)
        assert named in said


@pytest.mark.parametrize("field", ["description", "owner"])
def test_a_text_with_a_nul_is_invalid(client, key, field):
    """PostgreSQL cannot hold it, so no store is asked to."""
    error = refused(client.create, key, **{field: "a\0b"}, code=Code.INVALID_ARGUMENT)
    bad = details(error, error_details_pb2.BadRequest)
    assert [each.field for each in bad[0].field_violations] == [f"flag.{field}"]


def test_failed_creation_leaves_nothing(client, key):
    refused(client.create, key, targeting="{", code=Code.INVALID_ARGUMENT)
    refused(client.get, key, code=Code.NOT_FOUND)
    assert client.create(key).key == key


# Listing


def pages(client, **request):
    """All pages of a listing, each a list of keys."""
    token, found = "", []
    for _ in range(1000):
        answer = client.flags.ListFlags(flags.ListFlagsRequest(page_token=token, **request))
        found.append([each.key for each in answer.flags])
        token = answer.next_page_token
        if not token:
            return found
    raise AssertionError("the pages never end")


def test_list_pages_in_the_order_of_keys(client, flag_set):
    names = ["b", "a10", "a1", "B", "a", "z/9", "c.d", "a-b", "a_b", "0"]
    for name in names:
        client.create(name, flag_set=flag_set)
    found = pages(client, flag_set=flag_set, page_size=3)
    assert [len(page) for page in found] == [3, 3, 3, 1]
    assert sum(found, []) == sorted(names)
    assert sum(pages(client, flag_set=flag_set), []) == sorted(names)


def test_list_page_that_fits_exactly_is_the_last(client, flag_set):
    for name in ("a", "b", "c", "d"):
        client.create(name, flag_set=flag_set)
    assert [page for page in pages(client, flag_set=flag_set, page_size=2) if page] == [
        ["a", "b"],
        ["c", "d"],
    ]


def test_list_pages_are_stable_under_inserts_and_archives(client, flag_set):
    for name in ("b", "d", "f", "h"):
        client.create(name, flag_set=flag_set)
    first = client.flags.ListFlags(flags.ListFlagsRequest(flag_set=flag_set, page_size=2))
    client.create("a", flag_set=flag_set)
    client.create("e", flag_set=flag_set)
    client.flags.ArchiveFlag(flags.ArchiveFlagRequest(flag_set=flag_set, key="d"))
    second = client.flags.ListFlags(
        flags.ListFlagsRequest(flag_set=flag_set, page_size=10, page_token=first.next_page_token)
    )
    assert [each.key for each in first.flags] == ["b", "d"]
    assert [each.key for each in second.flags] == ["e", "f", "h"]


def test_list_default_page_is_100_and_the_largest_1000(client, flag_set):
    for number in range(101):
        client.create(f"f{number:04}", flag_set=flag_set)
    first = client.flags.ListFlags(flags.ListFlagsRequest(flag_set=flag_set))
    assert len(first.flags) == 100
    assert first.next_page_token
    more = client.flags.ListFlags(flags.ListFlagsRequest(flag_set=flag_set, page_size=5000))
    assert len(more.flags) == 101
    assert not more.next_page_token


def test_list_of_an_empty_set_is_empty(client, flag_set):
    answer = client.flags.ListFlags(flags.ListFlagsRequest(flag_set=flag_set))
    assert not answer.flags
    assert not answer.next_page_token


def test_list_of_a_missing_set_is_not_found(client, key):
    refused(
        client.flags.ListFlags, flags.ListFlagsRequest(flag_set=f"no-{key}"), code=Code.NOT_FOUND
    )


@pytest.mark.parametrize("token", ["nonsense", "AAAA", "ä", "x" * 5000])
def test_list_with_a_bad_token_is_invalid(client, token):
    invalid(client.flags.ListFlags, flags.ListFlagsRequest(page_token=token), field="page_token")


def test_list_with_a_negative_page_size_is_invalid(client):
    invalid(client.flags.ListFlags, flags.ListFlagsRequest(page_size=-1), field="page_size")


@pytest.fixture
def assorted(client, flag_set):
    client.create("alpha", flag_set=flag_set, tags=["x", "y"], owner="ann")
    client.create("beta", flag_set=flag_set, tags=["x"], owner="bob", description="An Apple")
    client.create("gamma", flag_set=flag_set, variants={"a": "1"}, tags=["y"], owner="ann")
    client.create("delta", flag_set=flag_set, variants={"a": 1}, description="100% _sure_")
    client.create("gone", flag_set=flag_set, tags=["x"], owner="ann")
    client.flags.ArchiveFlag(flags.ArchiveFlagRequest(flag_set=flag_set, key="gone"))
    return flag_set


@pytest.mark.parametrize(
    "filters, expected",
    [
        ({}, ["alpha", "beta", "delta", "gamma"]),
        ({"tags": ["x"]}, ["alpha", "beta"]),
        ({"tags": ["x", "y"]}, ["alpha"]),
        ({"tags": ["X"]}, []),
        ({"owner": "ann"}, ["alpha", "gamma"]),
        ({"owner": "an"}, []),
        ({"type": flags.FLAG_TYPE_STRING}, ["gamma"]),
        ({"type": flags.FLAG_TYPE_NUMBER}, ["delta"]),
        ({"query": "APPLE"}, ["beta"]),
        ({"query": "Alph"}, ["alpha"]),
        ({"query": "%"}, ["delta"]),
        ({"query": "_"}, ["delta"]),
        ({"query": "'"}, []),
        ({"show_archived": True}, ["alpha", "beta", "delta", "gamma", "gone"]),
        ({"show_archived": True, "tags": ["x"], "owner": "ann"}, ["alpha", "gone"]),
        ({"tags": ["y"], "type": flags.FLAG_TYPE_BOOLEAN, "query": "a"}, ["alpha"]),
    ],
)
def test_list_filters(client, assorted, filters, expected):
    for page_size in (0, 1):
        found = pages(client, flag_set=assorted, page_size=page_size, **filters)
        assert sum(found, []) == expected


def test_listed_flags_are_whole(client, flag_set):
    made = client.create("a", flag_set=flag_set, tags=["t"], metadata={"m": 1})
    answer = client.flags.ListFlags(flags.ListFlagsRequest(flag_set=flag_set))
    assert list(answer.flags) == [made]
    assert answer.flags[0].metadata == struct({"m": 1})
