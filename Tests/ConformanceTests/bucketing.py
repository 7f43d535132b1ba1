"""Percentage rollouts computed apart from Keelson, with PyPI's mmh3 and cbor2.

Follows flagd's published schemes: murmur3 x86 32 with seed 0, mapped to the total weight by
`(hash * total) >> 32`, over `flagKey + targetingKey` as UTF-8 (second scheme) or over
deterministic CBOR (third scheme).
"""

import cbor2
import mmh3


def deterministic(value):
    """Whole floats as integers, as the third scheme has it."""
    if isinstance(value, float) and value.is_integer() and -(2**63) <= value <= 2**64 - 1:
        return int(value)
    if isinstance(value, list):
        return [deterministic(each) for each in value]
    return value


def place(data: bytes, weights):
    """The variant of the weights, `[(name, weight), ...]`, in whose share the bytes fall."""
    total = sum(weight for _, weight in weights)
    bucket = (mmh3.hash(data, 0, signed=False) * total) >> 32
    upper = 0
    for name, weight in weights:
        upper += weight
        if bucket < upper:
            return name
    raise AssertionError("outside all shares")


def second(text: str, weights):
    return place(text.encode(), weights)


def third(value, weights):
    return place(cbor2.dumps(deterministic(value), canonical=True), weights)
