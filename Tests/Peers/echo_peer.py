"""The test's EchoService on grpcio, with messages as plain bytes. Prints its port, serves until
standard input ends."""

import sys
import threading
from concurrent import futures

import grpc


def echo(request, context):
    metadata = dict(context.invocation_metadata())
    if "x-echo" in metadata:
        context.send_initial_metadata((("x-echo", metadata["x-echo"]),))
    trailers = [("x-correlation-id", metadata.get("x-correlation-id", "none"))]
    if "x-echo-bin" in metadata:
        trailers.append(("x-echo-bin", metadata["x-echo-bin"]))
    context.set_trailing_metadata(trailers)
    return request


def fail(request, context):
    context.set_trailing_metadata(
        (("x-why", "test"), ("x-from", "context"), ("grpc-status-details-bin", b"\x01\x02\x03"))
    )
    context.abort(grpc.StatusCode.NOT_FOUND, "Nothing hère: 100% gone")


def hang(request, context):
    gone = threading.Event()
    context.add_callback(gone.set)
    gone.wait()
    return b""


def count(requests, context):
    messages = size = 0
    for request in requests:
        messages += 1
        size += len(request)
    return messages.to_bytes(8, "little") + size.to_bytes(8, "little")


def repeat(request, context):
    for _ in range(request[0]):
        yield request[1:]


def chat(requests, context):
    metadata = dict(context.invocation_metadata())
    if "x-echo" in metadata:
        context.send_initial_metadata((("x-echo", metadata["x-echo"]),))
    yield from requests


def main():
    handlers = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Hang": grpc.unary_unary_rpc_method_handler(hang),
        "Count": grpc.stream_unary_rpc_method_handler(count),
        "Repeat": grpc.unary_stream_rpc_method_handler(repeat),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
    }
    server = grpc.server(futures.ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("keelson.test.v1.EchoService", handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(0)


main()
