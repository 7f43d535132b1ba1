"""Evaluating flags: reasons, targeting operators, environments, sets, fresh writes."""

import time

import grpc
import pytest

from client import flag, flags, invalid, plain, refused, struct

Code = grpc.StatusCode
LETTERS = {"a": "A", "b": "B", "c": "C", "true": "yes", "false": "no"}


def test_static_without_targeting(client, key):
    client.create(key)
    answer = client.evaluate(key)
    assert (answer.key, answer.variant, answer.reason) == (key, "off", flags.REASON_STATIC)
    assert plain(answer.value) is False
    assert not answer.error_code


@pytest.mark.parametrize("targeting", ["{}", " { } "])
def test_empty_targeting_is_static(client, key, targeting):
    client.create(key, targeting=targeting)
    assert client.evaluate(key).reason == flags.REASON_STATIC


def test_targeting_match(client, key):
    client.create(key, targeting={"if": [{"==": [{"var": "plan"}, "pro"]}, "on", None]})
    answer = client.evaluate(key, context={"plan": "pro"})
    assert (answer.variant, answer.reason) == ("on", flags.REASON_TARGETING_MATCH)
    assert plain(answer.value) is True


def test_targeting_that_gives_null_is_the_default(client, key):
    client.create(key, targeting={"if": [{"==": [{"var": "plan"}, "pro"]}, "on", None]})
    answer = client.evaluate(key, context={"plan": "free"})
    assert (answer.variant, answer.reason) == ("off", flags.REASON_DEFAULT)


def test_disabled_flag_has_no_variant(client, key):
    client.create(key, enabled=False, targeting={"if": [True, "on"]})
    answer = client.evaluate(key)
    assert (answer.variant, answer.reason) == ("", flags.REASON_DISABLED)
    assert not answer.HasField("value")
    assert not answer.error_code


def test_no_default_variant_leaves_the_value_unset(client, key):
    client.create(key, default="", targeting={"if": [{"var": "on"}, "on", None]})
    answer = client.evaluate(key)
    assert answer.reason == flags.REASON_DEFAULT
    assert not answer.HasField("value")
    assert answer.variant == ""
    assert client.evaluate(key, context={"on": True}).variant == "on"


def test_no_default_and_no_targeting_leaves_the_value_unset(client, key):
    client.create(key, default="")
    answer = client.evaluate(key)
    assert answer.reason in (flags.REASON_DEFAULT, flags.REASON_STATIC)
    assert not answer.HasField("value")
    assert answer.variant == ""


def test_result_that_is_no_variant_is_a_general_error(client, key):
    client.create(key, targeting={"var": "pick"})
    assert client.evaluate(key, context={"pick": "on"}).variant == "on"
    answer = client.evaluate(key, context={"pick": "purple"})
    assert (answer.reason, answer.error_code) == (flags.REASON_ERROR, "GENERAL")
    assert answer.error_message
    assert not answer.HasField("value")
    assert answer.variant == ""


def test_missing_flag_is_not_found(client, key):
    refused(client.evaluate, key, code=Code.NOT_FOUND)


def test_missing_set_is_not_found(client, key):
    client.create(key)
    refused(client.evaluate, key, flag_set=f"no-{key}", code=Code.NOT_FOUND)


@pytest.mark.parametrize(
    "expected", [flags.FLAG_TYPE_STRING, flags.FLAG_TYPE_NUMBER, flags.FLAG_TYPE_OBJECT]
)
def test_expected_type_of_another_flag_type_is_invalid(client, key, expected):
    client.create(key)
    refused(client.evaluate, key, expected_type=expected, code=Code.INVALID_ARGUMENT)
    assert client.evaluate(key, expected_type=flags.FLAG_TYPE_BOOLEAN).variant == "off"


def test_environments_are_independent(client, key):
    wanted = flag(key, default="on")
    wanted.environments["staging"].enabled = True
    wanted.environments["staging"].default_variant = "off"
    wanted.environments["development"].default_variant = "on"
    client.flags.CreateFlag(flags.CreateFlagRequest(flag=wanted))
    assert client.evaluate(key, environment="production").variant == "on"
    assert client.evaluate(key, environment="staging").variant == "off"
    assert client.evaluate(key, environment="development").reason == flags.REASON_DISABLED
    assert client.evaluate(key, environment="elsewhere").reason == flags.REASON_DISABLED
    client.set_targeting(key, {"if": [True, "on"]}, environment="staging")
    assert client.evaluate(key, environment="staging").variant == "on"
    assert client.evaluate(key, environment="production").reason == flags.REASON_STATIC


def test_flag_sets_are_independent(client, key, flag_set):
    client.create(key, default="on")
    client.create(key, flag_set=flag_set, default="off")
    assert client.evaluate(key).variant == "on"
    assert client.evaluate(key, flag_set="default").variant == "on"
    assert client.evaluate(key, flag_set=flag_set).variant == "off"
    client.toggle(key, False)
    assert client.evaluate(key, flag_set=flag_set).reason == flags.REASON_STATIC


def test_metadata_of_the_flag_overrides_that_of_the_set(client, key):
    client.create_set(key, metadata=struct({"owner": "set", "set": 1}))
    client.create(key, flag_set=key, metadata={"owner": "flag", "flag": True})
    assert plain(client.evaluate(key, flag_set=key).metadata) == {
        "owner": "flag",
        "set": 1,
        "flag": True,
    }


def test_revision_of_the_rules_comes_with_the_answer(client, key):
    made = client.create(key)
    request = flags.EvaluateFlagRequest(key=key)
    first = client.flags.EvaluateFlag(request).revision
    assert first >= made.revision
    after = client.toggle(key, False)
    assert client.flags.EvaluateFlag(request).revision >= after.revision > first


# Many at once


def test_many_come_in_the_order_of_the_request(client, flag_set):
    for name in ("a", "b", "c"):
        client.create(name, flag_set=flag_set)
    answer = client.flags.EvaluateFlags(
        flags.EvaluateFlagsRequest(flag_set=flag_set, keys=["c", "missing", "a"])
    )
    assert [each.key for each in answer.evaluations] == ["c", "missing", "a"]
    assert answer.evaluations[0].variant == "off"
    missing = answer.evaluations[1]
    assert (missing.reason, missing.error_code) == (flags.REASON_ERROR, "FLAG_NOT_FOUND")
    assert missing.error_message


def test_all_of_a_set_come_by_key(client, flag_set):
    for name in ("b", "a", "d", "c"):
        client.create(name, flag_set=flag_set, enabled=name != "d")
    client.create("e", flag_set=flag_set)
    client.flags.ArchiveFlag(flags.ArchiveFlagRequest(flag_set=flag_set, key="e"))
    answer = client.flags.EvaluateFlags(flags.EvaluateFlagsRequest(flag_set=flag_set))
    assert [each.key for each in answer.evaluations] == ["a", "b", "c", "d"]
    assert [each.reason for each in answer.evaluations] == [flags.REASON_STATIC] * 3 + [
        flags.REASON_DISABLED
    ]
    assert answer.revision >= client.get("e", flag_set).revision


def test_many_see_the_context_and_one_error_spoils_no_other(client, flag_set):
    client.create("good", flag_set=flag_set, targeting={"if": [{"var": "x"}, "on", "off"]})
    client.create("bad", flag_set=flag_set, targeting={"var": "pick"})
    answer = client.flags.EvaluateFlags(
        flags.EvaluateFlagsRequest(
            flag_set=flag_set, targeting_key="t", context=struct({"x": True, "pick": "purple"})
        )
    )
    bad, good = answer.evaluations
    assert (bad.reason, bad.error_code) == (flags.REASON_ERROR, "GENERAL")
    assert (good.variant, good.reason) == ("on", flags.REASON_TARGETING_MATCH)


# The targeting language


def chosen(condition):
    return {"if": [condition, "a", "b"]}


CASES = [
    # Values and logic
    (chosen({"==": [{"var": "x"}, 1]}), {"x": 1}, "a"),
    (chosen({"==": [{"var": "x"}, "1"]}), {"x": 1}, "a"),
    (chosen({"===": [{"var": "x"}, "1"]}), {"x": 1}, "b"),
    (chosen({"!=": [{"var": "x"}, 1]}), {"x": 2}, "a"),
    (chosen({"!==": [{"var": "x"}, "1"]}), {"x": 1}, "a"),
    (chosen({"!": [{"var": "x"}]}), {}, "a"),
    (chosen({"!!": [{"var": "x"}]}), {"x": "0"}, "a"),
    (chosen({"!!": [{"var": "x"}]}), {"x": 0}, "b"),
    (chosen({"!!": [{"var": "x"}]}), {"x": []}, "b"),
    (chosen({"and": [{"var": "x"}, {"var": "y"}]}), {"x": 1, "y": 0}, "b"),
    (chosen({"or": [{"var": "x"}, {"var": "y"}]}), {"x": 0, "y": 1}, "a"),
    ({"or": [{"var": "x"}, "c"]}, {}, "c"),
    ({"and": [True, "c"]}, {}, "c"),
    ({"if": [{"var": "x"}, "a", {"var": "y"}, "b", "c"]}, {"y": 1}, "b"),
    ({"if": [{"var": "x"}, "a", {"var": "y"}, "b", "c"]}, {}, "c"),
    # Numbers
    (chosen({"<": [{"var": "x"}, 3]}), {"x": 2.5}, "a"),
    (chosen({"<": [1, {"var": "x"}, 3]}), {"x": 3}, "b"),
    (chosen({"<=": [1, {"var": "x"}, 3]}), {"x": 3}, "a"),
    (chosen({">": [{"var": "x"}, 3]}), {"x": "10"}, "a"),
    (chosen({">=": [{"var": "x"}, 3]}), {"x": 3}, "a"),
    (chosen({"==": [{"+": [{"var": "x"}, 2, 3]}, 6]}), {"x": 1}, "a"),
    (chosen({"==": [{"-": [{"var": "x"}, 2]}, 1]}), {"x": 3}, "a"),
    (chosen({"==": [{"*": [{"var": "x"}, 2]}, 6]}), {"x": 3}, "a"),
    (chosen({"==": [{"/": [{"var": "x"}, 2]}, 1.5]}), {"x": 3}, "a"),
    (chosen({"==": [{"%": [{"var": "x"}, 2]}, 1]}), {"x": 3}, "a"),
    (chosen({"==": [{"max": [1, {"var": "x"}, 2]}, 3]}), {"x": 3}, "a"),
    (chosen({"==": [{"min": [1, {"var": "x"}, 2]}, 0]}), {"x": 0}, "a"),
    # Text and lists
    (chosen({"in": ["ell", {"var": "x"}]}), {"x": "hello"}, "a"),
    (chosen({"in": [{"var": "x"}, ["u", "v"]]}), {"x": "v"}, "a"),
    (chosen({"in": [{"var": "x"}, ["u", "v"]]}), {"x": "w"}, "b"),
    (chosen({"==": [{"cat": ["u-", {"var": "x"}]}, "u-7"]}), {"x": "7"}, "a"),
    (chosen({"==": [{"substr": [{"var": "x"}, -3, 2]}, "ll"]}), {"x": "hello"}, "a"),
    (chosen({"starts_with": [{"var": "x"}, "he"]}), {"x": "hello"}, "a"),
    (chosen({"ends_with": [{"var": "x"}, "@example.com"]}), {"x": "a@example.com"}, "a"),
    ({"starts_with": [{"var": "x"}, "he"]}, {"x": 5}, None),
    ({"ends_with": [{"var": "x"}, "he"]}, {}, None),
    (chosen({"all": [{"var": "x"}, {">": [{"var": ""}, 0]}]}), {"x": [1, 2]}, "a"),
    (chosen({"all": [{"var": "x"}, {">": [{"var": ""}, 0]}]}), {"x": []}, "b"),
    (chosen({"some": [{"var": "x"}, {"==": [{"var": "n"}, 2]}]}), {"x": [{"n": 2}]}, "a"),
    (chosen({"none": [{"var": "x"}, {"==": [{"var": ""}, 2]}]}), {"x": [1, 3]}, "a"),
    (
        chosen({"in": [4, {"map": [{"var": "x"}, {"*": [{"var": ""}, 2]}]}]}),
        {"x": [1, 2]},
        "a",
    ),
    (
        chosen({"in": [2, {"filter": [{"var": "x"}, {"<": [{"var": ""}, 2]}]}]}),
        {"x": [1, 2]},
        "b",
    ),
    (
        chosen(
            {
                "==": [
                    {
                        "reduce": [
                            {"var": "x"},
                            {"+": [{"var": "current"}, {"var": "accumulator"}]},
                            0,
                        ]
                    },
                    6,
                ]
            }
        ),
        {"x": [1, 2, 3]},
        "a",
    ),
    (chosen({"in": [3, {"merge": [[1, 2], {"var": "x"}]}]}), {"x": [3]}, "a"),
    (chosen({"==": [{"var": ["x.y", "none"]}, "none"]}), {"x": {}}, "a"),
    (chosen({"==": [{"var": "x.y.1"}, 8]}), {"x": {"y": [7, 8]}}, "a"),
    (chosen({"missing": ["x", "y"]}), {"x": 1, "y": 2}, "b"),
    (chosen({"missing": ["x", "y"]}), {"x": 1}, "a"),
    (chosen({"missing_some": [1, ["x", "y"]]}), {"x": 1}, "b"),
    # Versions
    (chosen({"sem_ver": [{"var": "v"}, ">=", "1.2.3"]}), {"v": "1.10.0"}, "a"),
    (chosen({"sem_ver": [{"var": "v"}, "=", "1.2.3"]}), {"v": "v1.2.3+build"}, "a"),
    (chosen({"sem_ver": [{"var": "v"}, "!=", "1.2.3"]}), {"v": "1.2.4"}, "a"),
    (chosen({"sem_ver": [{"var": "v"}, "<", "1.2.3"]}), {"v": "1.2.3-beta"}, "a"),
    (chosen({"sem_ver": [{"var": "v"}, ">", "1.2.3-rc.1"]}), {"v": "1.2.3-rc.10"}, "a"),
    (chosen({"sem_ver": [{"var": "v"}, "<=", "2"]}), {"v": "2.0"}, "a"),
    (chosen({"sem_ver": [{"var": "v"}, "^", "1.2.3"]}), {"v": "1.9.0"}, "a"),
    (chosen({"sem_ver": [{"var": "v"}, "^", "1.2.3"]}), {"v": "2.0.0"}, "b"),
    (chosen({"sem_ver": [{"var": "v"}, "~", "1.2.3"]}), {"v": "1.2.9"}, "a"),
    (chosen({"sem_ver": [{"var": "v"}, "~", "1.2.3"]}), {"v": "1.3.0"}, "b"),
    ({"sem_ver": [{"var": "v"}, "=", "1.2.3"]}, {"v": "not a version"}, None),
    # Results
    ({"==": [{"var": "x"}, 1]}, {"x": 1}, "true"),
    ({"==": [{"var": "x"}, 1]}, {"x": 2}, "false"),
    ({"var": "x"}, {}, None),
    # What flagd adds to the context, and what the caller may not change
    (chosen({"==": [{"var": "targetingKey"}, "user-1"]}), {"targetingKey": "user-2"}, "a"),
    (chosen({">": [{"var": "$flagd.timestamp"}, 1700000000]}), {"$flagd": {"timestamp": 1}}, "a"),
    (chosen({"==": [{"var": "$flagd.flagKey"}, "x"]}), {"$flagd": {"flagKey": "x"}}, "b"),
]


@pytest.mark.parametrize("targeting, context, expected", CASES)
def test_targeting_language(client, key, targeting, context, expected):
    client.create(key, variants=LETTERS, default="c", targeting=targeting)
    answer = client.evaluate(key, targeting_key="user-1", context=context)
    assert not answer.error_code, answer.error_message
    if expected is None:
        assert (answer.variant, answer.reason) == ("c", flags.REASON_DEFAULT)
    else:
        assert (answer.variant, answer.reason) == (expected, flags.REASON_TARGETING_MATCH)


def test_flag_key_is_in_the_context(client, key):
    client.create(key, targeting={"if": [{"==": [{"var": "$flagd.flagKey"}, key]}, "on", "off"]})
    assert client.evaluate(key).variant == "on"


def test_timestamp_in_the_context_is_now_in_seconds(client, key):
    now = time.time()
    between = {"<": [now - 60, {"var": "$flagd.timestamp"}, now + 60]}
    client.create(key, targeting={"if": [between, "on", "off"]})
    assert client.evaluate(key).variant == "on"


def test_targeting_nested_too_deep_is_invalid(client, key):
    depth = 3000
    targeting = '{"!":[' * depth + "true" + "]}" * depth
    invalid(client.create, key, targeting=targeting, field="targeting")


# Fresh writes


def test_evaluation_sees_every_acknowledged_change_at_once(client, connect, key):
    client.create(key, variants={"a": 0, "b": 1}, default="a")
    others = [connect().ready() for _ in range(4)]
    changed = flags.Flag(key=key)
    for round in range(150):
        wanted = "ab"[(round + 1) % 2]
        changed.environments["production"].default_variant = wanted
        revision = client.update(changed, "environments.production.default_variant").revision
        answer = others[round % 4].flags.EvaluateFlag(flags.EvaluateFlagRequest(key=key))
        assert answer.evaluation.variant == wanted
        assert answer.revision >= revision
