"""Percentage rollouts fall as an independent implementation says, and stick."""

import grpc
import pytest

import bucketing
from client import flags, refused, struct

NAMES = {"a": "A", "b": "B", "c": "C"}
SPLITS = {
    "halves": [("a", 50), ("b", 50)],
    "tenth": [("a", 10), ("b", 90)],
    "thirds": [("a", 1), ("b", 1), ("c", 1)],
    "fine": [("a", 1), ("b", 99998), ("c", 1)],
    "hole": [("a", 0), ("b", 30), ("c", 70)],
    "huge": [("a", 2147483646), ("b", 1)],
}
SUBJECTS = [f"user-{number}" for number in range(60)] + ["ä", "\u4f60\u597d", "x" * 300, "0"]


def rolling(weights, by=None):
    """Targeting that splits by the weights."""
    shares = [[name, weight] for name, weight in weights]
    return {"fractional": ([by] if by is not None else []) + shares}


def make_set(client, key, scheme):
    value = {"v2": flags.BUCKETING_V2, "v3": flags.BUCKETING_V3, "unset": 0}[scheme]
    client.create_set(key, bucketing=value)


def expected(scheme, key, subject, weights):
    if scheme == "v2":
        return bucketing.second(key + subject, weights)
    return bucketing.third([key, subject], weights)


@pytest.mark.parametrize("scheme", ["v2", "v3", "unset"])
@pytest.mark.parametrize("split", SPLITS)
def test_rollout_falls_as_computed_elsewhere(client, key, scheme, split):
    make_set(client, key, scheme)
    weights = SPLITS[split]
    client.create(key, flag_set=key, variants=NAMES, default="c", targeting=rolling(weights))
    for subject in SUBJECTS:
        answer = client.evaluate(key, flag_set=key, targeting_key=subject)
        assert answer.variant == expected(scheme, key, subject, weights), subject
        assert answer.reason == flags.REASON_TARGETING_MATCH


@pytest.mark.parametrize("scheme", ["v2", "v3"])
def test_many_flags_at_once_fall_alike(client, key, scheme):
    make_set(client, key, scheme)
    weights = SPLITS["thirds"]
    for number in range(20):
        client.create(f"f{number:02}", flag_set=key, variants=NAMES, targeting=rolling(weights))
    for subject in SUBJECTS[:20]:
        answer = client.flags.EvaluateFlags(
            flags.EvaluateFlagsRequest(flag_set=key, targeting_key=subject)
        )
        for each in answer.evaluations:
            assert each.variant == expected(scheme, each.key, subject, weights)


@pytest.mark.parametrize("scheme", ["v2", "v3"])
def test_rollout_by_an_attribute(client, key, scheme):
    make_set(client, key, scheme)
    weights = SPLITS["thirds"]
    client.create(key, flag_set=key, variants=NAMES, targeting=rolling(weights, {"var": "email"}))
    compute = bucketing.second if scheme == "v2" else bucketing.third
    for subject in SUBJECTS:
        context = {"email": f"{subject}@example.com"}
        answer = client.evaluate(key, flag_set=key, targeting_key="same", context=context)
        assert answer.variant == compute(context["email"], weights)


@pytest.mark.parametrize("scheme", ["v2", "v3"])
def test_rollout_by_a_computed_value(client, key, scheme):
    make_set(client, key, scheme)
    weights = SPLITS["halves"]
    by = {"cat": [{"var": "$flagd.flagKey"}, "/", {"var": "tenant"}]}
    client.create(key, flag_set=key, variants=NAMES, targeting=rolling(weights, by))
    compute = bucketing.second if scheme == "v2" else bucketing.third
    for subject in SUBJECTS[:30]:
        answer = client.evaluate(key, flag_set=key, context={"tenant": subject})
        assert answer.variant == compute(f"{key}/{subject}", weights)


@pytest.mark.parametrize(
    "value",
    [
        0,
        1,
        -1,
        23,
        24,
        255,
        65536,
        4294967296.0,
        -5000000000.0,
        1.5,
        0.1,
        -2.25,
        1e300,
        9007199254740993.0,
        True,
        False,
    ],
)
def test_third_scheme_hashes_numbers_and_booleans(client, key, value):
    make_set(client, key, "v3")
    weights = [(name, 1) for name in NAMES]
    client.create(key, flag_set=key, variants=NAMES, targeting=rolling(weights, {"var": "id"}))
    answer = client.evaluate(key, flag_set=key, context={"id": value})
    number = value if isinstance(value, bool) else float(value)
    assert answer.variant == bucketing.third(number, weights)


@pytest.mark.parametrize("scheme", ["v2", "v3"])
def test_rollout_without_a_subject_is_the_default(client, key, scheme):
    make_set(client, key, scheme)
    client.create(
        key,
        flag_set=key,
        variants=NAMES,
        default="c",
        targeting=rolling([("a", 1), ("b", 1)], {"var": "email"}),
    )
    answer = client.evaluate(key, flag_set=key, targeting_key="someone")
    assert (answer.variant, answer.reason) == ("c", flags.REASON_DEFAULT)


@pytest.mark.parametrize("scheme", ["v2", "v3"])
def test_weights_default_to_one_and_may_all_be_zero(client, key, scheme):
    make_set(client, key, scheme)
    client.create(
        "ones", flag_set=key, variants=NAMES, targeting={"fractional": [["a"], ["b"], ["c"]]}
    )
    client.create(
        "zero",
        flag_set=key,
        variants=NAMES,
        default="c",
        targeting={"fractional": [["a", 0], ["b", 0]]},
    )
    weights = [(name, 1) for name in NAMES]
    for subject in SUBJECTS[:20]:
        ones = client.evaluate("ones", flag_set=key, targeting_key=subject)
        assert ones.variant == expected(scheme, "ones", subject, weights)
        zero = client.evaluate("zero", flag_set=key, targeting_key=subject)
        assert (zero.variant, zero.reason) == ("c", flags.REASON_DEFAULT)


def test_weights_that_sum_over_the_limit_are_refused(client, key):
    refused(
        client.create,
        key,
        variants=NAMES,
        targeting=rolling([("a", 2147483647), ("b", 1)]),
        code=grpc.StatusCode.INVALID_ARGUMENT,
    )


def test_growing_a_share_moves_nobody_out_of_it(client, key):
    client.create(key, variants=NAMES, targeting=rolling([("a", 20), ("b", 80)]))
    subjects = [f"s{number}" for number in range(80)]

    def holders():
        return {
            subject
            for subject in subjects
            if client.evaluate(key, targeting_key=subject).variant == "a"
        }

    last = holders()
    for share in (40, 60, 100):
        client.set_targeting(key, rolling([("a", share), ("b", 100 - share)]))
        now = holders()
        assert last <= now
        last = now
    assert last == set(subjects)


def test_context_does_not_move_a_subject(client, key):
    client.create(key, variants=NAMES, targeting=rolling(SPLITS["thirds"]))
    for subject in SUBJECTS[:20]:
        plain = client.evaluate(key, targeting_key=subject)
        busy = client.evaluate(
            key, targeting_key=subject, context={"a": 1, "targetingKey": "another"}
        )
        assert plain.variant == busy.variant


def test_changing_the_scheme_of_a_set_takes_effect_at_once(client, key):
    make_set(client, key, "v2")
    weights = SPLITS["thirds"]
    client.create(key, flag_set=key, variants=NAMES, targeting=rolling(weights))
    for scheme, value in (("v3", flags.BUCKETING_V3), ("v2", flags.BUCKETING_V2)):
        client.flags.UpdateFlagSet(
            flags.UpdateFlagSetRequest(
                flag_set=flags.FlagSet(key=key, bucketing=value),
                update_mask={"paths": ["bucketing"]},
            )
        )
        for subject in SUBJECTS[:30]:
            answer = client.evaluate(key, flag_set=key, targeting_key=subject)
            assert answer.variant == expected(scheme, key, subject, weights)


def test_rollout_reaches_a_variant_through_a_nested_rule(client, key):
    weights = SPLITS["halves"]
    client.create(
        key,
        variants=NAMES,
        default="c",
        targeting={"if": [{"==": [{"var": "plan"}, "pro"]}, rolling(weights), "c"]},
    )
    for subject in SUBJECTS[:20]:
        answer = client.flags.EvaluateFlag(
            flags.EvaluateFlagRequest(
                key=key, targeting_key=subject, context=struct({"plan": "pro"})
            )
        ).evaluation
        assert answer.variant == expected("v3", key, subject, weights)
        assert client.evaluate(key, targeting_key=subject).variant == "c"
