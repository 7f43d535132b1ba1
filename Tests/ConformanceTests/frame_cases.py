"""Frames that break RFC 9113 or RFC 7541, or bend them as allowed, and what must answer them.

A case is named by the section that has the rule. It makes what is sent once the connection is
greeted; `GoAway` and `Reset` name the error codes that the section allows, `Works` wants a call on
the same connection to succeed after it.
"""

import struct
from dataclasses import dataclass

from wire import (
    CHECK,
    COMPRESSION_ERROR,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
    STREAM_CLOSED,
    WATCH,
    frame_bytes,
    message,
)

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY = range(8)
WINDOW_UPDATE, CONTINUATION, UNKNOWN = 8, 9, 0x77
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 1, 1, 4, 8, 0x20
CANCELLED = b"\0\0\0\x08"


@dataclass
class GoAway:
    """The connection ends with a GOAWAY of one of these codes."""

    codes: set


@dataclass
class Reset:
    """The stream ends with one of these codes, and the connection lives on."""

    codes: set
    stream: int = 1


@dataclass
class Works:
    """Nothing happens: the connection lives on."""


def setting(name, value):
    return frame_bytes(SETTINGS, 0, 0, struct.pack(">HI", name, value))


def grow(stream, by):
    return frame_bytes(WINDOW_UPDATE, 0, stream, struct.pack(">I", by))


def request(wire, path=CHECK):
    """A whole good call on stream 1."""
    return [wire.headers(path, 1), wire.data(message(), 1)]


def open_watch(wire):
    """A call whose request has ended and whose response goes on."""
    return request(wire, WATCH)


def block(bytes_, flags=END_HEADERS | END_STREAM):
    return frame_bytes(HEADERS, flags, 1, bytes_)


def ended(wire):
    """A call that is over, since its stream was reset by the client."""
    return [wire.headers(WATCH, 1), frame_bytes(RST_STREAM, 0, 1, CANCELLED)]


PROTOCOL, SIZE, FLOW = GoAway({PROTOCOL_ERROR}), GoAway({FRAME_SIZE_ERROR}), FLOW_CONTROL_ERROR
COMPRESSION = GoAway({COMPRESSION_ERROR})

FRAME_CASES = {
    # 4.1 Frame Format
    "rfc9113_4_1_unknown_type": (lambda w: [frame_bytes(UNKNOWN, 0xFF, 0, b"any")], Works()),
    "rfc9113_4_1_unused_flags": (lambda w: [frame_bytes(PING, 0xFE, 0, b"12345678")], Works()),
    "rfc9113_4_1_reserved_bit": (lambda w: [frame_bytes(PING, 0, 2**31, b"12345678")], Works()),
    # 4.2 Frame Size
    "rfc9113_4_2_data_over_the_maximum": (
        lambda w: [w.headers(stream=1), frame_bytes(DATA, 0, 1, bytes(w.max_frame_size + 1))],
        SIZE,
    ),
    "rfc9113_4_2_headers_over_the_maximum": (
        lambda w: [block(bytes(w.max_frame_size + 1))],
        SIZE,
    ),
    "rfc9113_4_2_settings_over_the_maximum": (
        lambda w: [frame_bytes(SETTINGS, 0, 0, bytes(6 * 2731))],
        SIZE,
    ),
    "rfc9113_4_2_unknown_type_over_the_maximum": (
        lambda w: [frame_bytes(UNKNOWN, 0, 0, bytes(w.max_frame_size + 1))],
        SIZE,
    ),
    "rfc9113_4_2_unknown_type_at_the_maximum": (
        lambda w: [frame_bytes(UNKNOWN, 0, 0, bytes(w.max_frame_size))],
        Works(),
    ),
    # 4.3 Field Section Compression and Decompression
    "rfc9113_4_3_undecodable_block": (lambda w: [block(b"\xff\xff\x7f")], COMPRESSION),
    "rfc9113_4_3_undecodable_trailers": (
        lambda w: [w.headers(stream=1), block(b"\x40\x0aab")],
        COMPRESSION,
    ),
    "rfc9113_4_3_priority_within_a_block": (
        lambda w: [w.headers(stream=1, end_headers=False), frame_bytes(PRIORITY, 0, 1, bytes(5))],
        PROTOCOL,
    ),
    "rfc9113_4_3_ping_within_a_block": (
        lambda w: [w.headers(stream=1, end_headers=False), frame_bytes(PING, 0, 0, bytes(8))],
        PROTOCOL,
    ),
    "rfc9113_4_3_headers_within_a_block": (
        lambda w: [w.headers(stream=1, end_headers=False), w.headers(stream=3)],
        PROTOCOL,
    ),
    # 5.1 Stream States
    "rfc9113_5_1_data_on_an_idle_stream": (lambda w: [w.data(b"x", 7)], PROTOCOL),
    "rfc9113_5_1_reset_of_an_idle_stream": (
        lambda w: [frame_bytes(RST_STREAM, 0, 9, CANCELLED)],
        PROTOCOL,
    ),
    "rfc9113_5_1_window_of_an_idle_stream": (lambda w: [grow(9, 1)], PROTOCOL),
    "rfc9113_5_1_priority_of_an_idle_stream": (
        lambda w: [frame_bytes(PRIORITY, 0, 9, b"\0\0\0\3\x10")],
        Works(),
    ),
    "rfc9113_5_1_data_on_a_half_closed_stream": (
        lambda w: [*open_watch(w), w.data(b"more", 1)],
        GoAway({STREAM_CLOSED}),
    ),
    "rfc9113_5_1_headers_on_a_half_closed_stream": (
        lambda w: [*open_watch(w), w.headers(stream=1, end_stream=True)],
        GoAway({STREAM_CLOSED}),
    ),
    "rfc9113_5_1_continuation_on_a_half_closed_stream": (
        lambda w: [*open_watch(w), frame_bytes(CONTINUATION, END_HEADERS, 1, b"")],
        GoAway({STREAM_CLOSED, PROTOCOL_ERROR}),
    ),
    "rfc9113_5_1_window_of_a_half_closed_stream": (
        lambda w: [*open_watch(w), grow(1, 1000)],
        Works(),
    ),
    "rfc9113_5_1_headers_on_a_closed_stream": (
        lambda w: [*ended(w), w.headers(stream=1, end_stream=True)],
        GoAway({STREAM_CLOSED, PROTOCOL_ERROR}),
    ),
    "rfc9113_5_1_window_of_a_closed_stream": (lambda w: [*ended(w), grow(1, 1000)], Works()),
    "rfc9113_5_1_reset_of_a_closed_stream": (
        lambda w: [*ended(w), frame_bytes(RST_STREAM, 0, 1, CANCELLED)],
        Works(),
    ),
    "rfc9113_5_1_priority_of_a_closed_stream": (
        lambda w: [*ended(w), frame_bytes(PRIORITY, 0, 1, b"\0\0\0\3\x10")],
        Works(),
    ),
    # 5.1.1 Stream Identifiers
    "rfc9113_5_1_1_even_number": (lambda w: [w.headers(stream=2, end_stream=True)], PROTOCOL),
    "rfc9113_5_1_1_number_that_was_passed_over": (
        lambda w: [w.headers(WATCH, 5), w.headers(WATCH, 3)],
        PROTOCOL,
    ),
    "rfc9113_5_1_1_numbers_left_out": (
        lambda w: [w.headers(WATCH, 1), w.headers(WATCH, 201)],
        Works(),
    ),
    # 5.5 Extending HTTP/2
    "rfc9113_5_5_unknown_type_within_a_block": (
        lambda w: [w.headers(stream=1, end_headers=False), frame_bytes(UNKNOWN, 0, 1, b"")],
        PROTOCOL,
    ),
    "rfc9113_5_5_unknown_type_on_a_stream": (
        lambda w: [w.headers(WATCH, 1), frame_bytes(UNKNOWN, 0, 1, b"any")],
        Works(),
    ),
    # 6.1 DATA
    "rfc9113_6_1_data_on_stream_0": (lambda w: [frame_bytes(DATA, 0, 0, b"x")], PROTOCOL),
    "rfc9113_6_1_padding_as_long_as_the_frame": (
        lambda w: [w.headers(stream=1), frame_bytes(DATA, PADDED, 1, b"\x04abc")],
        PROTOCOL,
    ),
    "rfc9113_6_1_padding_without_its_length": (
        lambda w: [w.headers(stream=1), frame_bytes(DATA, PADDED, 1, b"")],
        GoAway({PROTOCOL_ERROR, FRAME_SIZE_ERROR}),
    ),
    "rfc9113_6_1_padding_of_all_the_frame": (
        lambda w: [w.headers(WATCH, 1), frame_bytes(DATA, PADDED, 1, b"\x03abc")],
        Works(),
    ),
    # 6.2 HEADERS
    "rfc9113_6_2_headers_on_stream_0": (
        lambda w: [frame_bytes(HEADERS, END_HEADERS, 0, w.headers(stream=1).data)],
        PROTOCOL,
    ),
    "rfc9113_6_2_padding_as_long_as_the_frame": (
        lambda w: [block(b"\x04abc", END_HEADERS | PADDED)],
        PROTOCOL,
    ),
    "rfc9113_6_2_too_short_for_its_priority": (
        lambda w: [block(b"\0\0\0", END_HEADERS | HAS_PRIORITY)],
        SIZE,
    ),
    "rfc9113_6_2_padding_and_priority": (
        lambda w: [
            block(
                b"\x02\0\0\0\3\x10" + w.headers(WATCH, 1).data + b"\0\0",
                END_HEADERS | PADDED | HAS_PRIORITY,
            )
        ],
        Works(),
    ),
    # 6.3 PRIORITY
    "rfc9113_6_3_priority_on_stream_0": (
        lambda w: [frame_bytes(PRIORITY, 0, 0, b"\0\0\0\3\x10")],
        PROTOCOL,
    ),
    # A stream error, which 5.4.1 lets an endpoint treat as one of the connection.
    "rfc9113_6_3_priority_of_4_bytes": (
        lambda w: [w.headers(stream=1), frame_bytes(PRIORITY, 0, 1, bytes(4))],
        SIZE,
    ),
    # 6.4 RST_STREAM
    "rfc9113_6_4_reset_on_stream_0": (
        lambda w: [frame_bytes(RST_STREAM, 0, 0, CANCELLED)],
        PROTOCOL,
    ),
    "rfc9113_6_4_reset_of_3_bytes": (
        lambda w: [w.headers(stream=1), frame_bytes(RST_STREAM, 0, 1, bytes(3))],
        SIZE,
    ),
    "rfc9113_6_4_reset_ends_a_call": (ended, Works()),
    # 6.5 SETTINGS
    "rfc9113_6_5_acknowledgement_with_content": (
        lambda w: [frame_bytes(SETTINGS, ACK, 0, bytes(6))],
        SIZE,
    ),
    "rfc9113_6_5_settings_on_a_stream": (lambda w: [frame_bytes(SETTINGS, 0, 1, b"")], PROTOCOL),
    "rfc9113_6_5_settings_of_5_bytes": (lambda w: [frame_bytes(SETTINGS, 0, 0, bytes(5))], SIZE),
    "rfc9113_6_5_2_enable_push_2": (lambda w: [setting(2, 2)], PROTOCOL),
    "rfc9113_6_5_2_initial_window_2_31": (lambda w: [setting(4, 2**31)], GoAway({FLOW})),
    "rfc9113_6_5_2_max_frame_size_16383": (lambda w: [setting(5, 16383)], PROTOCOL),
    "rfc9113_6_5_2_max_frame_size_2_24": (lambda w: [setting(5, 2**24)], PROTOCOL),
    "rfc9113_6_5_2_max_frame_size_2_24_less_1": (lambda w: [setting(5, 2**24 - 1)], Works()),
    "rfc9113_6_5_2_unknown_setting": (lambda w: [setting(0x7777, 12345)], Works()),
    "rfc9113_6_5_2_header_table_size_0": (lambda w: [setting(1, 0)], Works()),
    "rfc9113_6_5_2_header_table_size_2_32_less_1": (lambda w: [setting(1, 2**32 - 1)], Works()),
    # 6.6 PUSH_PROMISE
    "rfc9113_6_6_push_promise_from_a_client": (
        lambda w: [w.headers(stream=1), frame_bytes(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2\x82")],
        PROTOCOL,
    ),
    # 6.7 PING
    "rfc9113_6_7_ping_of_7_bytes": (lambda w: [frame_bytes(PING, 0, 0, bytes(7))], SIZE),
    "rfc9113_6_7_ping_on_a_stream": (lambda w: [frame_bytes(PING, 0, 1, bytes(8))], PROTOCOL),
    "rfc9113_6_7_answer_to_no_ping": (lambda w: [frame_bytes(PING, ACK, 0, bytes(8))], Works()),
    # 6.8 GOAWAY
    "rfc9113_6_8_goaway_on_a_stream": (lambda w: [frame_bytes(GOAWAY, 0, 1, bytes(8))], PROTOCOL),
    "rfc9113_6_8_goaway_of_7_bytes": (lambda w: [frame_bytes(GOAWAY, 0, 0, bytes(7))], SIZE),
    # 6.9 WINDOW_UPDATE
    "rfc9113_6_9_update_of_0": (lambda w: [grow(0, 0)], PROTOCOL),
    # A stream error, which 5.4.1 lets an endpoint treat as one of the connection; nghttp2 does.
    "rfc9113_6_9_update_of_0_on_a_stream": (lambda w: [*open_watch(w), grow(1, 0)], PROTOCOL),
    "rfc9113_6_9_update_of_3_bytes": (lambda w: [frame_bytes(WINDOW_UPDATE, 0, 0, bytes(3))], SIZE),
    "rfc9113_6_9_1_connection_window_overflow": (
        lambda w: [grow(0, 2**31 - 1)] * 2,
        GoAway({FLOW}),
    ),
    "rfc9113_6_9_1_stream_window_overflow": (
        lambda w: [*open_watch(w), grow(1, 2**31 - 1), grow(1, 2**31 - 1)],
        Reset({FLOW}),
    ),
    "rfc9113_6_9_2_overflow_by_settings": (
        lambda w: [*open_watch(w), grow(1, 2**31 - 1 - 65535), setting(4, 65536)],
        GoAway({FLOW}),
    ),
    # 6.10 CONTINUATION
    "rfc9113_6_10_without_headers": (
        lambda w: [frame_bytes(CONTINUATION, END_HEADERS, 1, b"")],
        PROTOCOL,
    ),
    "rfc9113_6_10_on_stream_0": (
        lambda w: [
            w.headers(stream=1, end_headers=False),
            frame_bytes(CONTINUATION, END_HEADERS, 0, b""),
        ],
        PROTOCOL,
    ),
    "rfc9113_6_10_of_another_stream": (
        lambda w: [
            w.headers(stream=1, end_headers=False),
            frame_bytes(CONTINUATION, END_HEADERS, 3, b""),
        ],
        PROTOCOL,
    ),
    "rfc9113_6_10_after_the_end_of_the_block": (
        lambda w: [w.headers(stream=1), frame_bytes(CONTINUATION, END_HEADERS, 1, b"")],
        PROTOCOL,
    ),
    "rfc9113_6_10_after_data": (
        lambda w: [
            w.headers(stream=1),
            w.data(b"", 1, end_stream=False),
            frame_bytes(CONTINUATION, END_HEADERS, 1, b""),
        ],
        PROTOCOL,
    ),
    "rfc9113_6_10_several": (
        lambda w: [
            block(b"", 0),
            *[frame_bytes(CONTINUATION, 0, 1, b"")] * 3,
            frame_bytes(CONTINUATION, END_HEADERS, 1, w.headers(WATCH, 1).data),
        ],
        Works(),
    ),
    # 7 Error Codes
    "rfc9113_7_unknown_code_of_a_reset": (
        lambda w: [w.headers(WATCH, 1), frame_bytes(RST_STREAM, 0, 1, b"\xff\0\0\xff")],
        Works(),
    ),
    # RFC 7541
    "rfc7541_2_3_3_index_beyond_the_tables": (lambda w: [block(b"\xff\x80\x01")], COMPRESSION),
    "rfc7541_2_3_3_name_index_beyond_the_tables": (lambda w: [block(b"\x7f\x80\x01")], COMPRESSION),
    "rfc7541_4_2_size_update_after_a_field": (lambda w: [block(b"\x83\x20\x86")], COMPRESSION),
    "rfc7541_5_1_integer_of_many_bytes": (lambda w: [block(b"\xff" * 12 + b"\x7f")], COMPRESSION),
    "rfc7541_5_2_text_cut_short": (lambda w: [block(b"\x40\x0aab")], COMPRESSION),
    "rfc7541_5_2_padding_over_7_bits": (
        lambda w: [block(b"\0\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff")],
        COMPRESSION,
    ),
    "rfc7541_5_2_padding_of_zeros": (
        lambda w: [block(b"\0\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90")],
        COMPRESSION,
    ),
    "rfc7541_5_2_end_of_text_symbol": (
        lambda w: [block(b"\0\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\xff\xff\xff\xfa\x7f")],
        COMPRESSION,
    ),
    "rfc7541_6_1_index_0": (lambda w: [block(b"\x80")], COMPRESSION),
    "rfc7541_6_3_size_update_over_the_limit": (lambda w: [block(b"\x3f\xe2\x1f\x82")], COMPRESSION),
    "rfc7541_6_3_size_update_to_0": (
        lambda w: [w.without_table().headers(WATCH, 1)],
        Works(),
    ),
    "rfc7541_7_3_continuation_flood": (
        lambda w: [
            w.headers(stream=1, end_headers=False),
            *[frame_bytes(CONTINUATION, 0, 1, b"\x00\x01x\x01y")] * 2000,
        ],
        GoAway({ENHANCE_YOUR_CALM}),
    ),
}
