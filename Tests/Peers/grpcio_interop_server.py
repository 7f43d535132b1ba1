"""grpc.testing.TestService on grpcio. Prints its port, serves until standard input ends.

grpcio does not tell a handler whether a request was compressed, so `expect_compressed` is not
looked at: who runs the cases looks at the wire.
"""

import sys
import threading
import time
from concurrent import futures

import grpc
import testing_messages as testing


def echo_metadata(context):
    metadata = dict(context.invocation_metadata())
    if "x-grpc-test-echo-initial" in metadata:
        name = "x-grpc-test-echo-initial"
        context.send_initial_metadata(((name, metadata[name]),))
    if "x-grpc-test-echo-trailing-bin" in metadata:
        name = "x-grpc-test-echo-trailing-bin"
        context.set_trailing_metadata(((name, metadata[name]),))


def end_if_asked(request, context):
    if not request.HasField("response_status") or request.response_status.code == 0:
        return
    status = request.response_status
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    context.abort(code, status.message)


def empty_call(request, context):
    echo_metadata(context)
    return testing.Empty()


def unary_call(request, context):
    # Ahead of the initial metadata, which says how messages are compressed.
    if request.response_compressed.value:
        context.set_compression(grpc.Compression.Gzip)
    echo_metadata(context)
    end_if_asked(request, context)
    return testing.SimpleResponse(payload=testing.zeros(request.response_size))


def cacheable_unary_call(request, context):
    context.send_initial_metadata((("cache-control", "max-age=60, public"),))
    payload = testing.Payload(body=str(time.time_ns()).encode())
    return testing.SimpleResponse(payload=payload)


def responses(request, context):
    end_if_asked(request, context)
    gone = threading.Event()
    context.add_callback(gone.set)
    for parameters in request.response_parameters:
        if parameters.interval_us > 0:
            gone.wait(parameters.interval_us / 1e6)
        if not parameters.compressed.value:
            context.disable_next_message_compression()
        payload = testing.zeros(parameters.size)
        yield testing.StreamingOutputCallResponse(payload=payload)


def streaming_output_call(request, context):
    if any(each.compressed.value for each in request.response_parameters):
        context.set_compression(grpc.Compression.Gzip)
    echo_metadata(context)
    yield from responses(request, context)


def streaming_input_call(requests, context):
    echo_metadata(context)
    size = sum(len(request.payload.body) for request in requests)
    return testing.StreamingInputCallResponse(aggregated_payload_size=size)


def full_duplex_call(requests, context):
    echo_metadata(context)
    for request in requests:
        yield from responses(request, context)


def half_duplex_call(requests, context):
    echo_metadata(context)
    for request in list(requests):
        yield from responses(request, context)


def main():
    one, many = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
    methods = {
        "EmptyCall": (one, empty_call),
        "UnaryCall": (one, unary_call),
        "CacheableUnaryCall": (one, cacheable_unary_call),
        "StreamingInputCall": (grpc.stream_unary_rpc_method_handler, streaming_input_call),
        "StreamingOutputCall": (grpc.unary_stream_rpc_method_handler, streaming_output_call),
        "FullDuplexCall": (many, full_duplex_call),
        "HalfDuplexCall": (many, half_duplex_call),
    }
    handlers = {}
    for name, (kind, behaviour) in methods.items():
        request, response = testing.PARAMETERS[name]
        handlers[name] = kind(
            behaviour,
            request_deserializer=request.FromString,
            response_serializer=response.SerializeToString,
        )
    server = grpc.server(futures.ThreadPoolExecutor(32))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(testing.SERVICE, handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(0)


main()
