"""Options and an OpenSSH client configuration, combined."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.account import (
    Account,
    account_from_options,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.login import login_keys
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.options import CONNECTION_OPTIONS


def account(**options: Any) -> Account:
    """Account of options, the others at their defaults."""
    defaults = {name: spec.get("default") for name, spec in CONNECTION_OPTIONS.items()}
    return account_from_options({**defaults, "host": "tajo.host.ch", **options})


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "config"
    file.write_text(
        "Host store\n  HostName tajo.host.ch\n  Port 2121\n  User freegee\n"
        "  IdentityFile /k/one\n  IdentityFile /k/two\n  UserKnownHostsFile /a /b\n"
        "Host alias\n  HostKeyAlias pinned-name\n"
    )
    return str(file)


def test_configuration_is_honoured(config: str) -> None:
    made = account(host="store", ssh_config_file=config)
    assert made.label == "freegee@tajo.host.ch:2121"
    assert made.endpoint.known_hosts_name == "[tajo.host.ch]:2121"
    assert made.key_files == ("/k/one", "/k/two")
    assert made.known_hosts_files == ("/a", "/b")


def test_options_win(config: str) -> None:
    options = {
        "port": 22,
        "user": "x",
        "private_key_file": "/k",
        "known_hosts_file": "/h",
        "address": "10.0.0.1",
    }
    made = account(host="store", ssh_config_file=config, **options)
    assert made.label == "x@tajo.host.ch:22 (at 10.0.0.1)"
    assert made.endpoint.known_hosts_name == "tajo.host.ch"
    assert (made.key_files, made.known_hosts_files) == (("/k",), ("/h",))


def test_host_key_alias(config: str) -> None:
    assert account(host="alias", port=2121, ssh_config_file=config).endpoint.known_hosts_name == "pinned-name"


def test_known_hosts_of_the_user_count_unless_fingerprints_do() -> None:
    assert account().known_hosts_files == ("~/.ssh/known_hosts",)
    assert account(host_key_fingerprints=["SHA256:x"]).known_hosts_files == ()


def test_password_needs_no_key() -> None:
    assert account(password="x").key_files == ()


def test_a_key_as_a_text_stands_for_those_in_files(tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    # As from a vault, without the end of its last line.
    made = account(private_key=(tmp_path / "key").read_text().strip(), private_key_file="/k")
    assert made.key_files == ()
    assert login_keys(made) == {(tmp_path / "key.pub").read_text().split()[1]}
    with pytest.raises(DiagnosedError) as raised:
        login_keys(account(private_key="hunter4"))
    assert raised.value.cause.code == "key_format"
    assert "hunter4" not in str(raised.value)


def test_secrets_are_not_shown() -> None:
    made = account(password="hunter2", private_key_passphrase="hunter3", private_key="hunter4")
    assert "hunter" not in repr(made)
    assert "hunter" not in str(made.facts)


@pytest.mark.parametrize("content", [None, "Port\n", "Match host\n"])
def test_unreadable_configuration(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "config"
    if content is not None:
        file.write_text(content)
    with pytest.raises(DiagnosedError) as raised:
        account(ssh_config_file=str(file))
    assert raised.value.cause.code == "ssh_config_unreadable"
    assert str(file) in raised.value.remedy


def test_configuration_that_only_ssh_understands(tmp_path: Path) -> None:
    (tmp_path / "more").write_text("Host tajo*\n  User freegee\n  IdentityFile /k/%h\n")
    file = tmp_path / "config"
    file.write_text(
        f"Include {tmp_path}/more\nMatch host tajo.host.ch !user nobody\n  Port 2121\n"
        f'  UserKnownHostsFile "{tmp_path}/known hosts" /b\n'
    )
    made = account(ssh_config_file=str(file))
    assert made.label == "freegee@tajo.host.ch:2121"
    assert made.key_files == ("/k/tajo.host.ch",)
    assert made.known_hosts_files[-1] == "/b"
    (tmp_path / "more").write_text("")
    made = account(ssh_config_file=str(file), private_key_file="/k", host="other")
    assert made.endpoint.port == 22
    assert made.known_hosts_files == ("~/.ssh/known_hosts",)
