"""The interop cases on grpcio's own API: grpcio_interop_client.py ADDRESS CASE [CA].

What each case sends and expects is upstream's description: grpc/grpc
doc/interop-test-descriptions.md. With the certificate of an authority it speaks TLS. Exit status
1, with the reason, when the case fails.
"""

import os
import pathlib
import sys

import grpc
import testing_messages as testing

Code = grpc.StatusCode
REQUEST_BYTES, RESPONSE_BYTES = 271828, 314159
REQUEST_SIZES = [27182, 8, 1828, 45904]
RESPONSE_SIZES = [31415, 9, 2653, 58979]
TIMEOUT_SECONDS = 20


class Stub:
    """The methods of TestService as grpcio's callables."""

    def __init__(self, channel):
        unary, client = channel.unary_unary, channel.stream_unary
        server, both = channel.unary_stream, channel.stream_stream
        self.empty_call = self._method(unary, "EmptyCall")
        self.unary_call = self._method(unary, "UnaryCall")
        self.unimplemented_call = self._method(unary, "UnimplementedCall")
        self.unimplemented_service_call = self._method(
            unary, "UnimplementedCall", testing.UNIMPLEMENTED
        )
        self.streaming_input_call = self._method(client, "StreamingInputCall")
        self.streaming_output_call = self._method(server, "StreamingOutputCall")
        self.full_duplex_call = self._method(both, "FullDuplexCall")

    @staticmethod
    def _method(kind, name, service=testing.SERVICE):
        request, response = testing.PARAMETERS[name]
        callable = kind(
            f"/{service}/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        return callable


def check(condition, otherwise):
    if not condition:
        raise AssertionError(otherwise)


def check_zeros(payload, size):
    check(len(payload.body) == size, f"{len(payload.body)} bytes where {size} were expected")
    check(payload.body == bytes(size), "a payload has bytes that are not 0")


def check_sizes(responses, sizes):
    found = [response.payload for response in responses]
    check(len(found) == len(sizes), f"{len(found)} responses where {len(sizes)} were expected")
    for payload, size in zip(found, sizes):
        check_zeros(payload, size)


def check_fails(code, call):
    """Makes a call that has to fail with a status; the error."""
    try:
        call()
    except grpc.RpcError as error:
        check(error.code() is code, f"{error.code()} where {code} was expected: {error.details()}")
        return error
    raise AssertionError(f"the call succeeded where {code} was expected")


def large_request(**more):
    return testing.SimpleRequest(
        response_size=RESPONSE_BYTES, payload=testing.zeros(REQUEST_BYTES), **more
    )


def yes_or_no(value):
    return testing.BoolValue(value=value)


def empty_unary(stub):
    check(stub.empty_call(testing.Empty()) is not None, "no response")


def large_unary(stub):
    check_zeros(stub.unary_call(large_request(), timeout=TIMEOUT_SECONDS).payload, RESPONSE_BYTES)


def client_compressed_unary(stub):
    def call(expected, compression):
        request = large_request(expect_compressed=yes_or_no(expected))
        response = stub.unary_call(request, compression=compression, timeout=TIMEOUT_SECONDS)
        check_zeros(response.payload, RESPONSE_BYTES)

    check_fails(Code.INVALID_ARGUMENT, lambda: call(True, grpc.Compression.NoCompression))
    call(True, grpc.Compression.Gzip)
    call(False, grpc.Compression.NoCompression)


def server_compressed_unary(stub):
    # Whether the responses really are compressed is seen on the wire, by who runs this case.
    for compressed in (True, False):
        request = large_request(response_compressed=yes_or_no(compressed))
        response = stub.unary_call(request, timeout=TIMEOUT_SECONDS)
        check_zeros(response.payload, RESPONSE_BYTES)


def client_streaming(stub):
    requests = [
        testing.StreamingInputCallRequest(payload=testing.zeros(size)) for size in REQUEST_SIZES
    ]
    response = stub.streaming_input_call(iter(requests), timeout=TIMEOUT_SECONDS)
    check(response.aggregated_payload_size == 74922, response)


def client_compressed_streaming(stub):
    def request(payload, expected):
        return testing.StreamingInputCallRequest(
            payload=payload, expect_compressed=yes_or_no(expected)
        )

    first = request(testing.zeros(27182), True)
    check_fails(
        Code.INVALID_ARGUMENT,
        lambda: stub.streaming_input_call(iter([first]), timeout=TIMEOUT_SECONDS),
    )
    # grpcio has no switch for single messages of a client's stream, but it sends those as they
    # are that gzip would make longer: the numbers of this payload have no order to be found.
    noise, state = bytearray(), 1
    while len(noise) < 45904:
        state = state * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
        noise.append(state >> 56)
    second = request(testing.Payload(body=bytes(noise)), False)
    response = stub.streaming_input_call(
        iter([first, second]), compression=grpc.Compression.Gzip, timeout=TIMEOUT_SECONDS
    )
    check(response.aggregated_payload_size == 73086, response)


def server_streaming(stub):
    request = testing.StreamingOutputCallRequest(
        response_parameters=[testing.ResponseParameters(size=size) for size in RESPONSE_SIZES]
    )
    check_sizes(stub.streaming_output_call(request, timeout=TIMEOUT_SECONDS), RESPONSE_SIZES)


def server_compressed_streaming(stub):
    sizes = [31415, 92653]
    request = testing.StreamingOutputCallRequest(
        response_parameters=[
            testing.ResponseParameters(size=size, compressed=yes_or_no(compressed))
            for size, compressed in zip(sizes, (True, False))
        ]
    )
    check_sizes(stub.streaming_output_call(request, timeout=TIMEOUT_SECONDS), sizes)


class Requests:
    """An iterator of requests that gives one at a time, when told to."""

    def __init__(self):
        import queue

        self.waiting = queue.Queue()

    def send(self, response_size, payload_size):
        self.waiting.put(
            testing.StreamingOutputCallRequest(
                response_parameters=[testing.ResponseParameters(size=response_size)],
                payload=testing.zeros(payload_size),
            )
        )

    def finish(self):
        self.waiting.put(None)

    def __iter__(self):
        return self

    def __next__(self):
        request = self.waiting.get()
        if request is None:
            raise StopIteration
        return request


def ping_pong(stub):
    requests = Requests()
    responses = stub.full_duplex_call(requests, timeout=TIMEOUT_SECONDS)
    for request_size, response_size in zip(REQUEST_SIZES, RESPONSE_SIZES):
        requests.send(response_size, request_size)
        check_zeros(next(responses).payload, response_size)
    requests.finish()
    check_sizes(responses, [])


def empty_stream(stub):
    check_sizes(stub.full_duplex_call(iter([]), timeout=TIMEOUT_SECONDS), [])


def custom_metadata(stub):
    initial = ("x-grpc-test-echo-initial", "test_initial_metadata_value")
    trailing = ("x-grpc-test-echo-trailing-bin", b"\xab\xab\xab")

    def check_echo(call):
        check(initial in call.initial_metadata(), call.initial_metadata())
        check(trailing in call.trailing_metadata(), call.trailing_metadata())

    sent = (initial, trailing)
    response, call = stub.unary_call.with_call(
        large_request(), metadata=sent, timeout=TIMEOUT_SECONDS
    )
    check_zeros(response.payload, RESPONSE_BYTES)
    check_echo(call)
    request = testing.StreamingOutputCallRequest(
        response_parameters=[testing.ResponseParameters(size=RESPONSE_BYTES)],
        payload=testing.zeros(REQUEST_BYTES),
    )
    call = stub.full_duplex_call(iter([request]), metadata=sent, timeout=TIMEOUT_SECONDS)
    check_sizes(call, [RESPONSE_BYTES])
    check_echo(call)


def check_echoed_status(call, message):
    error = check_fails(Code.UNKNOWN, call)
    check(error.details() == message, repr(error.details()))


def status_code_and_message(stub):
    message = "test status message"
    status = testing.EchoStatus(code=2, message=message)
    check_echoed_status(
        lambda: stub.unary_call(
            testing.SimpleRequest(response_status=status), timeout=TIMEOUT_SECONDS
        ),
        message,
    )
    request = testing.StreamingOutputCallRequest(response_status=status)
    check_echoed_status(
        lambda: list(stub.full_duplex_call(iter([request]), timeout=TIMEOUT_SECONDS)), message
    )


def special_status_message(stub):
    message = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
    status = testing.EchoStatus(code=2, message=message)
    check_echoed_status(
        lambda: stub.unary_call(
            testing.SimpleRequest(response_status=status), timeout=TIMEOUT_SECONDS
        ),
        message,
    )


def unimplemented_method(stub):
    check_fails(Code.UNIMPLEMENTED, lambda: stub.unimplemented_call(testing.Empty()))


def unimplemented_service(stub):
    check_fails(Code.UNIMPLEMENTED, lambda: stub.unimplemented_service_call(testing.Empty()))


def cancel_after_begin(stub):
    requests = Requests()
    call = stub.streaming_input_call.future(requests, timeout=TIMEOUT_SECONDS)
    call.cancel()
    check(call.cancelled(), "the call was not cancelled")
    check(call.code() is Code.CANCELLED, call.code())
    requests.finish()


def cancel_after_first_response(stub):
    requests = Requests()
    responses = stub.full_duplex_call(requests, timeout=TIMEOUT_SECONDS)
    requests.send(31415, 27182)
    check_zeros(next(responses).payload, 31415)
    responses.cancel()
    check_fails(Code.CANCELLED, lambda: next(responses))
    check(responses.code() is Code.CANCELLED, responses.code())
    requests.finish()


def timeout_on_sleeping_server(stub):
    # So that it is not the connection that takes the time.
    stub.empty_call(testing.Empty())
    request = testing.StreamingOutputCallRequest(payload=testing.zeros(27182))
    requests = Requests()
    requests.waiting.put(request)
    check_fails(
        Code.DEADLINE_EXCEEDED, lambda: next(stub.full_duplex_call(requests, timeout=0.001))
    )
    requests.finish()


CASES = [
    empty_unary,
    large_unary,
    client_compressed_unary,
    server_compressed_unary,
    client_streaming,
    client_compressed_streaming,
    server_streaming,
    server_compressed_streaming,
    ping_pong,
    empty_stream,
    custom_metadata,
    status_code_and_message,
    special_status_message,
    unimplemented_method,
    unimplemented_service,
    cancel_after_begin,
    cancel_after_first_response,
    timeout_on_sleeping_server,
]


def open_channel(address, authority):
    if not authority:
        return grpc.insecure_channel(address)
    roots = pathlib.Path(authority[0]).read_bytes()
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(roots))


def main():
    if len(sys.argv) not in (3, 4) or sys.argv[2] not in {case.__name__ for case in CASES}:
        sys.exit(f"{__doc__}\ncases: {', '.join(case.__name__ for case in CASES)}")
    address, name = sys.argv[1:3]
    with open_channel(address, sys.argv[3:]) as channel:
        try:
            next(case for case in CASES if case.__name__ == name)(Stub(channel))
        except (AssertionError, grpc.RpcError) as error:
            sys.exit(f"{name}: {error}")
        # What grpcio's own threads do while the interpreter goes away is not what is tried here:
        # now and then a process of it does not end.
        sys.stdout.flush()
        os._exit(0)


main()
