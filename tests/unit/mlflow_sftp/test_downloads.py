"""What MLflow's server downloaded and never removed: what goes, and what stays."""

import os
import time
from pathlib import Path

import pytest

from mlflow_sftp.operations.downloads import clean_downloads

HOUR = 3600.0


def made(path: Path, content: str = "12345") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two days later."""
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 48 * HOUR)


def test_what_is_old_goes_and_nothing_of_others(tmp_path: Path, later: None) -> None:
    made(tmp_path / "tmpabcd1234/model/data")
    made(tmp_path / "tmpabcd1234/model/more")
    made(tmp_path / "tmp_a1b2c3d")
    (tmp_path / "tmpempty123").mkdir()
    (tmp_path / "tmplink1234").symlink_to(tmp_path / "tmpabcd1234")
    for name in ("tmpabcd12345", "pytest/x", "tmpABCD1234/x", "hsperfdata"):
        made(tmp_path / name)
    before = sorted(tmp_path.rglob("*"))
    found = clean_downloads(hours=24, directory=str(tmp_path), check=True)
    assert sorted(tmp_path.rglob("*")) == before
    # An empty directory counts as one.
    assert found.removed == (4, 15)
    assert clean_downloads(hours=24, directory=str(tmp_path)).removed == (4, 15)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"tmplink1234", "tmpabcd12345", "pytest", "tmpABCD1234", "hsperfdata"}
    assert clean_downloads(hours=24, directory=str(tmp_path)).removed.files == 0


def test_what_is_young_or_open_stays(tmp_path: Path, later: None) -> None:
    young = made(tmp_path / "tmpabcd1234/old")
    os.utime(made(tmp_path / "tmpabcd1234/sub/young"), (time.time(), time.time()))
    opened = made(tmp_path / "tmpefgh5678/data")
    with opened.open() as file:
        found = clean_downloads(hours=24, directory=str(tmp_path))
        assert found.removed.files == 0
        assert list(found.kept.values()) == ["a process has it open"]
        assert file.read() == "12345"
    assert young.exists()
    assert clean_downloads(hours=24, directory=str(tmp_path)).removed == (1, 5)
    assert young.exists()
