"""Reading known_hosts as OpenSSH does."""

import subprocess
from pathlib import Path

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.known_hosts import read_known_hosts

_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZ1UQtXGDoShNzKfC7uTLVpmUWJBVnPSDEKbC1nKVH1"
_OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHl2kzmGKHgXDYLMXbnxHGzYZ2ZtrPpCtUGxIFXOBX9w"
_RSA = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAQQC7"
_NAME = "[tajo.host.ch]:2121"


def known(tmp_path: Path, text: str, name: str = _NAME) -> list[str]:
    """Return ``marker type`` of the lines that apply."""
    file = tmp_path / "known_hosts"
    file.write_text(text)
    return [f"{entry.marker} {entry.key.type}".strip() for entry in read_known_hosts([str(file)], name)]


@pytest.mark.parametrize(
    ("names", "applies"),
    [
        ("[tajo.host.ch]:2121", True),
        ("[TAJO.host.ch]:2121", True),
        ("tajo.host.ch", False),
        ("[tajo.host.ch]:22", False),
        ("other,[tajo.host.ch]:2121", True),
        ("[*.host.ch]:2121", True),
        ("[taj?.host.ch]:2121", True),
        ("*", True),
        ("*,![tajo.host.ch]:2121", False),
        ("|1|not-base64|x", False),
    ],
)
def test_names(tmp_path: Path, names: str, applies: bool) -> None:
    assert known(tmp_path, f"{names} {_KEY}\n") == (["ssh-ed25519"] if applies else [])


def test_hashed_names_that_openssh_wrote(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"{_NAME} {_KEY}\n")
    subprocess.run(["ssh-keygen", "-H", "-f", str(file)], check=True, capture_output=True)
    assert "tajo" not in file.read_text()
    assert len(read_known_hosts([str(file)], _NAME)) == 1
    assert not read_known_hosts([str(file)], "[tajo.host.ch]:22")


def test_markers_comments_and_damaged_lines(tmp_path: Path) -> None:
    lines = [f"# comment {_KEY}", "", f"@revoked * {_OTHER}", f"{_NAME} {_KEY} a comment", _NAME]
    lines += [f"@cert-authority [*.ch]:* {_RSA}", f"@cert-authority *.ch {_RSA}"]
    authority = "@cert-authority ssh-rsa"
    expected = ["@revoked ssh-ed25519", "ssh-ed25519", authority, authority]
    assert known(tmp_path, "\n".join(lines)) == expected


def test_one_missing_file_of_several_is_fine(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"{_NAME} {_KEY}\n")
    assert len(read_known_hosts([str(tmp_path / "missing"), str(file)], _NAME)) == 1


def test_no_readable_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(DiagnosedError) as raised:
        read_known_hosts([str(tmp_path / "missing")], _NAME)
    assert raised.value.cause.code == "known_hosts_unreadable"


def test_a_line_that_holds_no_key_does_not_hide_the_others(tmp_path: Path) -> None:
    assert known(tmp_path, f"{_NAME} ssh-rsa not*base64\n{_NAME} {_KEY}\n") == ["ssh-ed25519"]
