"""Filters, as templates use them."""

import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.freegee.mlflow_sftp.plugins.filter.bcrypt_hash import bcrypt_hash
from ansible_collections.freegee.mlflow_sftp.plugins.filter.rotation_left_out import rotation_left_out
from ansible_collections.freegee.mlflow_sftp.plugins.filter.sftp_uri import sftp_uri
from ansible_collections.freegee.mlflow_sftp.plugins.filter.space_amount import space_amount
from ansible_collections.freegee.mlflow_sftp.plugins.filter.ssh_fingerprint import ssh_fingerprint
from hypothesis import given
from hypothesis import strategies as st

from tests.support.server import fingerprint, keygen

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1)


def crypt(password: str, salt: str) -> str:
    """Return what the C library makes of a password, as HAProxy does."""
    command = ["perl", "-e", "print crypt($ARGV[0], $ARGV[1])", password, salt]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("password", ["x", "$6$a$b of the vault's", "x" * 72])
@pytest.mark.parametrize("name", ["https://mlflow.example.org", "", "mlflöw"])
def test_a_password_s_hash_is_that_of_the_c_library(password: str, name: str) -> None:
    hashed = bcrypt_hash(password, name)
    assert hashed.startswith("$2b$")
    assert crypt(password, hashed) == hashed
    assert crypt(password[1:], hashed) != hashed


def test_a_password_s_hash_is_the_same_here_and_another_one_elsewhere() -> None:
    here, there = (bcrypt_hash("x", f"https://{name}.example.org") for name in ("here", "there"))
    assert here == bcrypt_hash("x", "https://here.example.org")
    assert here != there


def test_uri_of_the_real_account() -> None:
    uri = sftp_uri("tajo.host.ch", "/agent.freegee.ch/artifacts", user="freegee", port="2121")
    assert uri == "sftp://freegee@tajo.host.ch:2121/agent.freegee.ch/artifacts"


def test_uri_without_user_and_port() -> None:
    assert sftp_uri("h", "/a b#c%d?e") == "sftp://h/a%20b%23c%25d%3Fe"


def test_uri_of_an_ipv6_address() -> None:
    assert sftp_uri("fd00::1", "/a", port=22) == "sftp://[fd00::1]:22/a"


@given(path=_TEXT, user=_TEXT)
def test_uri_gives_back_its_parts(path: str, user: str) -> None:
    parts = urlsplit(sftp_uri("h", f"/{path}", user=user, port=1))
    assert unquote(parts.path) == f"/{path}"
    assert unquote(parts.username or "") == user
    assert (parts.hostname, parts.port) == ("h", 1)


@pytest.mark.parametrize(
    ("host", "path", "port"), [("", "/a", 1), ("h/x", "/a", 1), ("h", "a", 1), ("h", "/a", "x")]
)
def test_uri_of_nonsense(host: str, path: str, port: int | str) -> None:
    with pytest.raises(AnsibleFilterError, match="sftp_uri"):
        sftp_uri(host, path, port=port)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_fingerprint_is_what_ssh_keygen_prints(tmp_path: Path, kind: str) -> None:
    public = keygen(tmp_path / "key", kind).with_suffix(".pub")
    assert ssh_fingerprint(public.read_text()) == fingerprint(public)


@pytest.mark.parametrize("text", ["", "ssh-ed25519", "ssh-ed25519 !!!"])
def test_fingerprint_of_nonsense(text: str) -> None:
    with pytest.raises(AnsibleFilterError, match="ssh_fingerprint"):
        ssh_fingerprint(text)


def test_hosts_that_a_rotation_would_lock_out(tmp_path: Path) -> None:
    """The same key is the same by whatever name, and the same name on another account is not."""
    key, other = keygen(tmp_path / "key", "ed25519"), keygen(tmp_path / "other", "ed25519")
    (tmp_path / "link").symlink_to(key)
    account = {"sftp_user": "freegee", "sftp_host": "tajo.host.ch", "sftp_port": 2121}
    hosts = {
        "file": {"sftp_private_key_file": str(key)},
        "link": {"sftp_private_key_file": str(tmp_path / "link")},
        "text": {"sftp_private_key": key.read_text(), "sftp_port": "2121"},
        "other key": {"sftp_private_key_file": str(other)},
        "other account": {"sftp_private_key_file": str(key), "sftp_user": "other"},
        "other port": {"sftp_private_key": key.read_text(), "sftp_port": 22},
        "own key": {"sftp_client_generate_key": True, "sftp_private_key_file": str(key)},
        "no key": {},
        "unreadable": {"sftp_private_key_file": str(tmp_path / "nothing")},
        "unreadable of another account": {"sftp_private_key_file": "/nothing", "sftp_host": "localhost"},
    }
    found = rotation_left_out(
        [{"inventory_hostname": name, **account, **variables} for name, variables in hosts.items()],
        "freegee@tajo.host.ch:2121",
        key.with_suffix(".pub").read_text(),
    )
    locked_out = [each.partition(" has the same key, and")[0] for each in found]
    assert locked_out[:3] == ["file", "link", "text"]
    assert locked_out[3].startswith("Whether unreadable has the same key is not known")
    assert len(found) == 4


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        ("10%", "10%"),
        ("0.5 %", "0.5%"),
        ("5G", str(5 << 30)),
        (0, "0"),
        ("0", "0"),
        ("100B", "100"),
        ("0%", "0"),
    ],
)
def test_amounts_of_space(amount: str | int, expected: str) -> None:
    assert space_amount(amount) == expected


def test_what_is_no_amount_of_space() -> None:
    with pytest.raises(AnsibleFilterError, match="'ten' is no amount"):
        space_amount("ten")
