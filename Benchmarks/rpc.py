#!/usr/bin/env python3
"""Server CPU per unary call: Keelson, gRPC C++ and nghttpd under the same load, in turns.

Each server runs on core 0 and h2load on core 1. Rounds go nghttpd, gRPC C++, Keelson, nghttpd ...
so that whatever else the machine does meets all of them. CPU is user and system time of the
server's process from /proc/PID/stat before and after a round, divided by the calls in it.
"""

import argparse
import contextlib
import os
import pathlib
import re
import subprocess
import tempfile

import harness
import wire

CHECK_PATH = "/grpc.health.v1.Health/Check"
# `status: SERVING` in a frame.
CHECK_RESPONSE = wire.frame(wire.field(1, 1))
FILE_PATH = "/health"
# More for `keelson serve`, when one loop has to be asked for.
SERVE_ARGUMENTS = ["--loops", "1"]

SERVER_CORE = 0
CLIENT_CORE = 1


def nghttpd(folder: pathlib.Path) -> harness.Server:
    (folder / FILE_PATH.strip("/")).write_bytes(CHECK_RESPONSE)
    port = harness.free_port()
    command = ["nghttpd", "--no-tls", "--address=127.0.0.1", "--workers=1"]
    command += ["--htdocs", str(folder), str(port)]
    return harness.Server("nghttpd", command, port, SERVER_CORE)


def load(server: harness.Server, path: str, request: pathlib.Path, arguments, calls: int) -> float:
    """Makes the calls, all of which must succeed. Returns the calls per second."""
    command = ["taskset", "--cpu-list", str(CLIENT_CORE), "h2load"]
    command += [f"-n{calls}", f"-c{arguments.connections}", f"-m{arguments.streams}"]
    command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    command += ["-d", str(request), f"http://{server.address}{path}"]
    output = subprocess.run(command, capture_output=True, text=True).stdout
    succeeded = re.search(r"(\d+) succeeded", output)
    good = re.search(r"status codes: (\d+) 2xx", output)
    data = re.search(r"\((\d+)\) data", output)
    rate = re.search(r"([\d.]+) req/s", output)
    if not (succeeded and good and data and rate):
        raise harness.BenchmarkError(f"h2load says of {server.name}:\n{output}")
    # A call that fails has no message, so the bytes say whether each had its own.
    expected = (calls, calls, calls * len(CHECK_RESPONSE))
    found = (int(succeeded[1]), int(good[1]), int(data[1]))
    if found != expected:
        raise harness.BenchmarkError(
            f"{server.name}: of {calls} calls {found[0]} succeeded, {found[1]} with status 200,"
            f" {found[2]} bytes of messages instead of {expected[2]}"
        )
    return float(rate[1])


def check_sample(server: harness.Server, calls: int = 20) -> None:
    """Looks at a few calls' trailers: each must end with grpc-status 0."""
    with harness.Subscribers(server, 0, CHECK_PATH, b"", connections=1) as caller:
        for _ in range(calls):
            caller.call(CHECK_PATH, b"")


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev/bench rpc", description=__doc__)
    parser.add_argument("--calls", type=int, default=300_000, help="in each round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--connections", type=int, default=10)
    parser.add_argument("--streams", type=int, default=20, help="at once on each connection")
    parser.add_argument(
        "--without-keelson", action="store_true", help="only the peers, to try the method"
    )
    arguments = parser.parse_args()
    if (os.cpu_count() or 1) < 2:
        raise harness.BenchmarkError("server and client need a core each")

    print(f"machine: {harness.machine()}")
    print(f"commit: {harness.revision()}")
    resolution = 1e6 / harness.TICKS_PER_SECOND / arguments.calls
    print(
        f"method: h2load -c{arguments.connections} -m{arguments.streams}, {arguments.rounds} rounds"
        f" of {arguments.calls:,} calls each, CPU read in steps of {resolution:.3f} us per call\n",
        flush=True,
    )

    with tempfile.TemporaryDirectory(dir=harness.BUILD) as name:
        folder = pathlib.Path(name)
        request = folder / "request"
        request.write_bytes(wire.frame(b""))
        htdocs = folder / "htdocs"
        htdocs.mkdir()
        contestants = [(nghttpd(htdocs), FILE_PATH)]
        contestants.append((harness.grpc_peer(core=SERVER_CORE), CHECK_PATH))
        if not arguments.without_keelson:
            keelson = harness.keelson(folder / "data", SERVE_ARGUMENTS, core=SERVER_CORE)
            contestants.append((keelson, CHECK_PATH))
        return measure(contestants, request, arguments)


def measure(contestants, request: pathlib.Path, arguments) -> int:
    cpu = {server.name: [] for server, _ in contestants}
    rates = {server.name: [] for server, _ in contestants}
    threads = {}
    with contextlib.ExitStack() as servers:
        for server, path in contestants:
            servers.enter_context(server)
            if path == CHECK_PATH:
                check_sample(server)
            load(server, path, request, arguments, max(arguments.calls // 10, 1000))
        for number in range(arguments.rounds):
            for server, path in contestants:
                before = server.cpu_seconds()
                rate = load(server, path, request, arguments, arguments.calls)
                used = (server.cpu_seconds() - before) * 1e6 / arguments.calls
                cpu[server.name].append(used)
                rates[server.name].append(rate)
                threads[server.name] = server.threads()
                print(f"round {number + 1}: {server.name:9} {used:6.2f} us, {rate:,.0f} calls/s")
        for server, path in contestants:
            if path == CHECK_PATH:
                check_sample(server)

    print("\nServer CPU per unary call, microseconds:\n")
    medians = {name: harness.spread(values)[1] for name, values in cpu.items()}
    rows = []
    for name, values in cpu.items():
        low, median, high = harness.spread(values)
        row = [name, f"{low:.2f}", f"{median:.2f}", f"{high:.2f}"]
        row += [f"{median / medians['gRPC C++']:.2f}", f"{median / medians['nghttpd']:.2f}"]
        row += [f"{harness.spread(rates[name])[1]:,.0f}", str(threads[name])]
        rows.append(row)
    header = ["server", "min", "median", "max", "to gRPC C++", "to nghttpd", "calls/s", "threads"]
    harness.print_table(header, rows)
    return 0


if __name__ == "__main__":
    harness.run(main)
