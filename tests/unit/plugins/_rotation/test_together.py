"""Hosts of one account: each follows those that are further on, and no key is removed that one goes on using."""

from dataclasses import replace

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.filter.rotation_share import rotation_share
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._rotation.decisions import (
    AUTHORIZE,
    BEGIN,
    FORGET,
    RETIRE,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._rotation.together import (
    DONE,
    Part,
    shares,
)

ACCOUNT = "freegee@tajo.host.ch:2121"


def part(host: str, phase: str, old: str, new: str, **others: object) -> Part:
    """A host whose services have the old key before they have the new one."""
    current = new if phase in (RETIRE, FORGET) else old
    return replace(Part(host, ACCOUNT, phase, current, old, new), **others)  # type: ignore[arg-type]


IN_USE = {"hindrance": "is the one that is in use."}
TOGETHER = {
    "nothing begun": ([part("a", BEGIN, "O", "N"), part("b", BEGIN, "O", "N")], [BEGIN, BEGIN]),
    "to be generated once": ([part("a", BEGIN, "O", ""), part("b", BEGIN, "O", "")], [BEGIN, BEGIN]),
    "one put aside": ([part("a", AUTHORIZE, "O", "N"), part("b", BEGIN, "O", "N")], [AUTHORIZE, BEGIN]),
    "one uses it": ([part("a", AUTHORIZE, "O", "N"), part("b", RETIRE, "O", "N")], [AUTHORIZE, RETIRE]),
    # Interrupted between both: the key given is the one that the first host has.
    "one forgot": ([part("a", BEGIN, "N", "N", **IN_USE), part("b", RETIRE, "O", "N")], [DONE, RETIRE]),
    # And where none is given, the first one would begin anew.
    "one would go on": ([part("a", BEGIN, "N", ""), part("b", RETIRE, "O", "N")], [DONE, RETIRE]),
    "one forgets": ([part("a", BEGIN, "N", ""), part("b", FORGET, "N", "N")], [DONE, FORGET]),
    "each has its own": ([part("a", BEGIN, "O", "N"), part("b", BEGIN, "P", "Q")], [BEGIN, BEGIN]),
    # Each of both made one for itself before they were interrupted.
    "copies of one key": (
        [part("a", RETIRE, "O", "N", generates=True), part("b", RETIRE, "O", "M", generates=True)],
        [RETIRE, RETIRE],
    ),
    "other accounts": (
        [part("a", BEGIN, "N", "M"), part("b", RETIRE, "O", "N", account="other@tajo.host.ch:2121")],
        [BEGIN, RETIRE],
    ),
}


@pytest.mark.parametrize("case", TOGETHER)
def test_together(case: str) -> None:
    parts, phases = TOGETHER[case]
    found = shares(parts)
    assert [found[each.host].phase for each in parts] == phases
    assert [share.findings for share in found.values()] == [()] * len(parts)


CONFLICTS = {
    "is the one that is in use": [part("a", BEGIN, "O", "O", **IN_USE), part("b", BEGIN, "O", "O", **IN_USE)],
    "would replace it by different ones, M and N": [
        part("a", BEGIN, "O", "M"),
        part("b", AUTHORIZE, "O", "N"),
    ],
    "a would remove the key O, which b uses": [part("a", BEGIN, "O", "N"), part("b", BEGIN, "P", "O")],
    "a would remove the key N, which b uses": [part("a", RETIRE, "N", "M"), part("b", RETIRE, "O", "N")],
    "by different ones, one that is yet to be generated and N": [
        part("a", BEGIN, "O", ""),
        part("b", RETIRE, "O", "N"),
    ],
}


@pytest.mark.parametrize("words", CONFLICTS)
def test_conflict(words: str) -> None:
    assert words in " ".join(shares(CONFLICTS[words])["a"].findings)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (part("b", BEGIN, "O", "N"), False),
        (part("b", AUTHORIZE, "O", "N"), True),
        (part("b", RETIRE, "O", "N"), True),
        (part("b", BEGIN, "N", "P"), True),
        (part("b", AUTHORIZE, "O", "N", account="other"), False),
    ],
)
def test_the_account_may_accept_what_another_host_has_authorized(other: Part, expected: bool) -> None:
    assert shares([part("a", BEGIN, "O", "N"), other])["a"].expected is expected


def test_filter() -> None:
    parts = [vars(part("a", BEGIN, "N", "")), vars(part("b", RETIRE, "O", "N"))]
    assert rotation_share(parts, "a") == {"phase": "done", "expected": True, "findings": []}
