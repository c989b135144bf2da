"""What is wrong with an account's names, directories and keys, all of it at once."""

from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.account import account_problems

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDJ8q9k2Yk3M5o0wZ8yJ9B4vQw3xkU1zK0e8k6mH1p2s"
GOOD: dict[str, Any] = {
    "user": "freegee",
    "group": "freegee",
    "chroot": "/srv/sftp/freegee",
    "path": "/agent.freegee.ch/artifacts",
    "keys": [KEY],
}
# What is given, and words of the one sentence.
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "capitals": ({"user": "FreeGee"}, "sftp_user is 'FreeGee'"),
    "option": ({"user": "-x"}, "sftp_user is '-x'"),
    "two users": ({"user": "freegee,root"}, "sftp_user is 'freegee,root'"),
    "line": ({"user": "freegee\n"}, "sftp_user is"),
    "long": ({"user": "f" * 33}, "32 at most"),
    "no name": ({"user": ""}, "sftp_user is ''"),
    "group": ({"group": "sftp users"}, "sftp_target_group is 'sftp users'"),
    "relative chroot": (
        {"chroot": "srv/sftp"},
        "sftp_target_chroot is 'srv/sftp'; expected an absolute directory",
    ),
    "root as chroot": ({"chroot": "/"}, "other than '/'"),
    "chroot that leads up": ({"chroot": "/srv/../etc"}, "sftp_target_chroot is '/srv/../etc'"),
    "untidy chroot": ({"chroot": "/srv//sftp/"}, "write it as '/srv/sftp'"),
    "chroot that a shell reads": ({"chroot": "/srv/$(id)"}, "sftp_target_chroot is '/srv/$(id)'"),
    "chroot with a token of sshd": ({"chroot": "/srv/%u"}, "sftp_target_chroot is '/srv/%u'"),
    "root as path": ({"path": "/"}, "sftp_path is '/'"),
    "path that leads up": ({"path": "/a/../b"}, "sftp_path is '/a/../b'"),
    "path with a dot": ({"path": "/a/./b"}, "write it as '/a/b'"),
    "path with spaces": ({"path": "/my artifacts"}, "without spaces"),
    "no keys": ({"keys": []}, "is empty, so that freegee could not log in"),
    "second key": ({"keys": [KEY, "AAAA"]}, "entry 2 is not"),
    "options": ({"keys": [f"restrict {KEY}"]}, "without options"),
    "DSA": ({"keys": ["ssh-dss AAAA"]}, "entry 1 is not"),
    "two lines": ({"keys": [f"{KEY} comment\n{KEY}"]}, "on one line"),
    "private key": ({"keys": ["-----BEGIN OPENSSH PRIVATE KEY-----"]}, "entry 1 is not"),
}


@pytest.mark.parametrize("case", CASES)
def test_problem(case: str) -> None:
    given, words = CASES[case]
    (found,) = account_problems(**(GOOD | given))
    assert words in found
    assert "PRIVATE" not in found


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"user": "_sftp-1", "group": "users"},
        {"path": "/artefacts-äöü/50%"},
        {"keys": [f"{KEY} alice@laptop of hers", f"{KEY}\n", "sk-ssh-ed25519@openssh.com AAAA="]},
        {"keys": ["ecdsa-sha2-nistp521 AAAA", "ssh-rsa AAAA=="]},
    ],
)
def test_no_problem(given: dict[str, Any]) -> None:
    assert account_problems(**(GOOD | given)) == []


def test_key_that_is_yet_to_be_made() -> None:
    assert account_problems(**(GOOD | {"keys": []}), needs_key=False) == []


def test_all_at_once() -> None:
    found = account_problems("Alice", "x y", "srv", "/", ["AAAA"])
    assert [sentence.split()[0] for sentence in found[:4]] == [
        "sftp_user",
        "sftp_target_group",
        "sftp_target_chroot",
        "sftp_path",
    ]
    assert len(found) == 5
