"""docs/conformance.md: what the interop and frame tests of this run found.

The hooks below gather the outcomes; conftest.py has them. test_conformance_table.py, which runs
last, holds the committed page to what was found.
"""

import collections
import dataclasses
import importlib.metadata
import re

from stubs import REPOSITORY

PAGE = REPOSITORY / "docs/conformance.md"

CASES = [
    "empty_unary",
    "large_unary",
    "client_compressed_unary",
    "server_compressed_unary",
    "client_streaming",
    "client_compressed_streaming",
    "server_streaming",
    "server_compressed_streaming",
    "ping_pong",
    "empty_stream",
    "custom_metadata",
    "status_code_and_message",
    "special_status_message",
    "unimplemented_method",
    "unimplemented_service",
    "cancel_after_begin",
    "cancel_after_first_response",
    "timeout_on_sleeping_server",
]
HTTP2_CASES = [
    "goaway",
    "rst_after_header",
    "rst_during_data",
    "rst_after_data",
    "ping",
    "max_streams",
    "data_frame_padding",
    "no_df_padding_sanity_test",
]


@dataclasses.dataclass(frozen=True)
class Pair:
    """A client with a server: a column of the table."""

    client: str
    server: str
    # Cases that the client does not have.
    missing: frozenset = frozenset()
    # Cases run without the call that probes whether the server sees the compression of a request.
    without_probe: frozenset = frozenset()
    tls: bool = False

    @property
    def id(self):
        return f"{self.client}-to-{self.server}{'-tls' if self.tls else ''}"

    def head(self, names):
        """The head of its column."""
        return f"{names[self.client]} → {names[self.server]}{', TLS' if self.tls else ''}"


PAIRS = [
    Pair(
        "ruby-grpc",
        "Keelson",
        missing=frozenset(
            ["server_compressed_unary", "server_compressed_streaming", "special_status_message"]
        ),
    ),
    Pair("grpcio", "Keelson"),
    Pair("Keelson", "Keelson"),
    Pair(
        "Keelson",
        "grpcio",
        without_probe=frozenset(["client_compressed_unary", "client_compressed_streaming"]),
    ),
    Pair("Keelson", "C++"),
    Pair("grpcio", "Keelson", tls=True),
    Pair("Keelson", "C++", tls=True),
]

# The section that a test of frames is named by.
SECTION = re.compile(r"rfc(\d+)_((?:\d+_)+)")

outcomes = {}
deselected = []


def pytest_runtest_makereport(item, call):
    """Notes the outcome of each test: the worst of its set-up, call and tear-down."""
    key = (item.module.__name__, item.name)
    if call.excinfo is not None:
        skipped = call.excinfo.typename == "Skipped"
        outcomes[key] = "skipped" if skipped and outcomes.get(key) != "failed" else "failed"
    elif call.when == "call":
        outcomes.setdefault(key, "passed")


def pytest_deselected(items):
    """Notes that this is no whole run. Those that wait have one of their own, see dev/test."""
    deselected.extend(item for item in items if not item.get_closest_marker("waits"))


# The page comes behind the tests it speaks of. Attacks measure memory, which depends on whose turn
# it is: by then those that wait, and run beside these, have ended.
LAST = ["test_attacks", "test_conformance_table"]


def pytest_collection_modifyitems(items):
    """Puts what comes last behind all others."""
    place = {name: index for index, name in enumerate(LAST, 1)}
    items.sort(key=lambda item: place.get(item.module.__name__, 0))


def version(package):
    return importlib.metadata.version(package)


def outcome(test, *parts):
    """What came of a case: `pass`, `FAIL`, or None when it was not run."""
    found = outcomes.get(("test_interop", f"{test}[{'-'.join(parts)}]"))
    return {"passed": "pass", "failed": "FAIL"}.get(found)


class Incomplete(Exception):
    """Not everything that stands on the page was run."""


def cell(pair, case):
    if case in pair.missing:
        return "n/a"
    found = outcome("test_case", pair.id, case)
    if found is None:
        raise Incomplete(f"{case} was not run for {pair.id}")
    return f"{found} (1)" if case in pair.without_probe else found


def page():
    """The page as this run would have it.

    Raises Incomplete when something that belongs on it was not run.
    """
    if deselected:
        raise Incomplete("tests were deselected")
    names = {
        "ruby-grpc": "ruby-grpc 1.51",
        "grpcio": f"grpcio {version('grpcio')}",
        "C++": "gRPC C++ 1.51",
        "Keelson": "Keelson",
    }
    lines = [
        "# Conformance",
        "",
        "What passes with whom. The tests write this page (see",
        "[Tests/ConformanceTests](../Tests/ConformanceTests/README.md)) and fail when it is not",
        "what they find.",
        "",
        "## gRPC interop cases",
        "",
        "The cases are those of grpc/grpc `doc/interop-test-descriptions.md` that need no",
        "credentials of a cloud; each column is a client → a server.",
        "",
    ]
    lines += table(
        ["case"] + [pair.head(names) for pair in PAIRS],
        [[f"`{case}`"] + [cell(pair, case) for pair in PAIRS] for case in CASES],
    )
    lines += [
        "",
        "In the cases of compression a relay between client and server looks at each message's",
        "compressed-flag, whatever the two say of it; over TLS it cannot.",
        "",
        "n/a: the interop client of Debian's ruby-grpc does not have the case.",
        "",
        "(1) Without the probing call, which says that it is compressed, is not, and has to be",
        "refused: grpcio does not tell its handlers whether a request was compressed.",
        "",
        "## HTTP/2 interop cases",
        "",
        "The cases of grpc/grpc `doc/http2-interop-test-descriptions.md`: Keelson's client and a",
        f"server on PyPI's h2 {version('h2')} that misbehaves in the way of the case's name.",
        "",
    ]
    rows = []
    for case in HTTP2_CASES:
        found = outcome("test_http2_case", case)
        if found is None:
            raise Incomplete(f"{case} was not run")
        rows.append([f"`{case}`", found])
    lines += table(["case", "Keelson → h2"], rows)
    lines += frame_lines()
    return "\n".join(lines) + "\n"


def frame_lines():
    """How many cases of each section of the RFCs passed."""
    found = collections.defaultdict(collections.Counter)
    for (_, name), outcome in outcomes.items():
        if match := SECTION.search(name):
            section = tuple(int(part) for part in match[2].split("_") if part)
            found[int(match[1]), section][outcome] += 1
    if not any(module == "test_http2_frames" for module, _ in outcomes):
        raise Incomplete("the tests of frames were not run")
    if not found:
        return []
    rows = []
    for rfc, section in sorted(found, key=lambda key: (-key[0], key[1])):
        counts = found[rfc, section]
        if counts["skipped"]:
            raise Incomplete(f"tests of RFC {rfc} were skipped")
        number = ".".join(map(str, section))
        rows.append([f"RFC {rfc} {number}", str(counts.total()), str(counts["passed"])])
    sums = [sum(int(row[column]) for row in rows) for column in (1, 2)]
    rows.append(["all", *map(str, sums)])
    return [
        "",
        "## Frames",
        "",
        "Frames and field blocks, written one by one, that break a rule or bend it as allowed; the",
        "server has to answer as the section says.",
        "",
    ] + table(["section", "cases", "passed"], rows)


def table(head, rows):
    return [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]]
