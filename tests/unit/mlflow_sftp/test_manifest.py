"""What the manifest of a copy remembers of the target."""

from pathlib import Path

import pytest

from mlflow_sftp.operations.manifest import Manifest
from mlflow_sftp.stores.base import Item

PATHS = ["a", "a/b", "a/b/c", "a/\udcff", "a/z", "a.b", "a0", "b", "b/a"]


def manifest(path: Path | None = None) -> Manifest:
    return Manifest(path, "/source", "/target")


@pytest.mark.parametrize(
    ("directory", "forgotten"),
    [
        ("", {"a", "a.b", "a0", "b"}),
        ("a", {"a/b", "a/\udcff", "a/z"}),
        ("a/b", {"a/b/c"}),
        ("a/b/c", set()),
        ("b", {"b/a"}),
        ("nowhere", set()),
    ],
)
def test_only_what_is_right_in_a_directory_is_forgotten(directory: str, forgotten: set[str]) -> None:
    items = [Item(path, False, 1, "") for path in PATHS]
    with manifest() as known:
        known.list_source(items, 0)
        known.list_target(items)
        known.forget_target_in(directory)
        assert {each.path for each in known.differences()} == forgotten


def test_what_is_complete_is_told_once(tmp_path: Path) -> None:
    with manifest(tmp_path / "m") as first:
        assert first.begin() is None
        first.complete(["b", "a\udcff"])
    with manifest(tmp_path / "m") as second:
        assert second.begin() == ["a\udcff", "b"]
    with manifest(tmp_path / "m") as third:
        assert third.begin() is None


def test_a_copy_that_only_tells_changes_nothing(tmp_path: Path) -> None:
    with manifest(tmp_path / "m") as first:
        first.complete([""])
    with Manifest(tmp_path / "m", "/source", "/target", keep=False) as looking:
        assert looking.begin() == [""]
        looking.forget_target()
    with manifest(tmp_path / "m") as second:
        assert second.begin() == [""]
