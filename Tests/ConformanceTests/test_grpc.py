"""What gRPC itself promises: statuses, deadlines, cancellation, metadata, limits."""

import concurrent.futures
import threading
import time

import grpc
import pytest
from google.protobuf import struct_pb2
from grpc_health.v1 import health_pb2 as standard

from client import Client, flag, flags, refused, struct

Code = grpc.StatusCode
MIB = 1024 * 1024
GET = "/keelson.flags.v1.FlagService/GetFlag"
EVALUATE = "/keelson.flags.v1.FlagService/EvaluateFlag"
CREATE = "/keelson.flags.v1.FlagService/CreateFlag"


@pytest.mark.parametrize(
    "method",
    [
        "/keelson.flags.v1.FlagService/NoSuchMethod",
        "/keelson.flags.v1.FlagService/getflag",
        "/no.such.Service/GetFlag",
        "/keelson.flags.v1.FlagService/",
        "/keelson.flags.v1.FlagService/GetFlag/more",
        "/x",
        "/",
    ],
)
def test_unknown_method_is_unimplemented(client, method):
    refused(client.raw, method, code=Code.UNIMPLEMENTED)


def nested_struct(depth):
    """An EvaluateFlagRequest whose context is nested that deep."""

    def field(number, payload):
        size, out = len(payload), bytearray([number << 3 | 2])
        while size > 127:
            out.append(size & 127 | 128)
            size >>= 7
        return bytes(out) + bytes([size]) + payload

    value = b"\x08\x00"  # null_value
    for _ in range(depth):
        value = field(6, field(1, value))  # Value.list_value, ListValue.values
    return field(5, field(1, field(1, b"k") + field(2, value)))  # context, Struct.fields


@pytest.mark.parametrize(
    "message",
    [
        b"\xff\xff\xff\xff",
        b"\x12",  # a length that is missing
        b"\x12\x05ab",  # a text cut short
        b"\x12\xff\xff\xff\xff\x0f",  # a length far beyond the end
        b"\x10" + b"\xff" * 11,  # a varint that is too long
        b"\x12\x02\xc3\x28",  # a text that is not UTF-8
        b"\x12\x03\xed\xa0\x80",  # half a surrogate pair
        b"\x12\x02\xc0\x80",  # an overlong NUL
        b"\x13\x12\x01a",  # a group that never ends
        b"\x00\x01",  # field number 0
        b"\x17\x01",  # wire type 7
    ],
)
def test_malformed_protobuf_is_invalid(client, message):
    refused(client.raw, GET, message, code=Code.INVALID_ARGUMENT)


@pytest.mark.parametrize("depth", [200, 10_000])
def test_message_nested_too_deep_is_invalid(client, depth):
    refused(client.raw, EVALUATE, nested_struct(depth), code=Code.INVALID_ARGUMENT)


def test_reasonable_nesting_is_accepted(client, key):
    client.create(key)
    deep = {"k": 1}
    for _ in range(15):
        deep = {"k": deep}
    assert client.evaluate(key, context=deep).variant == "off"


def test_unknown_fields_are_ignored(client, key):
    client.create(key)
    request = flags.GetFlagRequest(key=key).SerializeToString() + b"\xfa\x3f\x03abc\xa0\x3f\x05"
    assert flags.Flag.FromString(client.raw(GET, request)).key == key


def test_last_of_a_repeated_singular_field_wins(client, key):
    client.create(key)
    request = (
        flags.GetFlagRequest(key="no").SerializeToString()
        + flags.GetFlagRequest(key=key).SerializeToString()
    )
    assert flags.Flag.FromString(client.raw(GET, request)).key == key


def test_bomb_of_empty_elements_is_harmless(private, dial):
    """A megabyte of empty submessages must not become a hundred times as much memory."""
    client = dial(private)
    client.create("a")
    list_value = struct_pb2.ListValue()
    list_value.values.extend([struct_pb2.Value()] * 500_000)
    request = flags.EvaluateFlagRequest(key="a")
    request.context.fields["k"].list_value.CopyFrom(list_value)
    data = request.SerializeToString()
    before = private.resident_bytes()
    for _ in range(5):
        refused(client.raw, EVALUATE, data, code={Code.INVALID_ARGUMENT, Code.RESOURCE_EXHAUSTED})
    assert private.resident_bytes() - before < 128 * MIB
    assert client.evaluate("a").variant == "off"


@pytest.mark.parametrize("size", [32 * MIB, 96 * MIB])
def test_oversized_message_is_resource_exhausted(server, client, connect, key, size):
    refused(connect().create, key, description="x" * size, code=Code.RESOURCE_EXHAUSTED)
    refused(client.get, key, code=Code.NOT_FOUND)


def test_oversized_metadata_is_refused_and_the_connection_lives(connect):
    client = connect()
    with pytest.raises(grpc.RpcError):
        client.raw(GET, metadata=[(f"x-{number}", "x" * 4_000) for number in range(8)])
    assert client.standard_health.Check(standard.HealthCheckRequest()).status


def test_metadata_too_large_to_decode_costs_only_its_connection(connect):
    client, other = connect(), connect()
    with pytest.raises(grpc.RpcError):
        client.raw(GET, metadata=[("x-large", "x" * 200_000)])
    assert other.standard_health.Check(standard.HealthCheckRequest()).status
    # The header block could not be decoded, so that connection ended; a new one takes its place.
    again = client.standard_health.Check(standard.HealthCheckRequest(), wait_for_ready=True)
    assert again.status


def test_many_small_metadata_are_accepted(client, key):
    client.create(key)
    metadata = [(f"x-{number}", f"value {number}") for number in range(30)]
    metadata.append(("x-bin", bytes(range(256))))
    assert client.raw(GET, flags.GetFlagRequest(key=key).SerializeToString(), metadata=metadata)


# Correlation


def trailer(call, name):
    found = [each.value for each in call.trailing_metadata() if each.key == name]
    assert len(found) == 1, f"{name} in {call.trailing_metadata()}"
    return found[0]


def test_given_correlation_id_comes_back(client, key):
    _, call = client.flags.CreateFlag.with_call(
        flags.CreateFlagRequest(flag=flag(key)), metadata=[("x-correlation-id", "given-1.2_3")]
    )
    assert trailer(call, "x-correlation-id") == "given-1.2_3"


def test_correlation_id_is_made_when_none_is_given(client, key):
    client.create(key)
    made = set()
    for _ in range(3):
        _, call = client.flags.GetFlag.with_call(flags.GetFlagRequest(key=key))
        made.add(trailer(call, "x-correlation-id"))
    assert len(made) == 3
    assert all(len(each) >= 16 for each in made)


def test_errors_have_the_correlation_id_too(client, key):
    for metadata in (None, [("x-correlation-id", "given")]):
        with pytest.raises(grpc.RpcError) as caught:
            client.flags.GetFlag(flags.GetFlagRequest(key=key), metadata=metadata)
        found = trailer(caught.value, "x-correlation-id")
        assert found == "given" if metadata else len(found) >= 16


def test_made_correlation_id_is_that_of_the_history(client, key):
    _, call = client.flags.CreateFlag.with_call(flags.CreateFlagRequest(flag=flag(key)))
    entry = client.history(key).entries[0]
    assert entry.correlation_id == trailer(call, "x-correlation-id")


def test_unfit_correlation_id_is_not_echoed(client, key):
    client.create(key)
    too_long = "x" * 5000
    try:
        _, call = client.flags.GetFlag.with_call(
            flags.GetFlagRequest(key=key), metadata=[("x-correlation-id", too_long)]
        )
    except grpc.RpcError as error:
        assert error.code() == Code.INVALID_ARGUMENT, error.details()
        return
    assert trailer(call, "x-correlation-id") != too_long


# Deadlines and cancellation


def test_deadline_ends_a_stream(client, flag_set):
    begin = time.monotonic()
    stream = client.watch(flag_set, timeout=3)
    next(stream)
    refused(next, stream, code=Code.DEADLINE_EXCEEDED)
    assert 2.8 < time.monotonic() - begin < 30


def test_cancelled_streams_leave_nothing_behind(private, dial):
    client = dial(private)
    client.create("a")

    def rounds(count):
        for _ in range(count):
            stream = client.watch()
            next(stream)
            stream.cancel()

    rounds(300)
    before = private.resident_bytes()
    rounds(1500)
    assert private.resident_bytes() - before < 24 * MIB
    changed = client.toggle("a", False)
    assert next(client.watch()).revision == changed.revision


def test_cancelled_calls_do_not_disturb_others(client, connect, key):
    client.create(key)
    other = connect()
    request = flags.EvaluateFlagRequest(key=key)
    for _ in range(200):
        abandoned = other.flags.EvaluateFlag.future(request)
        kept = other.flags.EvaluateFlag.future(request)
        abandoned.cancel()
        assert kept.result(20).evaluation.variant == "off"


# Load and transports


def test_many_calls_at_once_on_one_connection(client, connect, key):
    for number in range(20):
        client.create(f"{key}.{number}", variants={"v": number})
    other = connect()
    calls = [
        (
            number % 20,
            other.flags.EvaluateFlag.future(flags.EvaluateFlagRequest(key=f"{key}.{number % 20}")),
        )
        for number in range(1000)
    ]
    for number, call in calls:
        assert call.result(30).evaluation.value.number_value == number


def test_large_messages_both_ways(client, flag_set):
    targeting = '{"if":[{"==":["%s","x"]},"on","off"]}' % ("y" * 60_000)
    for number in range(40):
        client.create(f"f{number:02}", flag_set=flag_set, targeting=targeting)
    found, request = [], flags.ListFlagsRequest(flag_set=flag_set)
    while True:
        # A page ends at about 1 MiB, before it is too large for a client with default limits.
        answer = client.flags.ListFlags(request)
        assert 0 < answer.ByteSize() < 2**20 + 2**17
        found += answer.flags
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert [each.environments["production"].targeting for each in found] == [targeting] * 40
    context = struct({f"k{number}": "v" * 1000 for number in range(500)})
    request = flags.EvaluateFlagsRequest(flag_set=flag_set, context=context)
    assert len(client.flags.EvaluateFlags(request).evaluations) == 40


def test_many_connections(server, client, key):
    client.create(key)
    made = [Client(server.address) for _ in range(60)]
    try:
        calls = [
            each.flags.EvaluateFlag.future(flags.EvaluateFlagRequest(key=key)) for each in made
        ]
        assert {call.result(30).evaluation.variant for call in calls} == {"off"}
    finally:
        for each in made:
            each.close()


def test_compressed_request_works_or_is_clearly_refused(client, key):
    client.create(key, description="x" * 4000)
    try:
        answer = client.flags.GetFlag(
            flags.GetFlagRequest(key=key), compression=grpc.Compression.Gzip
        )
        assert answer.key == key
    except grpc.RpcError as error:
        # The reply's grpc-accept-encoding is for the client's library, which keeps it to itself;
        # test_grpc_framing.py looks for it on the wire.
        assert error.code() == Code.UNIMPLEMENTED, error.details()
        assert "gzip" in error.details()


def test_unix_socket_and_tcp_side_by_side(launch, tmp_path):
    path = tmp_path / "k.sock"
    server = launch(listen=("127.0.0.1:0", f"unix:{path}", "127.0.0.1:0"))
    assert server.addresses[1] == f"unix:{path}"
    ports = {address.rsplit(":", 1)[1] for address in (server.addresses[0], server.addresses[2])}
    assert len(ports) == 2 and "0" not in ports
    made = [Client(address) for address in server.addresses]
    try:
        made[1].create("a")
        for each in made:
            assert each.evaluate("a").variant == "off"
    finally:
        for each in made:
            each.close()
    server.stop()
    assert not path.exists(), "the socket file is left behind"


def test_writes_and_reads_from_many_threads(client, connect, flag_set):
    stop = threading.Event()

    def write(number):
        connection = connect()
        for round in range(40):
            connection.create(f"w{number}-{round}", flag_set=flag_set)
            assert connection.evaluate(f"w{number}-{round}", flag_set=flag_set).variant == "off"

    def read():
        connection, largest = connect(), 0
        while not stop.is_set():
            answer = connection.flags.EvaluateFlags(flags.EvaluateFlagsRequest(flag_set=flag_set))
            assert len(answer.evaluations) >= largest, "a flag vanished"
            largest = len(answer.evaluations)

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        reading = [pool.submit(read) for _ in range(2)]
        try:
            for each in [pool.submit(write, number) for number in range(4)]:
                each.result(60)
        finally:
            stop.set()
        for each in reading:
            each.result(30)
    answer = client.flags.EvaluateFlags(flags.EvaluateFlagsRequest(flag_set=flag_set))
    assert len(answer.evaluations) == 160
