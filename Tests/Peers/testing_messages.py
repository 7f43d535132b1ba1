"""The messages of grpc.testing for peers in Python, made of Tests/Protos when a peer starts.

Generated modules would stand in the package `grpc.testing`, which is inside grpcio's own, so the
classes come from the descriptors instead.
"""

import pathlib
import sys
import tempfile

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

PROTOS = pathlib.Path(__file__).resolve().parents[1] / "Protos"
SERVICE = "grpc.testing.TestService"
UNIMPLEMENTED = "grpc.testing.UnimplementedService"


def _pool():
    with tempfile.NamedTemporaryFile(suffix=".descriptors") as file:
        arguments = ["protoc", f"-I{PROTOS}", "--include_imports"]
        arguments += [f"--descriptor_set_out={file.name}", "grpc/testing/test.proto"]
        if protoc.main(arguments) != 0:
            sys.exit(f"protoc failed for {PROTOS}/grpc/testing/test.proto")
        descriptors = descriptor_pb2.FileDescriptorSet.FromString(file.read())
    pool = descriptor_pool.DescriptorPool()
    for each in descriptors.file:
        pool.Add(each)
    return pool


_descriptors = _pool()


def _message(name):
    descriptor = _descriptors.FindMessageTypeByName(f"grpc.testing.{name}")
    return message_factory.GetMessageClass(descriptor)


BoolValue = _message("BoolValue")
EchoStatus = _message("EchoStatus")
Empty = _message("Empty")
Payload = _message("Payload")
ResponseParameters = _message("ResponseParameters")
SimpleRequest = _message("SimpleRequest")
SimpleResponse = _message("SimpleResponse")
StreamingInputCallRequest = _message("StreamingInputCallRequest")
StreamingInputCallResponse = _message("StreamingInputCallResponse")
StreamingOutputCallRequest = _message("StreamingOutputCallRequest")
StreamingOutputCallResponse = _message("StreamingOutputCallResponse")

PARAMETERS = {
    "EmptyCall": (Empty, Empty),
    "UnaryCall": (SimpleRequest, SimpleResponse),
    "CacheableUnaryCall": (SimpleRequest, SimpleResponse),
    "StreamingInputCall": (StreamingInputCallRequest, StreamingInputCallResponse),
    "StreamingOutputCall": (StreamingOutputCallRequest, StreamingOutputCallResponse),
    "FullDuplexCall": (StreamingOutputCallRequest, StreamingOutputCallResponse),
    "HalfDuplexCall": (StreamingOutputCallRequest, StreamingOutputCallResponse),
    "UnimplementedCall": (Empty, Empty),
}


def zeros(size):
    return Payload(body=bytes(size))
