"""Each limit that the API names: what is at it passes, one more is refused by field."""

import json

import grpc
import pytest

from client import flag, flags, invalid, refused, struct, violations

KIB = 1024


def sized_json(total_bytes):
    """A JSON object of that many bytes when written without spaces."""
    made = {"k": "x" * (total_bytes - len('{"k":""}'))}
    assert len(json.dumps(made, separators=(",", ":"))) == total_bytes
    return made


def sized_targeting(total_bytes):
    empty = '{"if":[{"==":["","x"]},"on","off"]}'
    text = '{"if":[{"==":["%s","x"]},"on","off"]}' % ("y" * (total_bytes - len(empty)))
    assert len(text) == total_bytes
    return text


def named_variants(count):
    return {f"v{number:03}": number for number in range(count)}


FLAG_LIMITS = {
    "key": (lambda n: {"key": "k" * n}, 128),
    "description": (lambda n: {"description": "é" * (n // 2) + "x" * (n % 2)}, 4096),
    "variants": (lambda n: {"variants": named_variants(n)}, 100),
    "owner": (lambda n: {"owner": "o" * n}, 256),
    "tags": (lambda n: {"tags": [f"t{number}" for number in range(n)]}, 32),
    "metadata": (lambda n: {"metadata": sized_json(n)}, 8 * KIB),
    "targeting": (lambda n: {"targeting": sized_targeting(n)}, 64 * KIB),
}


@pytest.mark.parametrize("field", FLAG_LIMITS)
def test_flag_limit(client, key, flag_set, field):
    make, limit = FLAG_LIMITS[field]
    made = client.create(**{"key": key, "flag_set": flag_set, **make(limit)})
    assert client.get(made.key, flag_set) == made
    fields = {"key": f"{key}.over", "flag_set": flag_set, **make(limit + 1)}
    invalid(client.create, field=field, **fields)
    refused(
        client.get,
        fields["key"],
        flag_set,
        code={
            grpc.StatusCode.NOT_FOUND,
            grpc.StatusCode.INVALID_ARGUMENT,
        },
    )


@pytest.mark.parametrize(
    "field", ["description", "variants", "owner", "tags", "metadata", "targeting"]
)
def test_flag_limit_holds_for_updates(client, key, field):
    make, limit = FLAG_LIMITS[field]
    before = client.create(key)
    path = "environments.production.targeting" if field == "targeting" else field
    if field == "variants":
        before = client.create(f"{key}.n", variants={"v000": 0}, default="v000")
        key = f"{key}.n"
    invalid(client.update, flag(key, **make(limit + 1)), path, field=field)
    assert client.get(key) == before
    after = client.update(flag(key, **make(limit)), path)
    assert after.revision > before.revision


def test_tag_bytes(client, key):
    client.create(key, tags=["t" * 64, "é" * 32])
    invalid(client.create, f"{key}.over", tags=["t" * 65], field="tags")
    invalid(client.create, f"{key}.over", tags=["é" * 32 + "x"], field="tags")


def test_key_is_needed(client):
    invalid(client.create, "", field="key")


def test_a_flag_needs_variants(client, key):
    refused(
        client.flags.CreateFlag,
        flags.CreateFlagRequest(flag=flags.Flag(key=key, type=flags.FLAG_TYPE_NUMBER)),
        code=grpc.StatusCode.INVALID_ARGUMENT,
    )


def test_every_violation_is_named_at_once(client, key):
    error = invalid(
        client.create, key, description="x" * 4097, owner="x" * 257, field="description"
    )
    fields = " ".join(field for field, _ in violations(error))
    assert "description" in fields
    assert "owner" in fields


SEGMENT_LIMITS = {"key": 128, "description": 4096, "condition": 64 * KIB}


@pytest.mark.parametrize("field", SEGMENT_LIMITS)
def test_segment_limit(client, key, flag_set, field):
    def segment(size, name):
        made = flags.Segment(key=name, flag_set=flag_set, condition='{"var":"x"}')
        text = '{"==":["%s",{"var":"x"}]}'
        filler = size - len(text % "") if field == "condition" else size
        setattr(made, field, text % ("y" * filler) if field == "condition" else "k" * size)
        return flags.CreateSegmentRequest(segment=made)

    limit = SEGMENT_LIMITS[field]
    client.flags.CreateSegment(segment(limit, key))
    invalid(client.flags.CreateSegment, segment(limit + 1, f"{key}.over"), field=field)


SET_LIMITS = {
    "key": (lambda n: {"key": "k" * n}, 128),
    "description": (lambda n: {"description": "d" * n}, 4096),
    "metadata": (lambda n: {"metadata": struct(sized_json(n))}, 8 * KIB),
}


@pytest.mark.parametrize("field", SET_LIMITS)
def test_flag_set_limit(client, key, field):
    make, limit = SET_LIMITS[field]
    client.create_set(**{"key": key, **make(limit)})
    request = flags.FlagSet(**{"key": f"{key}.over", **make(limit + 1)})
    invalid(client.flags.CreateFlagSet, flags.CreateFlagSetRequest(flag_set=request), field=field)


def test_evaluating_many_takes_1000_keys(client, key):
    client.create(key)
    answer = client.flags.EvaluateFlags(flags.EvaluateFlagsRequest(keys=[key] * 1000))
    assert [each.variant for each in answer.evaluations] == ["off"] * 1000
    invalid(client.flags.EvaluateFlags, flags.EvaluateFlagsRequest(keys=[key] * 1001), field="keys")
