"""The table of causes: complete, distinct, and the same as the documentation."""

import re
from pathlib import Path

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import (
    CAUSES,
    STAGES,
    DiagnosedError,
)

from mlflow_sftp.operations import round_trip

_ROOT = Path(__file__).parents[4]
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def test_codes_used_in_the_code_are_the_codes_of_the_table() -> None:
    places = (
        "plugins/module_utils/**/*.py",
        "plugins/modules/*.py",
        "playbooks/*.yml",
        "playbooks/tasks/*.yml",
        "src/mlflow_sftp/operations/round_trip.py",
    )
    sources = [source for place in places for source in _ROOT.glob(place)]
    used: set[str] = set()
    for source in sources:
        if source.name != "causes.py":
            used |= set(re.findall(r"""["' ]([a-z_]+)["'\n]""", source.read_text()))
    assert not {code for code in CAUSES if code not in used}


def test_every_cause_of_the_package_has_its_row() -> None:
    assert set(round_trip.REMEDIES) <= set(CAUSES)


def test_no_two_causes_share_a_meaning_or_a_remedy() -> None:
    assert len({cause.meaning for cause in CAUSES.values()}) == len(CAUSES)
    assert len({cause.remedy for cause in CAUSES.values()}) == len(CAUSES)


def test_stages_are_known() -> None:
    assert {cause.stage for cause in CAUSES.values()} <= {*STAGES, "mlflow", "space", "gateway", "any"}


def test_remedy_is_filled_with_what_is_known() -> None:
    error = DiagnosedError("connection_refused", "x").with_facts({"host": "tajo.host.ch", "port": 2121})
    assert "sftp_port (2121)" in error.remedy
    assert "sftp_host (tajo.host.ch)" in error.remedy


def test_remedy_stays_readable_when_nothing_is_known() -> None:
    assert "sftp_port (<port>)" in DiagnosedError("connection_refused", "x").remedy


def test_own_facts_win_over_later_ones() -> None:
    error = DiagnosedError("key_too_open", "x", key="/a").with_facts({"key": "/a or /b"})
    assert error.remedy.startswith("chmod 600 /a.")


def documented(text: str) -> str:
    """How a text of the table reads in the documentation."""
    return _PLACEHOLDER.sub(lambda match: f"&lt;{match[1]}&gt;", text).replace("|", "\\|")


def test_documentation_shows_the_table_in_its_order() -> None:
    expected = [
        f"| `{cause.code}` | {cause.stage} | {documented(cause.meaning)} | {documented(cause.remedy)} |"
        for cause in CAUSES.values()
    ]
    page = (_ROOT / "docs/troubleshooting.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == expected
