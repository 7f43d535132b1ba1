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
