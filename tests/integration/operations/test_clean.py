"""What transfers that died left goes, what may be of one that lives stays."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlflow_sftp.operations.clean import clean
from mlflow_sftp.transfer import temporary_names
from mlflow_sftp.wire.packets import Attributes, PacketReader
from tests.support.sshd import SshServer
from tests.support.storing import use

HOUR = 3600.0
Spell = Callable[[Path], str]


@pytest.fixture(autouse=True)
def client(sshd: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    use(sshd, monkeypatch)


def leave(directory: Path, age: float) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / temporary_names.temporary()
    path.write_bytes(b"half")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_old_ones_go_and_young_ones_stay(sshd: SshServer) -> None:
    old, young = leave(sshd.root / "d", 25 * HOUR), leave(sshd.root / "d", 23 * HOUR)
    (sshd.root / "model").touch()
    os.utime(sshd.root / "model", (0, 0))
    assert clean(sshd.uri(), seconds_between_looks=0, check=True).removed == (1, 4)
    assert old.exists()
    report = clean(sshd.uri(), seconds_between_looks=0)
    assert report.removed == (1, 4)
    assert list(report.kept) == [str(young.relative_to(sshd.root))]
    assert (old.exists(), young.exists(), (sshd.root / "model").exists()) == (False, True, True)


def test_a_local_directory_is_cleaned_too(tmp_path: Path) -> None:
    """There the time that counts is one that nobody can set back."""
    leftover = leave(tmp_path / "d", 1000 * HOUR)
    assert clean(str(tmp_path), seconds_between_looks=0).removed == (0, 0)
    time.sleep(0.05)
    assert clean(str(tmp_path), hours=0, seconds_between_looks=0).removed == (1, 4)
    assert not leftover.exists()


@pytest.mark.parametrize("change", [lambda path: path.write_bytes(b"more of it"), lambda path: path.touch()])
def test_one_that_changes_between_two_looks_stays(change: Callable[[Path], object], sshd: SshServer) -> None:
    leftover = leave(sshd.root, 25 * HOUR)
    os.utime(leftover, (time.time() - 100 * HOUR,) * 2)
    changing = threading.Timer(0.5, change, [leftover])
    changing.start()
    report = clean(sshd.uri(), seconds_between_looks=1.5)
    changing.join()
    assert list(report.kept) == [leftover.name]
    assert leftover.exists()


def shift_times(monkeypatch: pytest.MonkeyPatch, shift: Callable[[int], int | None]) -> None:
    """Have the server tell other times, as one with another clock does."""
    read = PacketReader.attributes

    def attributes(reader: PacketReader) -> Attributes:
        found = read(reader)
        return found if found.mtime is None else found._replace(mtime=shift(found.mtime))

    monkeypatch.setattr(PacketReader, "attributes", attributes)


@pytest.mark.parametrize(
    "shift",
    [lambda mtime: int(mtime - 48 * HOUR), lambda mtime: 0, lambda mtime: None],
    ids=["behind", "0", "none"],
)
def test_on_a_server_with_another_clock_a_young_one_stays(
    shift: Callable[[int], int | None], sshd: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    leftover = leave(sshd.root, 0)
    shift_times(monkeypatch, shift)
    report = clean(sshd.uri(), seconds_between_looks=0)
    assert list(report.kept) == [leftover.name]
    assert leftover.exists()


def test_on_a_server_whose_clock_is_ahead_an_old_one_goes(
    sshd: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    leftover = leave(sshd.root, 25 * HOUR)
    shift_times(monkeypatch, lambda mtime: int(mtime + 48 * HOUR))
    assert clean(sshd.uri(), seconds_between_looks=0).removed == (1, 4)
    assert not leftover.exists()
