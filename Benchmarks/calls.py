"""The calls that the benchmarks make, as bytes."""

from load import Call
from wire import field, frame

#: `status: SERVING`, of an empty request.
HEALTH_CHECK = Call("/grpc.health.v1.Health/Check", frame(b""), len(frame(field(1, 1))))

#: How many messages one call of a stream carries, and the bytes of payload in each.
STREAM_MESSAGES = 1_000
STREAM_PAYLOAD_BYTES = 32

TEST_SERVICE = "/grpc.testing.TestService/"


def payload(size: int) -> bytes:
    """A field 1 that is a Payload with a body of zeros."""
    return field(1, field(2, bytes(size)))


def server_stream(messages: int = STREAM_MESSAGES, size: int = STREAM_PAYLOAD_BYTES) -> Call:
    request = field(2, field(1, size)) * messages
    answer = len(frame(payload(size))) * messages
    return Call(TEST_SERVICE + "StreamingOutputCall", frame(request), answer, messages)


def client_stream(messages: int = STREAM_MESSAGES, size: int = STREAM_PAYLOAD_BYTES) -> Call:
    answer = len(frame(field(1, messages * size)))
    return Call(TEST_SERVICE + "StreamingInputCall", frame(payload(size)) * messages, answer)


def both_streams(messages: int = STREAM_MESSAGES, size: int = STREAM_PAYLOAD_BYTES) -> Call:
    """Each request asks for one response."""
    request = frame(field(2, field(1, size)))
    answer = len(frame(payload(size))) * messages
    return Call(TEST_SERVICE + "FullDuplexCall", request * messages, answer, messages)


def unary(request_size: int, response_size: int) -> Call:
    """A unary call with payloads of these sizes."""
    request = field(2, response_size)
    if request_size:
        request += field(3, field(2, bytes(request_size)))
    return Call(TEST_SERVICE + "UnaryCall", frame(request), len(frame(payload(response_size))))
