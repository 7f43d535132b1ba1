"""Rules of grpc/grpc doc/PROTOCOL-HTTP2.md that are easily missed, on the wire.

They run against the test server of the interop cases, whose service echoes metadata and statuses.
"""

import base64
import struct
import sys

import pytest
from hyperframe import frame as frames

import interop_peers as peers
from stubs import REPOSITORY
from wire import CANCEL, NO_ERROR, Wire, message

sys.path.append(str(REPOSITORY / "Tests/Peers"))
import testing_messages as testing  # noqa: E402

EMPTY = "/grpc.testing.TestService/EmptyCall"
UNARY = "/grpc.testing.TestService/UnaryCall"
DUPLEX = "/grpc.testing.TestService/FullDuplexCall"
INPUT = "/grpc.testing.TestService/StreamingInputCall"
OK, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL = "0", "4", "12", "13"
ECHO_INITIAL = "x_grpc_test_echo_initial"
ECHO_TRAILING = "x_grpc_test_echo_trailing_bin"


@pytest.fixture(scope="module")
def test_server():
    server = peers.start_keelson()
    yield server
    server.stop()


@pytest.fixture
def wire(test_server):
    with Wire(test_server.endpoint) as wire:
        yield wire
        wire.check()


def call(wire, path=EMPTY, body=None, **headers):
    """A whole call; the headers and trailers of its answer."""
    request = wire.headers(path, **headers)
    wire.send(request, wire.data(message() if body is None else body, request.stream_id))
    return wire.answer(request.stream_id)[0]


def every(wire, path, name, **headers):
    """A whole call; all values of one field of its answer, split as lists are."""
    request = wire.headers(path, **headers)
    stream = request.stream_id
    wire.send(request, wire.data(message(), stream))
    found = []
    while True:
        frame = wire.read()
        if isinstance(frame, frames.HeadersFrame):
            fields = wire.decoder.decode(frame.data)
            found += [part for key, value in fields if key == name for part in value.split(",")]
            if frame.stream_id == stream and "END_STREAM" in frame.flags:
                return found


# Custom-Metadata

PADDED = {
    b"": "",
    b"\x01": "AQ==",
    b"\x01\x02": "AQI=",
    b"\x01\x02\x03": "AQID",
    b"\xfb\xff": "+/8=",
}


@pytest.mark.parametrize("value", PADDED, ids=lambda value: value.hex() or "empty")
@pytest.mark.parametrize("padded", [True, False], ids=["padded", "unpadded"])
def test_binary_metadata_is_read_with_and_without_padding(wire, value, padded):
    sent = PADDED[value] if padded else PADDED[value].rstrip("=")
    fields = call(wire, **{ECHO_TRAILING: sent})
    assert fields["grpc-status"] == OK
    assert fields["x-grpc-test-echo-trailing-bin"] == PADDED[value].rstrip("="), "not unpadded"


@pytest.mark.parametrize("joined", ["AQ==,AgM=", "AQ,AgM", "AQ==, AgM", "AQ ,AgM="])
def test_joined_binary_metadata_is_split_before_it_is_decoded(wire, joined):
    found = every(wire, EMPTY, "x-grpc-test-echo-trailing-bin", **{ECHO_TRAILING: joined})
    assert [base64.b64decode(part + "==") for part in found] == [b"\x01", b"\x02\x03"]


@pytest.mark.parametrize("value", ["=", "A", "AQ=Q", "\u00e9", "@@@@"])
def test_binary_metadata_that_is_no_base64_does_not_fail_the_call(wire, value):
    fields = call(wire, **{ECHO_TRAILING: value})
    assert fields["grpc-status"] == OK
    assert "x-grpc-test-echo-trailing-bin" not in fields


@pytest.mark.parametrize("value", ["tab\there", "caf\u00e9"])
def test_text_that_only_http_allows_does_not_fail_the_call(wire, value):
    fields = call(wire, **{ECHO_INITIAL: value, ECHO_TRAILING: "AQ"})
    assert fields["grpc-status"] == OK
    assert "x-grpc-test-echo-initial" not in fields
    assert fields["x-grpc-test-echo-trailing-bin"] == "AQ", "what stood beside it is lost"


# Timeout


def deadline(wire, path, timeout, *, end_stream):
    """A call that waits until the server ends it; its answer."""
    request = wire.headers(path, grpc_timeout=timeout)
    body = testing.StreamingInputCallRequest().SerializeToString()
    wire.send(request, wire.data(message(body), request.stream_id, end_stream=end_stream))
    return wire.answer(request.stream_id)


@pytest.mark.parametrize("timeout", ["50m", "1n"])
@pytest.mark.parametrize("path", [INPUT, DUPLEX])
def test_server_resets_a_call_whose_deadline_has_passed(wire, path, timeout):
    fields, _, reset = deadline(wire, path, timeout, end_stream=False)
    assert reset == CANCEL
    assert "grpc-status" not in fields


def test_server_resets_a_unary_call_whose_deadline_passes_before_its_request_is_whole(wire):
    fields, _, reset = deadline(wire, UNARY, "50m", end_stream=False)
    assert reset == CANCEL
    assert "grpc-status" not in fields


# Early server closure


def early_end(wire, path, body, **headers):
    """A call that the server ends though the request has not; what follows the trailers."""
    request = wire.headers(path, **headers)
    stream = request.stream_id
    wire.send(request, wire.data(body, stream, end_stream=False))
    fields, _, reset = wire.answer(stream)
    assert reset is None, "reset before the trailers"
    while True:
        frame = wire.read()
        if frame.stream_id == stream:
            assert isinstance(frame, frames.RstStreamFrame), frame
            return fields, frame.error_code


def test_trailers_ahead_of_the_end_of_the_request_are_followed_by_reset_no_error(wire):
    status = testing.EchoStatus(code=3, message="early")
    request = testing.StreamingOutputCallRequest(response_status=status)
    fields, reset = early_end(wire, DUPLEX, message(request.SerializeToString()))
    assert (fields["grpc-status"], fields["grpc-message"]) == ("3", "early")
    assert reset == NO_ERROR


def test_refusal_ahead_of_the_end_of_the_request_is_followed_by_reset_no_error(wire):
    fields, reset = early_end(wire, "/grpc.testing.TestService/UnimplementedCall", b"")
    assert fields["grpc-status"] == UNIMPLEMENTED
    assert reset == NO_ERROR


def test_wrong_content_type_ahead_of_the_end_of_the_request_is_followed_by_reset_no_error(wire):
    fields, reset = early_end(wire, EMPTY, b"{}", content_type="application/json")
    assert fields[":status"] == "415"
    assert "grpc-status" not in fields
    assert reset == NO_ERROR


# Compression


@pytest.mark.parametrize("flag", [1, 2, 255])
def test_compressed_flag_without_an_encoding_is_internal(wire, flag):
    assert call(wire, body=message(b"", compressed=flag))["grpc-status"] == INTERNAL


def test_compressed_flag_with_identity_is_internal(wire):
    fields = call(wire, body=message(b"", compressed=1), grpc_encoding="identity")
    assert fields["grpc-status"] == INTERNAL


def test_unknown_encoding_is_unimplemented_and_the_known_are_named(wire):
    fields = call(wire, body=message(b"x", compressed=1), grpc_encoding="snappy")
    assert fields["grpc-status"] == UNIMPLEMENTED
    known = {each.strip() for each in fields["grpc-accept-encoding"].split(",")}
    assert known == {"identity", "gzip"}


@pytest.mark.parametrize(
    "body",
    [
        b"no gzip at all",
        b"\x1f\x8b\x08\0\0\0\0\0\0\x03",  # cut short
        base64.b64decode("H4sIAAAAAAAC/wMAAAAAAAAAAAA=") + b"more",
        struct.pack(">I", 0),
    ],
)
def test_message_that_cannot_be_inflated_is_internal(wire, body):
    fields = call(wire, body=message(body, compressed=1), grpc_encoding="gzip")
    assert fields["grpc-status"] == INTERNAL


# Status-Message


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("plain ~ text", "plain ~ text"),
        ("100%", "100%25"),
        ("line\nbreak", "line%0Abreak"),
        ("\u00e9\u263a", "%C3%A9%E2%98%BA"),
        ("\x00\x1f\x7f", "%00%1F%7F"),
        ("\U0001f608", "%F0%9F%98%88"),
    ],
)
def test_status_message_is_percent_encoded_utf8(wire, text, encoded):
    status = testing.EchoStatus(code=2, message=text)
    request = testing.SimpleRequest(response_status=status).SerializeToString()
    fields = call(wire, UNARY, message(request))
    assert fields["grpc-message"] == encoded
