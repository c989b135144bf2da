"""Where backups go: what a location means, what is refused, and what is never said."""

import shlex

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.repository import (
    Repository,
    require_apart,
    restic_options,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._backup.restic import Access
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import Store

STACK = "/opt/mlflow-stack"
LOCAL = Store.at("local", "direct", "/mlruns")
ACCOUNT = Store.at("sftp", "direct", "sftp://me@host.example:2121/data/artifacts")


@pytest.mark.parametrize(
    ("location", "kind", "path", "user", "host", "port"),
    [
        ("/srv/backup", "directory", "/srv/backup", "", "", ""),
        ("/srv//backup/", "directory", "/srv/backup", "", "", ""),
        ("/srv/with space", "directory", "/srv/with space", "", "", ""),
        ("sftp:me@host:/data/b", "sftp", "/data/b", "me", "host", ""),
        ("sftp:host:/b", "sftp", "/b", "", "host", ""),
        ("sftp://me@host:2299//data/b", "sftp", "/data/b", "me", "host", "2299"),
        ("sftp://host//b", "sftp", "/b", "", "host", ""),
        ("sftp://me@[2001:db8::1]:22//b", "sftp", "/b", "me", "2001:db8::1", "22"),
        ("s3:https://s3.example/bucket", "other", "", "", "", ""),
        ("rest:https://user@backup.example/", "other", "", "", "", ""),
    ],
)
def test_locations(location: str, kind: str, path: str, user: str, host: str, port: str) -> None:
    assert Repository.at(location) == Repository(kind, location, path, host, user, port)


@pytest.mark.parametrize(
    "location",
    [
        "",
        "/",
        "/srv/../etc",
        "backup",
        "sftp:me@host:relative",
        "sftp://me@host/relative",
        "sftp:-oProxyCommand=evil:/b",
        "sftp:me@ho st:/b",
        "sftp://me@host:22222222//b",
        "http://host/b",
    ],
)
def test_what_restic_could_not_use_is_refused(location: str) -> None:
    with pytest.raises(RefusedError, match="mlflow_backup_repository is"):
        Repository.at(location)


def test_a_password_in_the_location_is_refused_and_not_said() -> None:
    with pytest.raises(RefusedError, match="holds a password") as raised:
        Repository.at("rest:https://user:geheim@backup.example/")
    assert "geheim" not in str(raised.value)


def test_the_ssh_client_knows_who_has_to_answer() -> None:
    repository = Repository.at("sftp://me@host:2299//data/b")
    assert repository.for_restic == "sftp:repository:/data/b"
    option, command = restic_options(repository, "/etc/mlflow_sftp", own_key=False)
    name, _, text = command.partition("=")
    assert (option, name) == ("-o", "sftp.command")
    words = shlex.split(text)
    assert words[0] == "ssh"
    assert words[-3:] == ["host", "-s", "sftp"]
    assert {"BatchMode=yes", "StrictHostKeyChecking=yes", "User=me", "Port=2299"} <= set(words)
    assert words[words.index("-F") + 1] == "/etc/mlflow_sftp/ssh_config"


def test_a_key_of_its_own_leaves_the_stacks_account_out() -> None:
    (_, command) = restic_options(Repository.at("sftp:host:/b"), "/etc/mlflow_sftp", own_key=True)
    assert "/etc/mlflow_sftp" not in command
    assert "-F none -i /run/mlflow_backup/key" in command
    assert "UserKnownHostsFile=/run/mlflow_backup/known_hosts" in command


@pytest.mark.parametrize(
    ("location", "store", "words"),
    [
        (f"{STACK}/backups", LOCAL, "lies in the stack's directory"),
        (STACK, LOCAL, "lies in the stack's directory"),
        ("sftp:host.example:/data/artifacts", ACCOUNT, "would be taken for artifacts"),
        ("sftp:host.example:/data/artifacts/b", ACCOUNT, "would be taken for artifacts"),
    ],
)
def test_a_repository_in_what_it_backs_up_is_refused(location: str, store: Store, words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        require_apart(Repository.at(location), STACK, store)


@pytest.mark.parametrize(
    ("location", "store"),
    [
        (f"{STACK}-backups", LOCAL),
        ("/srv", LOCAL),
        ("sftp:host.example:/data/artifacts-backup", ACCOUNT),
        ("sftp:other.example:/data/artifacts/b", ACCOUNT),
        ("s3:https://s3.example/data/artifacts", ACCOUNT),
    ],
)
def test_a_repository_beside_is_fine(location: str, store: Store) -> None:
    require_apart(Repository.at(location), STACK, store)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"password": ""}, "mlflow_backup_password is empty"),
        ({"private_key": "KEY"}, "without mlflow_backup_known_hosts"),
        ({"environment": {"A;rm -rf /": "x"}}, "no name of a variable"),
    ],
)
def test_what_opens_no_repository_is_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        Access(**{"repository": Repository.at("/b"), "password": "geheim", "image": "i", **given})  # type: ignore[arg-type]


def test_secrets_are_not_shown() -> None:
    access = Access(Repository.at("/b"), "geheim1", "i", {"TOKEN": "geheim2"}, "geheim3", "host ssh-rsa A")
    assert "geheim" not in repr(access)
