"""Protobuf and gRPC bytes by hand: the few messages the benchmarks send need no library."""

import struct


def varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def field(number: int, value: bool | int | str | bytes) -> bytes:
    """One field; like proto3, nothing when it has its default."""
    if not value:
        return b""
    if isinstance(value, (bool, int)):
        return varint(number << 3) + varint(int(value))
    encoded = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(encoded)) + encoded


def frame(message: bytes) -> bytes:
    """A message as gRPC frames it, uncompressed."""
    return struct.pack(">BI", 0, len(message)) + message


def numbers(message: bytes) -> dict[int, int]:
    """The fields of a message that are varints, by their number; of a repeated one the last."""
    found, position = {}, 0

    def read() -> int:
        nonlocal position
        value, shift = 0, 0
        while True:
            byte = message[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while position < len(message):
        tag = read()
        kind = tag & 7
        if kind == 0:
            found[tag >> 3] = read()
        else:
            size = {1: 8, 5: 4}.get(kind) or read()
            position += size
    return found


# keelson.flags.v1; see proto/keelson/flags/v1/flags.proto for the numbers.

FLAG_TYPE_BOOLEAN = 1


def create_flag_request(key: str) -> bytes:
    flag = field(2, key) + field(3, "Toggled by the fan-out benchmark") + field(
        4, FLAG_TYPE_BOOLEAN
    )
    return field(1, flag)


def toggle_flag_request(key: str, environment: str, enabled: bool) -> bytes:
    return field(2, key) + field(3, environment) + field(4, enabled)


def watch_flags_request(environment: str) -> bytes:
    return field(2, environment)


# keelson.configuration.v1; see proto/keelson/configuration/v1/configuration.proto.


def set_setting_request(application: str, environment: str, key: str, text: str) -> bytes:
    value = field(4, text)
    return field(1, application) + field(2, environment) + field(3, key) + field(4, value)


def watch_settings_request(application: str, environment: str) -> bytes:
    return field(1, application) + field(2, environment)


# etcdserverpb, from etcd's published API reference (v3.4): KV.Put and Watch.Watch.


def etcd_put_request(key: str, value: str) -> bytes:
    return field(1, key) + field(2, value)


def etcd_watch_request(key: str) -> bytes:
    create = field(1, key)
    return field(1, create)


# keelson.cache.v1; see proto/keelson/cache/v1/cache.proto.

DAY_SECONDS = 86_400


def set_entry_request(key: str, value: bytes) -> bytes:
    """For a day, not shortened at random."""
    no_jitter = bytes([3 << 3 | 1]) + bytes(8)
    lifetime = field(1, field(1, DAY_SECONDS)) + no_jitter
    return field(1, key) + field(2, value) + field(5, lifetime)


def batch_set_entries_request(requests: list[bytes]) -> bytes:
    return b"".join(field(1, each) for each in requests)


def get_entry_request(key: str) -> bytes:
    return field(1, key)


def invalidate_pattern_request(pattern: str) -> bytes:
    return field(3, pattern)
