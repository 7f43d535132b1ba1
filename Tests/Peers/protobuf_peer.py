"""Python's protobuf as the other side of KeelsonAPITests.

protobuf_peer.py DESCRIPTOR_SET MESSAGE COMMAND, lines of hexadecimal on standard input and output:

random COUNT SEED  writes encodings of random messages
compare            reads pairs of encodings; writes what differs, else "same" for each pair
json               reads encodings; writes each as JSON
encode             reads JSON; writes each encoded
"""

import json
import random
import sys

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor as F

INTEGERS = {
    F.TYPE_INT32: 31, F.TYPE_SINT32: 31, F.TYPE_SFIXED32: 31,
    F.TYPE_INT64: 63, F.TYPE_SINT64: 63, F.TYPE_SFIXED64: 63,
}
NATURALS = {F.TYPE_UINT32: 32, F.TYPE_FIXED32: 32, F.TYPE_UINT64: 64, F.TYPE_FIXED64: 64}
TEXT = "a\0é€😀 \n\"\u2028\uffff"


def load(path, name):
    """The message's class, and the pool of all that it may hold."""
    files = descriptor_pb2.FileDescriptorSet()
    with open(path, "rb") as file:
        files.ParseFromString(file.read())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name)), pool


def is_repeated(field):
    """The property, which old versions lack."""
    if hasattr(field, "is_repeated"):
        return field.is_repeated
    return field.label == F.LABEL_REPEATED


def scalar(field, rng):
    if field.type in INTEGERS:
        bits = INTEGERS[field.type]
        return rng.choice([0, 1, -1, 2**bits - 1, -(2**bits), rng.randrange(-(2**bits), 2**bits)])
    if field.type in NATURALS:
        bits = NATURALS[field.type]
        return rng.choice([0, 1, 127, 128, 2**bits - 1, rng.randrange(2**bits)])
    if field.type == F.TYPE_BOOL:
        return rng.random() < 0.5
    if field.type in (F.TYPE_FLOAT, F.TYPE_DOUBLE):
        # Halves are exact in both.
        infinite = float("inf")
        return rng.choice([0.0, -0.0, 1.5, -2.5, infinite, -infinite, 0.5 * rng.randrange(9)])
    if field.type == F.TYPE_STRING:
        return "".join(rng.choice(TEXT) for _ in range(rng.choice([0, 1, 3, 40])))
    if field.type == F.TYPE_BYTES:
        return rng.randbytes(rng.choice([0, 1, 3, 40]))
    if field.type == F.TYPE_ENUM:
        return rng.choice([value.number for value in field.enum_type.values] + [77, -5])
    raise ValueError(field.full_name)


def fill(message, rng, depth=0):
    for field in message.DESCRIPTOR.fields:
        if rng.random() > (0.5 if depth == 0 else 0.08):
            continue
        if field.type == F.TYPE_MESSAGE and depth > 3:
            continue
        entry = field.message_type if field.type == F.TYPE_MESSAGE else None
        if entry is not None and entry.GetOptions().map_entry:
            value_field = entry.fields_by_name["value"]
            for _ in range(rng.randrange(4)):
                key = scalar(entry.fields_by_name["key"], rng)
                if value_field.type == F.TYPE_MESSAGE:
                    fill(getattr(message, field.name)[key], rng, depth + 1)
                else:
                    getattr(message, field.name)[key] = scalar(value_field, rng)
        elif is_repeated(field):
            for _ in range(rng.randrange(4)):
                if field.type == F.TYPE_MESSAGE:
                    fill(getattr(message, field.name).add(), rng, depth + 1)
                else:
                    getattr(message, field.name).append(scalar(field, rng))
        elif field.type == F.TYPE_MESSAGE:
            getattr(message, field.name).SetInParent()
            fill(getattr(message, field.name), rng, depth + 1)
        else:
            setattr(message, field.name, scalar(field, rng))
    return message


def main():
    cls, pool = load(sys.argv[1], sys.argv[2])
    command = sys.argv[3]
    lines = [] if command == "random" else sys.stdin.read().splitlines()
    if command == "random":
        rng = random.Random(int(sys.argv[5]))
        for _ in range(int(sys.argv[4])):
            print(fill(cls(), rng).SerializeToString(deterministic=True).hex())
    elif command == "compare":
        for first, second in zip(lines[::2], lines[1::2]):
            first = cls.FromString(bytes.fromhex(first))
            second = cls.FromString(bytes.fromhex(second))
            # Through encodings, so that -0.0 differs from 0.0 and unknown fields count.
            same = first.SerializeToString(deterministic=True) == second.SerializeToString(
                deterministic=True)
            print("same" if same else f"{first} differs from {second}".replace("\n", " "))
    elif command == "json":
        for line in lines:
            message = cls.FromString(bytes.fromhex(line))
            members = json_format.MessageToDict(message, descriptor_pool=pool)
            print(json.dumps(members, sort_keys=True))
    elif command == "encode":
        for line in lines:
            message = json_format.Parse(line, cls(), descriptor_pool=pool)
            print(message.SerializeToString(deterministic=True).hex())
    else:
        sys.exit(__doc__)


main()
