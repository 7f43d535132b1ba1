"""docs/conformance.md says what this run found."""

import difflib

import pytest

import conformance_table


def test_page_is_what_was_found(request):
    try:
        found = conformance_table.page()
    except conformance_table.Incomplete as reason:
        pytest.skip(f"only a whole run can be compared: {reason}")
    page = conformance_table.PAGE
    if request.config.getoption("--write-conformance"):
        page.write_text(found)
    committed = page.read_text() if page.exists() else ""
    difference = difflib.unified_diff(
        committed.splitlines(), found.splitlines(), "docs/conformance.md", "found", lineterm=""
    )
    assert committed == found, "run pytest --write-conformance\n" + "\n".join(difference)
