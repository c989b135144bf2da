"""The files of a rotation of the SSH key, through all of its states."""

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._rotation.key_files import KeyFiles

from tests.support.server import keygen

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="gives files to the containers' user")

_UID = 10001


@pytest.fixture
def services(tmp_path: Path) -> Path:
    directory = tmp_path / ".secrets/mlflow_sftp_key"
    directory.mkdir(parents=True)
    keygen(directory / "id_ed25519", "ed25519", "freegee@mlflow")
    return directory


def modes(directory: Path) -> dict[str, tuple[int, int]]:
    status = {path.name: path.stat() for path in directory.iterdir()}
    return {name: (each.st_mode & 0o777, each.st_uid) for name, each in status.items()}


def test_a_generated_key_from_begin_to_end(tmp_path: Path, services: Path) -> None:
    files = KeyFiles(tmp_path, _UID, _UID)
    old = files.keys().current
    files.begin(None)
    begun = files.keys()
    assert begun.current == begun.before == old != begun.following
    assert set(modes(files.place).values()) == {(0o600, 0)}
    files.install()
    assert files.keys().current == begun.following
    assert modes(services) == {"id_ed25519": (0o600, _UID), "id_ed25519.pub": (0o600, _UID)}
    shown = subprocess.run(
        ["ssh-keygen", "-y", "-f", services / "id_ed25519"], capture_output=True, text=True
    )
    assert shown.stdout == (services / "id_ed25519.pub").read_text()
    assert shown.stdout.endswith(" freegee@mlflow\n")
    files.restore()
    assert files.keys().current == old
    files.install()
    files.finish()
    assert files.keys().current == begun.following
    assert not files.place.exists()


def test_a_given_key_has_no_public_half_beside_it(tmp_path: Path, services: Path) -> None:
    (services / "id_ed25519.pub").unlink()
    text = keygen(tmp_path / "given", "ed25519").read_text()
    files = KeyFiles(tmp_path, _UID, _UID)
    # Of a generated key that never came to be.
    files.place.mkdir()
    (files.place / "ssh_key.next.pub").write_text("ssh-ed25519 AAAA")
    files.begin(text.rstrip())
    files.install()
    assert [path.name for path in services.iterdir()] == ["id_ed25519"]
    assert (services / "id_ed25519").read_text() == text


def test_two_keys_are_refused(tmp_path: Path, services: Path) -> None:
    keygen(services / "id_rsa", "rsa")
    with pytest.raises(RefusedError, match="holds several keys: id_ed25519, id_rsa"):
        KeyFiles(tmp_path, _UID, _UID).keys()
