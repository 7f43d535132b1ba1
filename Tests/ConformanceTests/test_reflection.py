"""Server reflection: grpcio-reflection finds what there is, and calls are made with only that."""

import grpc
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2 as reflection
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from client import refused

# grpcio-reflection speaks the older name; its messages are those of the newer one too.
VERSIONS = ["v1", "v1alpha"]
SERVICES = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "keelson.flags.v1.FlagService",
    "keelson.health.v1.HealthService",
]


def ask(client, version, *requests):
    """Asks on one stream; the answers."""
    call = client.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection.ServerReflectionResponse.FromString,
    )
    return list(call(iter(requests), timeout=20))


def file_names(answer):
    protos = answer.file_descriptor_response.file_descriptor_proto
    return [descriptor_pb2.FileDescriptorProto.FromString(proto).name for proto in protos]


@pytest.fixture
def database(client):
    return ProtoReflectionDescriptorDatabase(client.channel)


@pytest.fixture
def pool(database):
    return DescriptorPool(database)


def test_reflection_lists_every_service(database):
    services = list(database.get_services())
    assert set(SERVICES) <= set(services)
    assert services == sorted(services)


@pytest.mark.parametrize("version", VERSIONS)
def test_both_names_list_the_services(client, version):
    (answer,) = ask(
        client, version, reflection.ServerReflectionRequest(host="a", list_services="*")
    )
    assert answer.valid_host == "a"
    assert answer.original_request.list_services == "*"
    assert set(SERVICES) <= {service.name for service in answer.list_services_response.service}


def test_every_listed_service_is_defined(database, pool):
    for name in database.get_services():
        service = pool.FindServiceByName(name)
        assert service.methods, name
        for method in service.methods:
            assert pool.FindMethodByName(method.full_name).input_type is method.input_type


@pytest.mark.parametrize(
    "find, name",
    [
        ("FindMessageTypeByName", "keelson.flags.v1.Flag"),
        ("FindMessageTypeByName", "keelson.flags.v1.Flag.VariantsEntry"),
        ("FindMessageTypeByName", "google.protobuf.Struct"),
        ("FindEnumTypeByName", "grpc.health.v1.HealthCheckResponse.ServingStatus"),
        ("FindFieldByName", "keelson.flags.v1.Flag.key"),
        ("FindOneofByName", "google.protobuf.Value.kind"),
        ("FindFileByName", "google/rpc/error_details.proto"),
        ("FindFileContainingSymbol", "keelson.flags.v1.FLAG_TYPE_BOOLEAN"),
    ],
)
def test_definitions_are_found_by_name(pool, find, name):
    assert getattr(pool, find)(name)


@pytest.mark.parametrize("name", ["no.such.Message", "keelson.flags.v1", "", "Flag"])
def test_an_unknown_name_is_not_found(pool, name):
    with pytest.raises(KeyError):
        pool.FindMessageTypeByName(name)


def test_a_message_without_extensions(database):
    assert database.FindAllExtensionNumbers("keelson.flags.v1.Flag") == []
    with pytest.raises(KeyError):
        database.FindAllExtensionNumbers("keelson.flags.v1.Nothing")


def test_a_call_made_with_reflected_definitions_only(client, pool, key):
    client.create(key)
    method = pool.FindMethodByName("keelson.flags.v1.FlagService.EvaluateFlag")
    request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    call = client.channel.unary_unary(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=response.FromString,
    )
    answer = call(request(key=key, targeting_key="anna"), timeout=20)
    assert answer.evaluation.variant == "off"


@pytest.mark.parametrize("symbol", ["Flag", "FlagService", "FlagService.CreateFlag", "Flag.key"])
def test_a_file_comes_first_and_with_all_it_imports(client, symbol):
    symbol = f"keelson.flags.v1.{symbol}"
    (answer,) = ask(
        client, "v1", reflection.ServerReflectionRequest(file_containing_symbol=symbol)
    )
    names = file_names(answer)
    assert names[0] == "keelson/flags/v1/flags.proto"
    assert {"google/protobuf/struct.proto", "google/protobuf/timestamp.proto"} <= set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("version", VERSIONS)
def test_errors_answer_one_request_and_the_stream_goes_on(client, version):
    extension = reflection.ExtensionRequest(containing_type="a.B", extension_number=7)
    answers = ask(
        client,
        version,
        reflection.ServerReflectionRequest(file_by_filename="none.proto"),
        reflection.ServerReflectionRequest(file_containing_symbol="no.Symbol"),
        reflection.ServerReflectionRequest(file_containing_extension=extension),
        reflection.ServerReflectionRequest(all_extension_numbers_of_type="a.B"),
        reflection.ServerReflectionRequest(),
        reflection.ServerReflectionRequest(file_by_filename="x" * 2000),
        reflection.ServerReflectionRequest(file_by_filename="google/rpc/code.proto"),
    )
    codes = [answer.error_response.error_code for answer in answers]
    assert codes == [5, 5, 5, 5, 3, 3, 0]
    assert all(answer.error_response.error_message for answer in answers[:-1])
    assert answers[0].original_request.file_by_filename == "none.proto"
    assert not answers[5].HasField("original_request"), "a name over the limit is not echoed"
    assert file_names(answers[-1]) == ["google/rpc/code.proto"]


def test_a_stream_answers_a_bounded_number_of_requests(client):
    question = reflection.ServerReflectionRequest(file_by_filename="google/rpc/code.proto")
    error = refused(
        lambda: ask(client, "v1", *[question] * 10_001),
        code=grpc.StatusCode.RESOURCE_EXHAUSTED,
    )
    assert "10000" in error.details()


def test_reflection_can_be_switched_off(launch, dial):
    server = launch(arguments=["--no-reflection"])
    client = dial(server)
    for version in VERSIONS:
        with pytest.raises(grpc.RpcError) as raised:
            ask(client, version, reflection.ServerReflectionRequest(list_services=""))
        assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED
