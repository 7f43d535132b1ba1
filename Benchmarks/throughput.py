"""Server CPU per call and per message under full load."""

import contextlib
import dataclasses
import pathlib

import calls
import harness
from load import (
    PING_PONG_MESSAGES,
    SERVER_CORE,
    Call,
    Contestant,
    Figures,
    Load,
    measure,
    play_ping_pong,
)

FILE_PATH = "/answer"


@dataclasses.dataclass
class Bench:
    """What a section has to work with; its servers stop when it ends."""

    folder: pathlib.Path
    stack: contextlib.ExitStack
    rounds: int
    #: Of the number of calls in each round.
    scale: float
    with_keelson: bool

    def load(self, calls: int, connections: int = 10, streams: int = 20) -> Load:
        return Load(max(int(calls * self.scale), connections * streams), connections, streams)

    def start(self, server: harness.Server) -> harness.Server:
        return self.stack.enter_context(server)

    def health_checkers(self, tls: harness.Certificate | None = None) -> list[Contestant]:
        """nghttpd with a file of the same bytes, gRPC C++, and all of `keelson serve`."""
        folder = self.folder / f"files{'-tls' if tls else ''}"
        folder.mkdir()
        call = calls.HEALTH_CHECK
        (folder / FILE_PATH.strip("/")).write_bytes(bytes(call.answer_bytes))
        file = dataclasses.replace(call, path=FILE_PATH)
        peer = harness.nghttpd(folder, core=SERVER_CORE, tls=tls)
        contestants = [Contestant(self.start(peer), file)]
        grpc = harness.test_server(core=SERVER_CORE, tls=tls)
        contestants.append(Contestant(self.start(grpc), call))
        if self.with_keelson:
            data = self.folder / f"data{'-tls' if tls else ''}"
            keelson = harness.keelson(data, ["--loops", "1"], core=SERVER_CORE, tls=tls)
            contestants.append(Contestant(self.start(keelson), call))
        return contestants

    def test_services(self, tls: harness.Certificate | None = None) -> list[harness.Server]:
        servers = [self.start(harness.test_server(core=SERVER_CORE, tls=tls))]
        if self.with_keelson:
            servers.append(self.start(harness.interop_server(core=SERVER_CORE, tls=tls)))
        return servers


def unary(bench: Bench) -> None:
    _print_unary(measure(bench.health_checkers(), bench.load(300_000), bench.rounds))


def _print_unary(figures: dict[str, Figures]) -> None:
    print("\nServer CPU per unary call, microseconds:\n")
    rows = []
    for name, figure in figures.items():
        row = [name, *figure.cells()]
        row += [f"{figure.median / figures[peer].median:.2f}" for peer in ("gRPC C++", "nghttpd")]
        row += [f"{harness.spread(figure.calls_per_second)[1]:,.0f}", str(figure.threads)]
        rows.append(row)
    header = ["server", "min", "median", "max", "to gRPC C++", "to nghttpd", "calls/s", "threads"]
    harness.print_table(header, rows)


STREAMS = {
    "server stream": (calls.server_stream(), calls.STREAM_MESSAGES),
    "client stream": (calls.client_stream(), calls.STREAM_MESSAGES),
    "both streams": (calls.both_streams(), calls.STREAM_MESSAGES),
}


def streaming(bench: Bench) -> None:
    servers = bench.test_services()
    rows = []
    for kind, (call, messages) in STREAMS.items():
        figures = _measure_all(bench, servers, call, bench.load(400, streams=2))
        rows += _message_rows(kind, figures, messages)
    ping = [Contestant(server, calls.both_streams(messages=1)) for server in servers]
    load = Load(calls=200, connections=10, streams=20)
    figures = measure(ping, load, bench.rounds, make=play_ping_pong)
    rows += _message_rows("ping-pong", figures, PING_PONG_MESSAGES)
    print(
        f"\nServer CPU per message of {calls.STREAM_PAYLOAD_BYTES} bytes of payload,"
        f" {calls.STREAM_MESSAGES:,} messages a call, microseconds:\n"
    )
    _print_messages("messages", rows)


def _measure_all(
    bench: Bench, servers: list[harness.Server], call: Call, load: Load
) -> dict[str, Figures]:
    print(f"{call.path}: {load}")
    return measure([Contestant(server, call) for server in servers], load, bench.rounds)


def _message_rows(kind: str, figures: dict[str, Figures], messages: int) -> list[list[str]]:
    rows = []
    for name, figure in figures.items():
        row = [kind, name, *figure.cells(messages)]
        row += [f"{figure.median / figures['gRPC C++'].median:.2f}"]
        row += [f"{1e6 * messages / figure.median:,.0f}"]
        rows.append(row)
    return rows


def _print_messages(first: str, rows: list[list[str]]) -> None:
    header = [first, "server", "min", "median", "max", "to gRPC C++", "messages per CPU second"]
    harness.print_table(header, rows)


KIB, MIB = 1 << 10, 1 << 20
PAYLOADS = {
    "16 KiB both ways": (calls.unary(16 * KIB, 16 * KIB), 30_000, 10, 2),
    "16 KiB response": (calls.unary(0, 16 * KIB), 30_000, 10, 2),
    "1 MiB both ways": (calls.unary(MIB, MIB), 600, 4, 2),
    "1 MiB response": (calls.unary(0, MIB), 1_000, 4, 2),
}


def payloads(bench: Bench) -> None:
    servers = bench.test_services()
    rows = []
    for kind, (call, number, connections, streams) in PAYLOADS.items():
        load = bench.load(number, connections, streams)
        rows += _call_rows(kind, _measure_all(bench, servers, call, load))
    print("\nServer CPU per unary call, microseconds:\n")
    _print_calls("payload", rows)


def _call_rows(kind: str, figures: dict[str, Figures]) -> list[list[str]]:
    rows = []
    for name, figure in figures.items():
        row = [kind, name, *figure.cells()]
        row += [f"{figure.median / figures['gRPC C++'].median:.2f}"]
        row += [f"{harness.spread(figure.calls_per_second)[1]:,.0f}"]
        rows.append(row)
    return rows


def _print_calls(first: str, rows: list[list[str]]) -> None:
    header = [first, "server", "min", "median", "max", "to gRPC C++", "calls/s"]
    harness.print_table(header, rows)


def tls(bench: Bench) -> None:
    certificate = harness.Certificate.make(bench.folder)
    _print_unary(measure(bench.health_checkers(certificate), bench.load(200_000), bench.rounds))
    servers = bench.test_services(certificate)
    call, messages = STREAMS["server stream"]
    figures = _measure_all(bench, servers, call, bench.load(400, streams=2))
    print("\nServer CPU per message, as above, microseconds:\n")
    _print_messages("messages", _message_rows("server stream", figures, messages))
    call, number, connections, streams = PAYLOADS["1 MiB both ways"]
    load = bench.load(number // 2, connections, streams)
    rows = _call_rows("1 MiB both ways", _measure_all(bench, servers, call, load))
    print("\nServer CPU per unary call, microseconds:\n")
    _print_calls("payload", rows)


def connections(bench: Bench) -> None:
    """200 calls at once over 1, 10 and 100 connections; 1,000 over as many."""
    contestants = bench.health_checkers()
    rows = []
    for number, streams in ((1, 200), (10, 20), (100, 2), (1_000, 1)):
        load = bench.load(150_000, number, streams)
        print(load)
        figures = measure(contestants, load, bench.rounds)
        rows += _call_rows(f"{number:,}", figures)
    print("\nServer CPU per unary call, microseconds:\n")
    _print_calls("connections", rows)
