"""What the copy of the account gives up, and what it keeps because nobody can tell."""

import os
from pathlib import Path

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.account import (
    remove_files,
    superfluous,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.decisions import MANIFEST
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError

from mlflow_sftp.operations.copy import copy
from mlflow_sftp.operations.store_inventory import store_info

COPY, URI = "/opt/mlflow-stack/backup/account", "sftp://me@host.example//data"


@pytest.mark.parametrize(
    ("copied", "listed", "gone"),
    [
        # The first backup, and one of an empty account.
        ([], ["1/a"], []),
        ([], [], []),
        ([MANIFEST], [], []),
        # What is new, the copy is about to bring.
        ([MANIFEST, "1/a"], ["1/a", "1/b"], []),
        ([MANIFEST, f"{MANIFEST}-journal", "1/a", "1/b"], ["1/a"], ["1/b"]),
        # A restore has made it, and the account has all of it.
        (["1/a"], ["1/a", "2/a"], []),
    ],
)
def test_what_the_account_has_no_more(copied: list[str], listed: list[str], gone: list[str]) -> None:
    assert superfluous(copied, listed, COPY, URI) == set(gone)


@pytest.mark.parametrize(
    ("copied", "listed", "words"),
    [
        (
            [MANIFEST, "1/a", "1/b"],
            [],
            "host.example//data lists no file, and the copy of it in /opt/.* has 2",
        ),
        (["1/a"], [], "lists no file"),
        (
            ["1/b", "1/a", "1/c"],
            ["1/c"],
            "has 2 files that the account .* does not list, such as 1/a, and a restore",
        ),
    ],
)
def test_files_that_may_be_the_last_ones_are_not_removed(
    copied: list[str], listed: list[str], words: str
) -> None:
    with pytest.raises(RefusedError, match=words):
        superfluous(copied, listed, COPY, URI)


def test_files_are_removed_with_the_directories_that_are_empty_then(tmp_path: Path) -> None:
    outside, top = tmp_path / "outside", tmp_path / "account"
    outside.mkdir()
    (outside / "b").touch()
    for name in ("1/a", "1/b", "2/deep/er/b", "2/deep/kept", "3/deep/er/b"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).touch()
    (top / "empty").mkdir()
    (top / "link").symlink_to(outside)
    remove_files(top, {"1/b", "2/deep/er/b", "3/deep/er/b", "link/b", "not/there"})
    left = {str(path.relative_to(top)) for path in top.rglob("*")}
    assert left == {"1", "1/a", "2", "2/deep", "2/deep/kept", "empty", "link"}
    assert (outside / "b").exists()


def test_the_copy_becomes_what_the_account_lists_and_brings_back_what_returns(tmp_path: Path) -> None:
    account, place = tmp_path / "source", tmp_path / "account"
    undecodable = os.fsdecode(b"2/\xff.txt")
    for name in ("1/a.txt", "1/b.txt", undecodable):
        (account / name).parent.mkdir(parents=True, exist_ok=True)
        (account / name).write_text(name.encode(errors="replace").decode())

    def bring() -> set[str]:
        copied = store_info(str(place), with_names=True)["names"]
        listed = store_info(str(account), with_names=True)["names"]
        remove_files(place, superfluous(copied, listed, str(place), str(account)))
        assert not copy(str(account), str(place), manifest=place / MANIFEST).failed
        return {str(path.relative_to(place)) for path in place.rglob("*.txt")}

    place.mkdir()
    assert bring() == {"1/a.txt", "1/b.txt", undecodable}
    text = (account / "1/b.txt").read_text()
    (account / "1/b.txt").unlink()
    (account / undecodable).unlink()
    assert bring() == {"1/a.txt"}
    (account / "1/b.txt").write_text(text)
    assert bring() == {"1/a.txt", "1/b.txt"}
    assert (place / "1/b.txt").read_text() == text
