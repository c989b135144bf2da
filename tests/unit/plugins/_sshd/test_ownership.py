"""Whether an account may be made on a host, and what of it is there already as it must be."""

from dataclasses import replace

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sshd.ownership import (
    Account,
    Entry,
    Plan,
    Wanted,
    changed_settings,
    findings,
    lacking,
)

CHROOT, ABOVE = "/srv/sftp/freegee", "/srv/sftp/freegee/agent.freegee.ch"
ARTIFACTS = f"{ABOVE}/artifacts"
DROPIN = "/etc/ssh/sshd_config.d/00-sftp-freegee.conf"
PLAN = Plan(
    user="freegee",
    group="sftp",
    comment="SFTP artifacts",
    home="/",
    shell="/usr/sbin/nologin",
    chroot=CHROOT,
    path="/agent.freegee.ch/artifacts",
    administrators=frozenset({"operator"}),
    directories=(Wanted(CHROOT, "root", "root", 0o755), Wanted(ARTIFACTS, "freegee", "sftp", 0o750)),
)
MADE = Account(999, "sftp", ("sftp",), "SFTP artifacts", "/", "/usr/sbin/nologin", "*", "99999")
ALICE = replace(MADE, comment="Alice", home="/home/freegee", shell="/bin/bash")
ROOT = Entry("root", "root", 0o755)
GOOD = dict.fromkeys(("/", "/srv", "/srv/sftp", CHROOT, ABOVE), ROOT) | {
    ARTIFACTS: Entry("freegee", "sftp", 0o750)
}
ALICES = Entry("alice", "alice", 0o755)
# The account, what differs at paths, files that are not the role's, and words of each sentence.
CASES: dict[str, tuple[Plan, Account | None, dict[str, Entry | None], list[str], list[str]]] = {
    "nothing there": (PLAN, None, dict.fromkeys(GOOD), [], []),
    "made by the role": (PLAN, MADE, {}, [], []),
    "root": (replace(PLAN, user="root"), MADE, {}, [], ["root administers the server"]),
    "account of Ansible": (replace(PLAN, user="operator"), MADE, {}, [], ["operator administers the server"]),
    "in group sudo": (PLAN, replace(MADE, groups=("sftp", "sudo")), {}, [], ["it is in the group sudo"]),
    "somebody's account": (
        PLAN,
        ALICE,
        {},
        [],
        ['comment "Alice", home /home/freegee, shell /bin/bash. It would lose its shell'],
    ),
    # Of an account that is there, its files are its own.
    "files of the account": (PLAN, MADE, {CHROOT: ALICES, ARTIFACTS: ALICES}, [DROPIN], []),
    "artifacts of a lost account": (PLAN, None, {ARTIFACTS: Entry("", "", 0o750)}, [], []),
    "empty directory": (PLAN, None, {ARTIFACTS: replace(ALICES, is_empty=True)}, [], []),
    "somebody's artifacts": (PLAN, None, {ARTIFACTS: ALICES}, [], [f"{ARTIFACTS} on the server would get"]),
    "somebody's chroot": (
        PLAN,
        None,
        {CHROOT: ALICES, ARTIFACTS: Entry("", "", 0)},
        [],
        [f"{CHROOT} on the"],
    ),
    "group of the chroot": (
        PLAN,
        None,
        {CHROOT: Entry("root", "staff", 0o755), ARTIFACTS: Entry("", "", 0)},
        [],
        [f"{CHROOT} on the"],
    ),
    "mode above the artifacts": (
        PLAN,
        None,
        {ABOVE: Entry("root", "root", 0o700), ARTIFACTS: Entry("", "", 0)},
        [],
        [f"{ABOVE} on the"],
    ),
    "file in place of a directory": (
        PLAN,
        None,
        {ARTIFACTS: Entry("root", "root", 0o644, is_directory=False)},
        [],
        [f"{ARTIFACTS} on the"],
    ),
    "somebody's drop-in": (PLAN, None, {ARTIFACTS: Entry("", "", 0)}, [DROPIN], [f"{DROPIN} on the server"]),
    "owner above the chroot": (PLAN, MADE, {"/srv": ALICES}, [], ["this is not so for /srv."]),
    "group may write above": (
        PLAN,
        MADE,
        {"/srv/sftp": Entry("root", "root", 0o775)},
        [],
        ["for /srv/sftp."],
    ),
    # Its mode says that all may write, whoever may do so where it leads.
    "link above": (PLAN, MADE, {"/srv": Entry("root", "root", 0o777, is_directory=False)}, [], ["for /srv."]),
    "all at once": (
        replace(PLAN, administrators=frozenset({"freegee"})),
        None,
        {"/srv": ALICES, ARTIFACTS: ALICES},
        [DROPIN],
        ["administers the server", f"{ARTIFACTS}, {DROPIN} on the server", "not so for /srv"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_findings(case: str) -> None:
    plan, account, differing, strange_files, words = CASES[case]
    entries = {path: entry for path, entry in (GOOD | differing).items() if entry}
    found = findings(plan, account, entries, strange_files)
    assert len(found) == len(words), found
    assert [word for word, sentence in zip(words, found, strict=True) if word not in sentence] == []


@pytest.mark.parametrize(
    ("account", "differing", "expected"),
    [
        (MADE, {}, []),
        (None, {}, ["freegee"]),
        (replace(MADE, group="users"), {}, ["freegee"]),
        (replace(MADE, comment="Alice"), {}, ["freegee"]),
        (replace(MADE, home="/home/freegee"), {}, ["freegee"]),
        (replace(MADE, shell="/bin/sh"), {}, ["freegee"]),
        (replace(MADE, password="!*"), {}, ["freegee"]),
        (replace(MADE, password=""), {}, ["freegee"]),
        (replace(MADE, password_days="90"), {}, ["freegee"]),
        (MADE, {ARTIFACTS: None}, [ARTIFACTS]),
        (MADE, {ARTIFACTS: Entry("freegee", "sftp", 0o770)}, [ARTIFACTS]),
        (MADE, {ARTIFACTS: Entry("freegee", "freegee", 0o750)}, [ARTIFACTS]),
        (MADE, {ARTIFACTS: Entry("alice", "sftp", 0o750)}, [ARTIFACTS]),
        (MADE, {CHROOT: Entry("root", "root", 0o755, is_directory=False)}, [CHROOT]),
        (None, {CHROOT: None, ARTIFACTS: None}, ["freegee", CHROOT, ARTIFACTS]),
        # Not among those that must be there.
        (MADE, {"/srv": Entry("root", "root", 0o700)}, []),
    ],
)
def test_lacking(account: Account | None, differing: dict[str, Entry], expected: list[str]) -> None:
    entries = {path: entry for path, entry in (GOOD | differing).items() if entry}
    assert lacking(PLAN, account, entries) == expected


def test_paths_of_the_plan() -> None:
    assert PLAN.above_chroot == ["/", "/srv", "/srv/sftp"]
    assert PLAN.above_artifacts == [CHROOT, ABOVE]
    assert replace(PLAN, path="/artifacts").above_artifacts == [CHROOT]


@pytest.mark.parametrize(
    ("after", "changed"),
    [
        ({"operator": "permittty yes\nport 22"}, []),
        ({"operator": "port 22\npermittty no"}, ["operator: permittty no", "operator: permittty yes"]),
        ({}, ["operator: permittty yes", "operator: port 22"]),
    ],
)
def test_settings_of_other_accounts(after: dict[str, str], changed: list[str]) -> None:
    assert changed_settings({"operator": "permittty yes\nport 22"}, after) == changed
