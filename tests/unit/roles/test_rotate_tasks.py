"""Conditions and messages of a rotation in roles, for what modules can tell."""

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.freegee.mlflow_sftp.plugins.filter.retired_key_successor import retired_key_successor
from ansible_collections.freegee.mlflow_sftp.plugins.filter.ssh_fingerprint import ssh_fingerprint
from ansible_collections.freegee.mlflow_sftp.plugins.filter.ssh_public_key import ssh_public_key

from tests.support.server import fingerprint, keygen
from tests.support.templates import trusted

ROLES = Path(__file__).parents[3] / "roles"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDJ8q9k2Yk3M5o0wZ8yJ9B4vQw3xkU1zK0e8k6mH1p2s"
ACCOUNT = {"sftp_user": "freegee", "sftp_host": "tajo.host.ch"}


def task(file: str, name: str) -> dict[str, Any]:
    """A task of a role, from ``ROLE/tasks/FILE``; those of blocks as well."""
    entries = yaml.safe_load((ROLES / file).read_text())
    for entry in entries:
        entries += [*entry.get("block", []), *entry.get("rescue", [])]
    return next(trusted(entry) for entry in entries if entry["name"] == name)


def templar_with(variables: dict[str, Any]) -> Templar:
    templar = Templar(DataLoader(), variables=variables)
    for each in (ssh_fingerprint, ssh_public_key, retired_key_successor):
        templar.environment.filters[f"freegee.mlflow_sftp.{each.__name__}"] = each
    return templar


def complaint(file: str, name: str, **variables: Any) -> str:
    """What a task that requires something says; nothing where all is well."""
    found = task(file, name)
    values = {
        **trusted(yaml.safe_load((ROLES / file.partition("/")[0] / "vars/main.yml").read_text())),
        **found.get("vars", {}),
    }
    templar = templar_with({**values, **variables})
    options = next(value for key, value in found.items() if key.startswith("ansible.builtin."))
    conditions = options.get("that", [trusted("false")])
    for condition in conditions if isinstance(conditions, list) else [conditions]:
        if not templar.evaluate_conditional(condition):
            return " ".join(str(templar.template(options.get("fail_msg", options.get("msg")))).split())
    return ""


REFUSED = {"ok": False, "cause": "auth_refused", "msg": "the key is refused."}
UNKNOWN = {"ok": False, "cause": "connection_timeout", "msg": "no answer within 10 s."}


@pytest.mark.parametrize(
    ("authorized", "accepted", "words"),
    [
        (False, REFUSED, ""),
        (True, {"ok": True}, ""),
        (False, {"ok": True}, "accepts the new key"),
        (True, REFUSED, "does not accept the new key"),
        (
            False,
            UNKNOWN,
            "accepts the new key is not known: no answer within 10 s. Nothing has been changed.",
        ),
        (True, UNKNOWN, "accepts the new key is not known: no answer within 10 s. Nothing has been changed."),
    ],
)
def test_a_new_key_that_nobody_uses(authorized: bool, accepted: dict[str, Any], words: str) -> None:
    said = complaint(
        "mlflow_rotate/tasks/ssh_key/prove.yml",
        "Require a new SSH key that nobody uses",
        __mlflow_rotate_accepted=accepted,
        __mlflow_rotate_plan={"new": {"public_key": KEY}},
        mlflow_rotate_key_is_authorized=authorized,
        **ACCOUNT,
    )
    assert words in said
    assert bool(words) is bool(said)


@pytest.mark.parametrize(
    ("retired", "words"), [(True, "has retired: the services use SHA256:new."), (False, "")]
)
def test_key_of_the_inventory_that_was_retired(tmp_path: Path, retired: bool, words: str) -> None:
    key = keygen(tmp_path / "key", "ed25519")
    record = f"{fingerprint(key.with_suffix('.pub')) if retired else 'SHA256:other'} SHA256:new\n"
    said = complaint(
        "sftp_client/tasks/retired_key.yml",
        "Require a key that no rotation has retired",
        sftp_private_key=key.read_text(),
        sftp_client_dir="/opt/mlflow-stack",
        inventory_hostname="here",
        __sftp_client_retired={"content": b64encode(record.encode()).decode()},
    )
    assert words in said
    assert bool(words) is bool(said)
    assert "sftp_private_key_file" not in said


FAILED = {"ansible_failed_task": {"name": "A task"}, "ansible_failed_result": {"msg": "No round trip."}}
_SKIPPED = {"skipped": True}


@pytest.mark.parametrize(
    ("failure", "restored", "words"),
    [
        (FAILED, {}, "No round trip. The services have the old key again. Both keys are kept"),
        (FAILED, _SKIPPED, "No round trip. Both keys are kept"),
        (
            FAILED,
            {"msg": "Disk full."},
            "No round trip. The services could not be given the old key again: Disk full. Both",
        ),
        (FAILED | {"ansible_failed_result": {}}, {}, "A task failed. The services have the old key again."),
        # Its own tasks went well.
        ({}, {}, "The new SSH key failed on another Docker host. The services have the old key again."),
    ],
)
def test_what_went_wrong_comes_first(failure: dict[str, Any], restored: dict[str, Any], words: str) -> None:
    file = "mlflow_rotate/tasks/ssh_key/use.yml"
    told = task(file, "Set what went wrong with the new SSH key")["ansible.builtin.set_fact"]
    set_before = templar_with(failure).template(told["__mlflow_rotate_failure"])
    said = complaint(
        file,
        "Fail with what went wrong with the new SSH key",
        __mlflow_rotate_failure=set_before,
        __mlflow_rotate_restored=restored,
    )
    assert said.startswith(words)


@pytest.mark.parametrize("phase", ["retire", "forget"])
def test_result_of_a_rotation_that_was_complete_but_for_its_files(phase: str) -> None:
    found = task("mlflow_rotate/tasks/ssh_key/retire.yml", "Show the result of the rotation of the SSH key")
    variables = {
        "__mlflow_rotate_phase": phase,
        "__mlflow_rotate_old_key": {"public_key": KEY},
        "__mlflow_rotate_new_key": {"public_key": KEY},
    }
    line = templar_with(variables | ACCOUNT).template(found["vars"]["__mlflow_rotate_lines"][0])
    assert ("refuses the key" in line) is (phase == "retire")


def test_secrets_are_replaced_whatever_becomes_of_the_connection() -> None:
    found = task("mlflow_rotate/tasks/secrets/replace.yml", "Replace the secrets of services")
    seconds = {
        check: templar_with({"ansible_check_mode": check}).template(found["async"]) for check in (True, False)
    }
    assert int(seconds[True]) == 0
    assert int(seconds[False]) >= 3600
    assert found["poll"] > 0


@pytest.mark.parametrize(
    ("key_type", "kind", "size"),
    [("ssh-ed25519", "ed25519", ""), ("ssh-rsa", "rsa", ""), ("ecdsa-sha2-nistp384", "ecdsa", "384")],
)
def test_a_generated_key_is_of_the_type_of_the_old_one(key_type: str, kind: str, size: str) -> None:
    file = "mlflow_rotate/tasks/ssh_key/authorize.yml"
    options = task(file, "Generate the new SSH key beside the inventory's")[
        "community.crypto.openssh_keypair"
    ]
    plan = {"old": {"public_key": f"{key_type} AAAA"}}
    templar = templar_with({"__mlflow_rotate_plan": plan, "omit": ""})
    assert templar.template(options["type"]) == kind
    assert str(templar.template(options["size"])) == size


@pytest.mark.parametrize(
    ("tried", "words"),
    [
        (REFUSED, f"Authorize this key, then run this playbook again with -e key_is_authorized=true: {KEY}."),
        # The task behind tells what is wrong.
        (UNKNOWN, ""),
        ({"ok": True, "cause": None}, ""),
        (_SKIPPED, ""),
    ],
)
def test_a_generated_key_that_others_authorize(tried: dict[str, Any], words: str) -> None:
    said = complaint(
        "mlflow_rotate/tasks/ssh_key/authorize.yml",
        "Require that others have authorized the new SSH key",
        __mlflow_rotate_authorized=tried,
        __mlflow_rotate_begun={"new": {"public_key": KEY}},
        **ACCOUNT,
    )
    assert words in said
    assert bool(words) is bool(said)


@pytest.mark.parametrize(
    ("same", "words"), [(True, "Give the backups a key of their own first"), (False, "")]
)
def test_backups_with_the_key_that_is_retired(tmp_path: Path, same: bool, words: str) -> None:
    key, other = keygen(tmp_path / "key", "ed25519"), keygen(tmp_path / "other", "ed25519")
    said = complaint(
        "mlflow_rotate/tasks/ssh_key/prove.yml",
        "Require that backups do not log in with the key that is retired",
        mlflow_backup_private_key=(key if same else other).read_text(),
        __mlflow_rotate_plan={"old": {"public_key": key.with_suffix(".pub").read_text()}},
        __mlflow_rotate_part={"old": "SHA256:old"},
    )
    assert words in said
    assert bool(words) is bool(said)


@pytest.mark.parametrize("repository", ["sftp:backup@host:/repository", ""])
def test_a_backup_is_due_after_a_rotation(repository: str) -> None:
    found = task("mlflow_rotate/tasks/ssh_key/retire.yml", "Show the result of the rotation of the SSH key")
    templar = templar_with({"mlflow_backup_repository": repository})
    lines = [line for line in found["vars"]["__mlflow_rotate_lines"] if "backup" in line]
    said = "".join(str(templar.template(line)) for line in lines)
    assert ("Make a backup now" in said) is bool(repository)


@pytest.mark.parametrize(
    ("engine", "secrets", "said"),
    [
        ("swarm", ["ssh_key", "database_password"], ""),
        ("swarm", ["ssh_key", "notebook_token"], "one: a swarm serves no notebook"),
    ],
)
def test_a_swarm_has_no_notebooks_token(engine: str, secrets: list[str], said: str) -> None:
    found = complaint(
        "mlflow_rotate/tasks/main.yml",
        "Require secrets that services of a swarm have",
        inventory_hostname="one",
        mlflow_stack_engine=engine,
        mlflow_rotate_secrets=secrets,
    )
    assert found.startswith(said)
    assert bool(found) is bool(said)


def test_hosts_are_known_by_the_node_that_they_are() -> None:
    values = trusted(yaml.safe_load((ROLES / "mlflow_rotate/vars/main.yml").read_text()))
    asked = {"swarm": {"node": "n1"}}
    given = {
        "groups": {"swarm_managers": ["one"], "swarm_workers": ["two"]},
        # The second one could not be asked.
        "hostvars": {
            "one": {"inventory_hostname": "one", "__docker_swarm_host": asked},
            "two": {"inventory_hostname": "two"},
        },
    }
    templar = templar_with({**values, **given})
    assert templar.template(trusted("{{ __mlflow_rotate_swarm_nodes }}")) == {"n1": "one"}


def test_the_old_key_goes_after_every_server_has_the_new_one_and_its_secret_last() -> None:
    retired = [
        each["name"]
        for each in yaml.safe_load((ROLES / "mlflow_rotate/tasks/ssh_key/retire.yml").read_text())
    ]
    assert (
        retired.index("Require that the account refuses the old SSH key")
        < retired.index("Remove the secret of the old SSH key from the swarm")
        < retired.index("Forget the old SSH key")
    )
