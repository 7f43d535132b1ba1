"""grpcio against a server, and what an error of it says."""

import json

import grpc
from google.protobuf import json_format, struct_pb2
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2_grpc as standard_health_grpc
from grpc_status import rpc_status
from keelson.events.v1 import events_pb2 as events
from keelson.events.v1 import events_pb2_grpc as events_grpc
from keelson.flags.v1 import flags_pb2 as flags
from keelson.flags.v1 import flags_pb2_grpc as flags_grpc
from keelson.health.v1 import health_pb2_grpc as health_grpc

ENVIRONMENT = "production"
CALL_TIMEOUT_SECONDS = 20
STREAM_TIMEOUT_SECONDS = 60


class DefaultDeadline(grpc.UnaryUnaryClientInterceptor):
    """A call without a deadline gets one, so that a silent server fails the test."""

    def intercept_unary_unary(self, continuation, details, request):
        if details.timeout is None:
            details = details._replace(timeout=CALL_TIMEOUT_SECONDS)
        return continuation(details, request)


class Client:
    """One connection of its own, with the stubs of every service on it."""

    def __init__(self, address, options=(), credentials=None):
        options = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            ("grpc.enable_retries", 0),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 500),
            *options,
        ]
        if credentials:
            self.channel = grpc.secure_channel(address, credentials, options=options)
        else:
            self.channel = grpc.insecure_channel(address, options=options)
        calls = grpc.intercept_channel(self.channel, DefaultDeadline())
        self.flags = flags_grpc.FlagServiceStub(calls)
        self.events = events_grpc.EventServiceStub(calls)
        self.health = health_grpc.HealthServiceStub(calls)
        self.standard_health = standard_health_grpc.HealthStub(calls)

    def ready(self):
        grpc.channel_ready_future(self.channel).result(CALL_TIMEOUT_SECONDS)
        return self

    def raw(self, method, request=b"", **options):
        """A unary call with the given bytes as its message; the answer's bytes."""
        call = self.channel.unary_unary(
            method, request_serializer=lambda data: data, response_deserializer=lambda data: data
        )
        return call(request, timeout=CALL_TIMEOUT_SECONDS, **options)

    def watch(self, flag_set="", environment="", resume_revision=0, timeout=STREAM_TIMEOUT_SECONDS):
        request = flags.WatchFlagsRequest(
            flag_set=flag_set, environment=environment, resume_revision=resume_revision
        )
        return self.flags.WatchFlags(request, timeout=timeout)

    def subscribe(self, *types, timeout=STREAM_TIMEOUT_SECONDS, **fields):
        request = events.SubscribeRequest(types=types, **fields)
        return self.events.Subscribe(request, timeout=timeout)

    def evaluate(self, key, flag_set="", environment="", targeting_key="", context=None, **more):
        """The evaluation of one flag."""
        return self.flags.EvaluateFlag(
            flags.EvaluateFlagRequest(
                key=key,
                flag_set=flag_set,
                environment=environment,
                targeting_key=targeting_key,
                context=struct(context) if context is not None else None,
                **more,
            )
        ).evaluation

    def create(self, key, **fields):
        return self.flags.CreateFlag(flags.CreateFlagRequest(flag=flag(key, **fields)))

    def get(self, key, flag_set=""):
        return self.flags.GetFlag(flags.GetFlagRequest(key=key, flag_set=flag_set))

    def toggle(self, key, enabled, environment="", flag_set="", etag=""):
        return self.flags.ToggleFlag(
            flags.ToggleFlagRequest(
                key=key, enabled=enabled, environment=environment, flag_set=flag_set, etag=etag
            )
        )

    def update(self, changed, *paths):
        request = flags.UpdateFlagRequest(flag=changed)
        request.update_mask.paths.extend(paths)
        return self.flags.UpdateFlag(request)

    def set_targeting(self, key, targeting, flag_set="", environment=ENVIRONMENT):
        changed = flags.Flag(key=key, flag_set=flag_set)
        changed.environments[environment].targeting = compact(targeting)
        return self.update(changed, f"environments.{environment}.targeting")

    def create_segment(self, key, condition, flag_set=""):
        return self.flags.CreateSegment(
            flags.CreateSegmentRequest(
                segment=flags.Segment(key=key, flag_set=flag_set, condition=compact(condition))
            )
        )

    def create_set(self, key, **fields):
        return self.flags.CreateFlagSet(
            flags.CreateFlagSetRequest(flag_set=flags.FlagSet(key=key, **fields))
        )

    def history(self, key, flag_set="", page_size=0, page_token=""):
        return self.flags.ListFlagHistory(
            flags.ListFlagHistoryRequest(
                key=key, flag_set=flag_set, page_size=page_size, page_token=page_token
            )
        )

    def close(self):
        self.channel.close()


def compact(value):
    """JSON text; text is taken as it is."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def value(python):
    return json_format.ParseDict(python, struct_pb2.Value())


def struct(python):
    return json_format.ParseDict(python, struct_pb2.Struct())


def plain(message):
    """The Python value of a Value or Struct."""
    return json_format.MessageToDict(message)


def flag(
    key,
    *,
    variants=None,
    type=flags.FLAG_TYPE_UNSPECIFIED,
    enabled=True,
    default=None,
    targeting="",
    environment=ENVIRONMENT,
    metadata=None,
    **fields,
):
    """A flag that is enabled in one environment; boolean with `on` and `off` unless told."""
    if variants is None and type == flags.FLAG_TYPE_UNSPECIFIED:
        type = flags.FLAG_TYPE_BOOLEAN
    if default is None:
        default = next(iter(variants)) if variants else "off"
    made = flags.Flag(key=key, type=type, **fields)
    for name, variant in (variants or {}).items():
        made.variants[name].CopyFrom(value(variant))
    state = made.environments[environment]
    state.enabled = enabled
    state.default_variant = default
    state.targeting = compact(targeting) if targeting != "" else ""
    if metadata is not None:
        made.metadata.CopyFrom(struct(metadata))
    return made


def refused(call, *arguments, code, **options):
    """Makes a call that must fail with the code; the error."""
    codes = code if isinstance(code, (set, tuple, list)) else {code}
    try:
        answer = call(*arguments, **options)
        if hasattr(answer, "__next__"):
            answer = next(answer)
    except grpc.RpcError as error:
        assert error.code() in codes, f"{error.code()}: {error.details()}"
        assert error.details(), "an error without a message"
        return error
    raise AssertionError(f"accepted, expected {codes}: {answer!r}"[:2000])


def details(error, kind):
    """The details of one google.rpc kind in an error's grpc-status-details-bin."""
    status = rpc_status.from_call(error)
    assert status is not None, f"no grpc-status-details-bin with {error.code()} {error.details()}"
    found = []
    for packed in status.details:
        unpacked = kind()
        if packed.Unpack(unpacked):
            found.append(unpacked)
    return found


def violations(error):
    """Field and description of each field violation."""
    return [
        (violation.field, violation.description)
        for bad in details(error, error_details_pb2.BadRequest)
        for violation in bad.field_violations
    ]


def invalid(call, *arguments, field, **options):
    """Makes a call that must be INVALID_ARGUMENT with a violation of the field; the error."""
    error = refused(call, *arguments, code=grpc.StatusCode.INVALID_ARGUMENT, **options)
    found = violations(error)
    assert any(field in name for name, _ in found), f"no violation of {field} in {found}"
    assert all(description for _, description in found), found
    return error


def resource(error):
    """The ResourceInfo of an error."""
    found = details(error, error_details_pb2.ResourceInfo)
    assert found, f"no ResourceInfo with {error.code()} {error.details()}"
    return found[0]
