"""A server that others use: an account, directory or file that the role has not made is refused, and stays as it is."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ansible import REPOSITORY, Outcome, run_playbook
from tests.support.docker import base_image, docker, unused_name

PLAYBOOK = REPOSITORY / "tests/playbooks/account.yml"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDJ8q9k2Yk3M5o0wZ8yJ9B4vQw3xkU1zK0e8k6mH1p2s"
ARTIFACTS = "/srv/sftp/freegee/agent.freegee.ch/artifacts"
SOMEBODY = "useradd --create-home --shell /bin/bash --comment Alice freegee; echo mine >/home/freegee/thesis"
CASES = {
    "account": (
        SOMEBODY,
        ['comment "Alice", home /home/freegee, shell /bin/bash', "sftp_target_mode to hosted"],
    ),
    "chroot": (
        "install -d -m 0700 -o www-data /srv/sftp/freegee",
        ["/srv/sftp/freegee on", "sftp_target_chroot"],
    ),
    "directory": (
        f"install -d {ARTIFACTS}; chown www-data {ARTIFACTS}; echo mine >{ARTIFACTS}/thesis",
        [f"{ARTIFACTS} on", "sftp_path"],
    ),
    "drop-in": (
        "echo 'ClientAliveInterval 7' >/etc/ssh/sshd_config.d/00-sftp-freegee.conf",
        ["/etc/ssh/sshd_config.d/00-sftp-freegee.conf on"],
    ),
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    name = unused_name()
    docker("run", "--detach", f"--name={name}", "--init", "--network=none", base_image(), "sleep", "infinity")
    try:
        docker("exec", name, "sh", "-ec", "ssh-keygen -A; mkdir -p /run/sshd")
        yield name
    finally:
        docker("rm", "--force", name)


def play(server: str, directory: Path) -> Outcome:
    inventory = directory / "hosts.json"
    variables = {
        "ansible_connection": "community.docker.docker",
        "ansible_python_interpreter": "/usr/bin/python3",
        "sftp_user": "freegee",
        "sftp_path": "/agent.freegee.ch/artifacts",
        "sftp_target_authorized_keys": [KEY],
    }
    groups = {"all": {"hosts": {server: variables}}, "docker_hosts": {"hosts": {server: {}}}}
    inventory.write_text(json.dumps(groups))
    return run_playbook(PLAYBOOK, "-i", str(inventory))


def fingerprint(server: str) -> str:
    """Names, owners, modes and bytes of what the role could touch."""
    script = (
        "cat /etc/passwd /etc/shadow /etc/group; find /srv /home /etc/ssh -printf '%p %u:%g %m %T@ ' "
        r"\( -type f -exec sha256sum {} \; -o -printf '\n' \) | sort"
    )
    return docker("exec", server, "sh", "-ec", script)


@pytest.mark.parametrize("case", CASES)
def test_what_somebody_else_made_is_refused(server: str, tmp_path: Path, case: str) -> None:
    script, words = CASES[case]
    docker("exec", server, "sh", "-ec", f"rm -rf /srv/sftp /etc/ssh/sshd_config.d/*; {script}")
    try:
        before = fingerprint(server)
        outcome = play(server, tmp_path)
        output = " ".join(outcome.output.split())
        assert outcome.failed, output
        assert "changed=0" in output
        assert [word for word in [*words, "Nothing has been changed"] if word not in output] == [], output
        assert fingerprint(server) == before
    finally:
        docker("exec", server, "sh", "-c", "userdel --remove freegee 2>/dev/null || true")


def test_what_the_role_made_is_recognised(server: str, tmp_path: Path) -> None:
    """Also without its mark in the files, as earlier releases wrote them, after the account alone was lost."""
    docker("exec", server, "sh", "-ec", "rm -rf /srv/sftp /etc/ssh/sshd_config.d/*")
    for loss in ("true", "sed -i /freegee.mlflow_sftp/d /etc/ssh/*/*; userdel freegee"):
        docker("exec", server, "sh", "-ec", loss)
        outcome = play(server, tmp_path)
        assert not outcome.failed, outcome.output
