"""The modules that speak SFTP, on every kind of server that people use."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import STAGES
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.client import SftpClient

from tests.integration.plugins.conftest import account, run
from tests.support.server import SftpServer, keygen
from tests.support.servers import SERVERS

# A cache makes no difference to what the modules do.
_KINDS = [kind for kind in SERVERS if not kind.startswith("rclone") or kind == "rclone-off"]


@pytest.fixture(scope="module", params=_KINDS)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    """Each kind of server in turn; a test makes a directory of its own in its root."""
    with SERVERS[request.param](tmp_path_factory.mktemp("server") / "server") as server:
        yield server


@pytest.fixture
def place(served: SftpServer, request: pytest.FixtureRequest) -> Path:
    """An empty directory of one test."""
    path = served.root / request.node.originalname
    path.mkdir()
    return path


def test_check(served: SftpServer, place: Path) -> None:
    result = run("sftp_check", {**account(served), "path": str(place), "probe_size": 300_000})
    assert result["ok"], result.get("msg")
    statuses = {stage["name"]: stage["status"] for stage in result["stages"]}
    assert {name for name, status in statuses.items() if status == "warning"} <= {"rename", "link"}
    assert set(statuses) == set(STAGES)
    assert "skipped" not in statuses.values()
    assert not list(place.iterdir())


def test_directory(served: SftpServer, place: Path) -> None:
    options = {**account(served), "path": f"{place}/a/ü b/c"}
    predicted = run("sftp_directory", options, check=True)
    assert not (place / "a").exists()
    made = run("sftp_directory", options)
    assert made["created"] == predicted["created"] == [f"{place}/a", f"{place}/a/ü b", f"{place}/a/ü b/c"]
    assert made["changed"]
    assert (place / "a/ü b/c").is_dir()
    assert not run("sftp_directory", options)["changed"]
    (place / "a/ü b/c/file").write_text("x")
    (place / "a/file").write_text("x")
    refused = run("sftp_directory", {**options, "path": f"{place}/a", "state": "absent"})
    assert refused["failed"]
    assert (place / "a/file").exists()
    removed = run("sftp_directory", {**options, "path": f"{place}/a", "state": "absent", "recurse": True})
    assert removed["changed"], removed
    assert not (place / "a").exists()
    assert not run("sftp_directory", {**options, "path": f"{place}/a", "state": "absent"})["changed"]


def test_directory_where_a_file_is(served: SftpServer, place: Path) -> None:
    (place / "file").write_text("x")
    for path in (f"{place}/file", f"{place}/file/below"):
        result = run("sftp_directory", {**account(served), "path": path})
        assert result["failed"]
        assert f"{place}/file is there, and it is not a directory" in result["msg"]


def test_digest(served: SftpServer, place: Path) -> None:
    contents = {"empty": b"", "d/e/ü 1": bytes(range(256)) * 4000, "d/f": b"y" * 32768}
    for name, content in contents.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    expected = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    result = run("sftp_digest", {**account(served), "path": str(place), "expected": expected})
    assert not result.get("failed"), result
    assert {file["path"]: file["size"] for file in result["files"]} == {
        name: len(content) for name, content in contents.items()
    }


def test_authorized_key(served: SftpServer, place: Path, tmp_path: Path) -> None:
    public = keygen(tmp_path / "new", "ed25519").with_suffix(".pub").read_text()
    options = {**account(served), "path": f"{place}/ssh/keys", "key": public, "file_format": "openssh"}
    assert run("sftp_authorized_key", options)["changed"]
    assert (place / "ssh/keys").read_text() == public
    assert not run("sftp_authorized_key", options)["changed"]
    other = keygen(tmp_path / "other", "ed25519").with_suffix(".pub").read_text()
    assert run("sftp_authorized_key", {**options, "key": other})["changed"]
    assert (place / "ssh/keys").read_text() == public + other
    assert run("sftp_authorized_key", {**options, "state": "absent"})["changed"]
    assert (place / "ssh/keys").read_text() == other
    assert [path.name for path in (place / "ssh").iterdir()] == ["keys"]


def test_authorized_keys_that_somebody_else_changes_meanwhile(
    served: SftpServer, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between reading the file and replacing it, somebody else adds a key: once, and then each time."""
    mine, *others = (keygen(tmp_path / name, "ed25519").with_suffix(".pub").read_text() for name in "abcdefg")
    file = place / "keys"
    file.write_text("# keys\n")
    create, added = SftpClient.create, list[str]()

    def create_beside_somebody(sftp: SftpClient, path: str, content: bytes, mode: int | None = None) -> None:
        if len(added) < most:
            added.append(others[len(added)])
            with file.open("a") as keys:
                keys.write(added[-1])
        create(sftp, path, content, mode)

    monkeypatch.setattr(SftpClient, "create", create_beside_somebody)
    options = {**account(served), "path": str(file), "key": mine, "file_format": "openssh"}
    most = 1
    assert run("sftp_authorized_key", options)["changed"]
    assert file.read_text() == f"# keys\n{others[0]}{mine}"
    most = len(others)
    refused = run("sftp_authorized_key", {**options, "state": "absent"})
    assert "somebody else has changed" in refused["msg"]
    assert file.read_text() == f"# keys\n{others[0]}{mine}{''.join(others[1:])}"
    assert [path.name for path in place.iterdir()] == ["keys"]


def test_host_keys(served: SftpServer) -> None:
    options = {"host": served.host, "port": served.port, "fingerprints": [served.host_key_fingerprint]}
    assert run("sftp_host_key_info", options)["trusted"]
