"""The hash of a password, beside that of OpenSSL."""

import subprocess

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.filter.sha512_crypt import sha512_crypt as hashed_for
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users.sha512_crypt import (
    salt_of,
    sha512_crypt,
)


def openssl(password: str, salt: str) -> str:
    command = ["openssl", "passwd", "-6", "-salt", salt, "-stdin"]
    done = subprocess.run(command, input=f"{password}\n", capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("salt", ["a", "saltstring", "0123456789abcdef"])
@pytest.mark.parametrize(
    "password",
    ["x", "a password of the vault's", "$6$a$b", "x" * 63, "x" * 64, "x" * 65, "y" * 200, "pässword"],
)
def test_the_hash_is_that_of_crypt(password: str, salt: str) -> None:
    assert sha512_crypt(password, salt) == openssl(password, salt)


def test_of_a_long_salt_the_first_characters_count() -> None:
    assert sha512_crypt("x", "0123456789abcdefg") == openssl("x", "0123456789abcdef")


def test_the_same_password_elsewhere_has_another_hash() -> None:
    here, there = (hashed_for("x", f"https://{name}.example.org") for name in ("here", "there"))
    assert here != there
    assert here == hashed_for("x", "https://here.example.org")
    assert here == openssl("x", salt_of("https://here.example.org"))
