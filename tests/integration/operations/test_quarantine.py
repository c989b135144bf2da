"""What audits moved aside long ago is deleted, and nothing else in the store."""

import time
from pathlib import Path

import pytest

from mlflow_sftp.operations.audit import QUARANTINE, QUARANTINE_STAMP
from mlflow_sftp.operations.quarantine import empty_quarantine
from mlflow_sftp.stores.local import LocalStore
from mlflow_sftp.stores.sftp import SftpStore
from tests.support.sshd import SshServer
from tests.support.storing import use


@pytest.fixture(params=["sftp", "local"])
def place(
    request: pytest.FixtureRequest, sshd: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, Path]:
    """A store's location, and where its files are."""
    use(sshd, monkeypatch)
    if request.param == "sftp":
        return sshd.uri(), sshd.root
    (tmp_path / "local").mkdir()
    return str(tmp_path / "local"), tmp_path / "local"


def put(root: Path, name: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"12345")
    return path


def stamp(days: float) -> str:
    return time.strftime(QUARANTINE_STAMP, time.gmtime(time.time() - days * 86400))


def test_old_ones_go_and_everything_else_stays(place: tuple[str, Path]) -> None:
    location, root = place
    aside = root / QUARANTINE
    put(aside, f"{stamp(91)}/1/abc/artifacts/model/MLmodel")
    put(aside, f"{stamp(91)}/1/abc/artifacts/a.txt")
    put(aside, f"{stamp(120)}/2/x")
    stay = [put(aside, f"{stamp(89)}/1/y"), put(aside, "kept by hand/z"), put(root, f"1/{stamp(91)}/w")]
    told = empty_quarantine(location, days=90, check=True)
    assert told.removed == (3, 15)
    assert len([path for path in root.rglob("*") if path.is_file()]) == 6
    done = empty_quarantine(location, days=90)
    assert done.removed == (3, 15)
    assert done.kept == {f"{QUARANTINE}/kept by hand": "no audit made it"}
    assert all(path.exists() for path in stay)
    assert sorted(path.name for path in aside.iterdir()) == sorted(
        [stay[0].relative_to(aside).parts[0], "kept by hand"]
    )
    again = empty_quarantine(location, days=90)
    assert not again.as_dict()["changed"]


def test_links_go_and_what_they_lead_to_stays(place: tuple[str, Path]) -> None:
    location, root = place
    aside = root / QUARANTINE
    live = put(root, "2/live/artifacts/model")
    old = put(aside, f"{stamp(91)}/1/x").parent
    (old / "directory").symlink_to(live.parent)
    (old / "file").symlink_to(live)
    (old / "nowhere").symlink_to(root / "nothing")
    strange = aside / stamp(120)
    strange.symlink_to(live.parent.parent)
    put(old, ".mlflow-sftp-0123456789abcdef.part")
    done = empty_quarantine(location, days=90)
    assert live.read_bytes() == b"12345"
    assert done.removed.files == 5
    assert not old.parent.exists()
    assert done.kept == {f"{QUARANTINE}/{strange.name}": "no audit made it"}


def test_a_directory_that_is_a_link_after_all_is_not_entered(
    place: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a server that lists links as what they lead to, and as where one is put there meanwhile."""
    location, root = place
    live = put(root, "2/live/artifacts/model")
    old = put(root / QUARANTINE, f"{stamp(91)}/1/x").parent
    (old / "link").symlink_to(live.parent)
    for store in (LocalStore, SftpStore):
        monkeypatch.setattr(store, "entries", store.walk)
    done = empty_quarantine(location, days=90)
    assert live.read_bytes() == b"12345"
    assert list(done.kept) == [str((old / "link").relative_to(root))]
    assert not (old / "x").exists()


def test_no_quarantine_is_nothing_to_do(place: tuple[str, Path]) -> None:
    location, _ = place
    assert empty_quarantine(location, days=90).removed.files == 0
