"""Editing authorized_keys: what was not asked for stays byte for byte."""

import random
import subprocess
from pathlib import Path

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys import authorized_keys as keys
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import PublicKey
from hypothesis import given
from hypothesis import strategies as st

from tests.support.server import keygen

_BLOB = "AAAAC3NzaC1lZDI1NTE5AAAAIGZ1UQtXGDoShNzKfC7uTLVpmUWJBVnPSDEKbC1nKVH1"
_OTHER = "AAAAC3NzaC1lZDI1NTE5AAAAIHl2kzmGKHgXDYLMXbnxHGzYZ2ZtrPpCtUGxIFXOBX9w"
_WANTED = keys.WantedKey(PublicKey("ssh-ed25519", _BLOB), "mlflow", "restrict")
_ODD = [
    "# a comment",
    "",
    "   ",
    "#",
    f"ssh-ed25519 {_OTHER}",
    f"ssh-ed25519 {_OTHER} a comment  with   spaces ",
    f'from="10.0.0.1,*.ch",command="echo \\"hi, there\\" # no comment" ssh-ed25519 {_OTHER} x',
    f'restrict,environment="A=ssh-rsa {_BLOB}" ssh-ed25519 {_OTHER}',
    f"\tno-pty   ecdsa-sha2-nistp256\t{_OTHER} tabs",
    "unknown-option,frobnicate=yes ssh-dss AAAAB3NzaC1kc3M= old",
    'cert-authority,principals="a b" sk-ssh-ed25519@openssh.com AAAAGnNr hardware',
    'unbalanced="quote ssh-rsa AAAA',
    "garbage",
    "ssh-rsa",
    "Zürich \u6771\u4eac",
]


def odd_file(seed: int) -> bytes:
    """200 lines of all kinds, with mixed ends of line, the last perhaps without one."""
    choice = random.Random(seed)
    lines = [choice.choice(_ODD).encode() + choice.choice([b"\n", b"\n", b"\r\n"]) for _ in range(200)]
    return b"".join(lines) + choice.choice([b"", b"no end", f"ssh-ed25519 {_OTHER}".encode(), b"\xff\xfe"])


@pytest.mark.parametrize("seed", range(20))
def test_add_and_remove_leave_200_odd_lines_as_they_were(seed: int) -> None:
    content = odd_file(seed)
    added = keys.add(content, keys.OPENSSH, _WANTED)
    assert added.startswith(content)
    assert added[len(content) :].strip() == f"restrict ssh-ed25519 {_BLOB} mlflow".encode()
    assert keys.add(added, keys.OPENSSH, _WANTED) == added
    assert keys.remove(added, _BLOB) == content


@given(st.binary())
def test_any_bytes_survive(content: bytes) -> None:
    added = keys.add(content, keys.OPENSSH, _WANTED)
    assert keys.remove(added, _BLOB) == content


@given(content=st.binary())
def test_entries_together_are_the_file(content: bytes) -> None:
    assert b"".join(entry.text for entry in keys.parse(content)) == content


def test_key_in_an_option_or_comment_is_not_a_key() -> None:
    content = f'environment="A=ssh-rsa {_BLOB}" ssh-ed25519 {_OTHER}\n# ssh-ed25519 {_BLOB}\n'.encode()
    assert keys.blobs(content, [keys.OPENSSH]) == {_OTHER}


def test_options_are_changed_and_the_comment_is_kept() -> None:
    content = f'from="a b",no-pty ssh-ed25519 {_BLOB} old comment\r\nrest\n'.encode()
    changed = keys.add(content, keys.OPENSSH, _WANTED)
    assert changed == f"restrict ssh-ed25519 {_BLOB} old comment\r\nrest\n".encode()
    bare = keys.WantedKey(_WANTED.key, "", "")
    assert keys.add(content, keys.OPENSSH, bare).startswith(b"ssh-ed25519 ")
    any_options = keys.WantedKey(_WANTED.key)
    assert keys.add(content, keys.OPENSSH, any_options) == content


def test_exclusive_keeps_comments_only() -> None:
    content = "".join(f"{line}\n" for line in _ODD).encode() + f"ssh-ed25519 {_BLOB}\n".encode()
    assert keys.keep_only(content, _BLOB) == f"# a comment\n\n   \n#\nssh-ed25519 {_BLOB}\n".encode()


def exported(path: Path, kind: str) -> bytes:
    """A public key in RFC 4716 format, as OpenSSH writes it."""
    public = keygen(path, kind, comment="a comment").with_suffix(".pub")
    return subprocess.run(["ssh-keygen", "-e", "-f", str(public)], check=True, capture_output=True).stdout


def test_blocks_that_openssh_wrote(tmp_path: Path) -> None:
    content = exported(tmp_path / "one", "rsa") + exported(tmp_path / "two", "ed25519")
    expected = {(tmp_path / f"{name}.pub").read_text().split()[1] for name in ("one", "two")}
    assert keys.blobs(content, [keys.RFC4716]) == expected
    added = keys.add(content, keys.RFC4716, _WANTED)
    assert keys.blobs(added, [keys.RFC4716]) == {*expected, _BLOB}
    assert keys.remove(added, _BLOB) == content


def test_header_that_goes_on_in_the_next_line() -> None:
    block = f'---- BEGIN SSH2 PUBLIC KEY ----\nComment: "a\\\nb"\n{_BLOB[:40]}\n{_BLOB[40:]}\n'
    content = f"{block}---- END SSH2 PUBLIC KEY ----\n".encode()
    assert keys.blobs(content, [keys.RFC4716]) == {_BLOB}


def test_block_is_what_openssh_reads(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(keys.add(b"", keys.RFC4716, _WANTED))
    shown = subprocess.run(["ssh-keygen", "-i", "-f", str(file)], check=True, capture_output=True, text=True)
    assert shown.stdout.split()[1] == _BLOB


_LINE = f"ssh-ed25519 {_OTHER}\n".encode()
_BLOCK = f"---- BEGIN SSH2 PUBLIC KEY ----\n{_OTHER}\n---- END SSH2 PUBLIC KEY ----\n".encode()


@pytest.mark.parametrize(
    ("content", "banner", "formats"),
    [
        (b"", "SSH-2.0-OpenSSH_9.2p1", (keys.OPENSSH,)),
        (_BLOCK, "SSH-2.0-OpenSSH_9.2p1", (keys.OPENSSH,)),
        (b"", "SSH-2.0-mod_sftp/1.3.8", (keys.RFC4716,)),
        (_LINE, "SSH-2.0-mod_sftp", (keys.RFC4716,)),
        (b"# a comment\n", "SSH-2.0-mod_sftp", (keys.RFC4716,)),
        (_BLOCK, "SSH-2.0-dropbear_2025.88", (keys.OPENSSH,)),
        (_LINE, "SSH-2.0-SFTP", (keys.OPENSSH,)),
        (_BLOCK, "SSH-2.0-SFTP", (keys.RFC4716,)),
        (b"# a comment\n", "SSH-2.0-SFTP", (keys.OPENSSH, keys.RFC4716)),
        (_BLOCK + _LINE, "SSH-2.0-SFTP", (keys.OPENSSH, keys.RFC4716)),
    ],
)
def test_formats(content: bytes, banner: str, formats: tuple[str, ...]) -> None:
    assert keys.formats_for(content, banner) == formats


@pytest.mark.parametrize("wanted_format", [keys.OPENSSH, keys.RFC4716])
@pytest.mark.parametrize("content", [b"# c\n" + _BLOCK + _LINE, _LINE + b"\n" + _BLOCK, _BLOCK[:60] + _LINE])
def test_the_other_format_stays_as_it_is(content: bytes, wanted_format: str) -> None:
    added = keys.add(content, wanted_format, _WANTED)
    assert content in added
    assert keys.blobs(added, [wanted_format]) >= {_BLOB}
    assert keys.add(added, wanted_format, _WANTED) == added
    assert keys.remove(added, _BLOB) == content


def test_block_with_carriage_returns_does_not_count() -> None:
    content = keys.add(b"", keys.RFC4716, _WANTED).replace(b"\n", b"\r\n")
    assert keys.add(content, keys.RFC4716, _WANTED).startswith(content)
