"""When a stack is tidied up, and when not."""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy import tidy as tidying
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.decisions import Days

DAY = 86400
NOW = 20_000 * DAY


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(tidying, "_kinds", lambda *_: iter(()))
    settings = {
        "directory": tmp_path,
        "switches": tmp_path / "switches",
        "uid": os.getuid(),
        "gid": os.getgid(),
    }
    return SimpleNamespace(settings=SimpleNamespace(**settings))


def at(monkeypatch: pytest.MonkeyPatch, stack: Any, now: int, **options: bool) -> None:
    monkeypatch.setattr(tidying.time, "time", lambda: float(now))
    tidying.tidy(stack, Days(), 7200.0, **{"check": False, **options})


def noted(stack: Any) -> int:
    return int(json.loads((stack.settings.directory / "tidy/last.json").read_text())["begun_seconds"])


def test_a_clock_that_was_set_forward_and_back(stack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, stack, NOW)
    years_later = NOW + 3000 * DAY
    for check in (False, True):
        with pytest.raises(RefusedError, match="3000 days after this stack was last tidied up"):
            at(monkeypatch, stack, years_later, check=check)
    # Still: what was refused has not been learnt.
    with pytest.raises(RefusedError):
        at(monkeypatch, stack, years_later + DAY)
    at(monkeypatch, stack, NOW + DAY)
    assert noted(stack) == NOW + DAY


def test_a_clock_that_is_behind_teaches_nothing(stack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, stack, NOW)
    at(monkeypatch, stack, 0)
    assert noted(stack) == NOW
    at(monkeypatch, stack, NOW + 7 * DAY)


def test_whoever_vouches_for_the_clock_is_believed(stack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, stack, NOW)
    at(monkeypatch, stack, NOW + 500 * DAY, clock_is_right=True)
    at(monkeypatch, stack, NOW + 507 * DAY)
    # As after a leap that somebody has vouched for.
    at(monkeypatch, stack, NOW, clock_is_right=True)
    assert noted(stack) == NOW


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"begun_seconds": "x"}'])
def test_a_note_that_nobody_can_read_tells_nothing(
    content: str, stack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stack.settings.directory / "tidy").mkdir()
    (stack.settings.directory / "tidy/last.json").write_text(content)
    at(monkeypatch, stack, NOW)
    assert noted(stack) == NOW


def test_looking_notes_nothing(stack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, stack, NOW, check=True)
    assert not (stack.settings.directory / "tidy").exists()
