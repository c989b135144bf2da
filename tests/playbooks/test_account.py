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
    "all at once": (
        "install -d -m 0770 -g www-data /srv/sftp; install -d -o www-data /srv/sftp/freegee;"
        "echo 'AllowUsers root' >/etc/ssh/sshd_config.d/50-other.conf",
        ["/srv/sftp/freegee on", "not so for /srv/sftp.", "add freegee to AllowUsers"],
    ),
}
MISTAKES = {"sftp_user": "Free Gee", "sftp_path": "/a/../b", "sftp_target_authorized_keys": ["AAAA"]}
# Each with how many tasks put it right. The unit tests have the cases of the first.
DRIFTS = {
    "account": (f"usermod --shell /bin/sh freegee; chmod 0777 {ARTIFACTS}", 2),
    "keys": ("echo 'ssh-ed25519 AAAA evil' >>/etc/ssh/sftp_authorized_keys/freegee", 1),
    "protection": (
        "chmod 0666 /etc/ssh/sftp_authorized_keys/freegee; chown www-data /etc/ssh/sshd_config.d/00-sftp-freegee.conf",
        2,
    ),
    "drop-in": ("sed -i s/internal-sftp/none/ /etc/ssh/sshd_config.d/00-sftp-freegee.conf", 1),
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


def play(server: str, directory: Path, *options: str, **settings: object) -> Outcome:
    inventory = directory / "hosts.json"
    variables = {
        "ansible_connection": "community.docker.docker",
        "ansible_python_interpreter": "/usr/bin/python3",
        "sftp_user": "freegee",
        "sftp_path": "/agent.freegee.ch/artifacts",
        "sftp_target_authorized_keys": [KEY],
        **settings,
    }
    groups = {"all": {"hosts": {server: variables}}, "docker_hosts": {"hosts": {server: {}}}}
    inventory.write_text(json.dumps(groups))
    return run_playbook(PLAYBOOK, "-i", str(inventory), *options)


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


def state(server: str) -> str:
    """Like `fingerprint`, without times, which a file that is written anew changes."""
    script = (
        "cat /etc/passwd /etc/group; grep ^freegee: /etc/shadow; find /srv /etc/ssh -printf '%p %u:%g %m ' "
        r"\( -type f -exec sha256sum {} \; -o -printf '\n' \) | sort"
    )
    return docker("exec", server, "sh", "-ec", script)


def test_mistakes_are_told_all_at_once(server: str, tmp_path: Path) -> None:
    before = fingerprint(server)
    outcome = play(server, tmp_path, **MISTAKES)
    output = " ".join(outcome.output.split())
    assert outcome.failed, output
    assert "changed=0" in output
    assert [word for word in [*MISTAKES, "Nothing has been changed"] if word not in output] == [], output
    assert fingerprint(server) == before


@pytest.mark.full
def test_what_is_no_longer_as_it_was_made_is_put_right(server: str, tmp_path: Path) -> None:
    docker("exec", server, "sh", "-ec", "rm -rf /srv/sftp /etc/ssh/sshd_config.d/*")
    assert not play(server, tmp_path).failed
    made = state(server)
    again = play(server, tmp_path)
    assert "changed=0" in again.output, again.output
    for drift, (script, count) in DRIFTS.items():
        docker("exec", server, "sh", "-ec", script)
        drifted = state(server)
        assert drifted != made, drift
        if drift == "account":
            foreseen = play(server, tmp_path, "--check")
            assert f"changed={count} " in foreseen.output, foreseen.output
            assert state(server) == drifted
        outcome = play(server, tmp_path)
        assert f"changed={count} " in outcome.output, f"{drift}\n{outcome.output}"
        assert state(server) == made, drift


@pytest.mark.full
def test_keys_that_may_stay(server: str, tmp_path: Path) -> None:
    other = f"{KEY[:-4]}AAAA of another host"
    assert not play(server, tmp_path, sftp_target_authorized_keys=[KEY, other]).failed
    kept = play(server, tmp_path, sftp_target_exclusive_keys=False)
    assert "changed=0" in kept.output, kept.output
    assert "of another host" in state_of_keys(server)
    assert "changed=1 " in play(server, tmp_path).output
    assert "of another host" not in state_of_keys(server)


def state_of_keys(server: str) -> str:
    return docker("exec", server, "cat", "/etc/ssh/sftp_authorized_keys/freegee")


def test_server_without_sshd_or_directory_for_its_start(server: str, tmp_path: Path) -> None:
    program = "/usr/sbin/sshd"
    docker("exec", server, "sh", "-ec", f"rm -r /run/sshd; mv {program} /root/sshd")
    try:
        foreseen = play(server, tmp_path, "--check")
        assert not foreseen.failed, foreseen.output
        assert "Would install openssh-server" in foreseen.output
        docker("exec", server, "sh", "-ec", "mv /etc/debian_version /root/")
        refused = " ".join(play(server, tmp_path).output.split())
        assert f"has no {program}, and the role installs one with apt only" in refused
        assert "changed=0" in refused
    finally:
        docker("exec", server, "sh", "-c", f"mv /root/sshd {program}; mv /root/debian_version /etc/")
    outcome = play(server, tmp_path)
    assert not outcome.failed, outcome.output
    assert "Create sshd's privilege separation directory" in outcome.output
    docker("exec", server, "test", "-d", "/run/sshd")
    assert "changed=0" in play(server, tmp_path).output
