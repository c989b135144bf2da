"""Hosts on which Docker is there already, in one way or another: refused by name, and nothing is written."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ansible import REPOSITORY, Outcome, run_playbook
from tests.support.docker import base_image, docker, unused_name

pytestmark = [pytest.mark.docker, pytest.mark.full]

PLAYBOOK = REPOSITORY / "tests/playbooks/engine_found.yml"
# A package of that name, with a client whose engine does not answer.
PACKAGE = """
mkdir -p /tmp/p/DEBIAN /tmp/p/usr/bin
printf 'Package: docker-ce\\nVersion: 5:28.5.1\\nArchitecture: all\\n' >/tmp/p/DEBIAN/control
printf 'Maintainer: x <x@example.org>\\nDescription: x\\n' >>/tmp/p/DEBIAN/control
printf '#!/bin/sh\\necho Cannot connect to the Docker daemon. >&2\\nexit 1\\n' >/tmp/p/usr/bin/docker
cp /tmp/p/usr/bin/docker /tmp/p/usr/bin/dockerd
chmod +x /tmp/p/usr/bin/*
dpkg-deb --build /tmp/p /tmp/p.deb >/dev/null
dpkg --install /tmp/p.deb >/dev/null
"""
PODMAN = (
    "printf '#!/bin/sh\\nexit 1\\n' >/usr/bin/podman; chmod +x /usr/bin/podman; ln -sf podman /usr/bin/docker"
)
NO_JSON = """mkdir -p /etc/docker; printf '{\\n  "mtu": 1400,\\n  oops\\n}\\n' >/etc/docker/daemon.json"""
CLEAN = "dpkg --purge docker-ce 2>/dev/null; rm -rf /etc/docker /usr/bin/docker /usr/bin/podman"
# Packages, and every file that could be of interest.
FINGERPRINT = """
dpkg-query --show
find /etc /usr/bin /usr/sbin /var/lib/apt/lists /var/log -type f -exec sha256sum {} + | sort
"""


@pytest.fixture(scope="module")
def container() -> Iterator[str]:
    name = unused_name()
    docker("run", "--detach", "--init", "--network=none", f"--name={name}", base_image(), "sleep", "infinity")
    try:
        yield name
    finally:
        docker("rm", "--force", name)


def play(container: str, directory: Path, playbook: Path = PLAYBOOK, **variables: object) -> Outcome:
    host = {
        "ansible_connection": "community.docker.docker",
        "ansible_host": container,
        "ansible_user": "root",
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    inventory = directory / "hosts.json"
    inventory.write_text(json.dumps({"docker_hosts": {"hosts": {"found": host}}}))
    return run_playbook(playbook, "-i", str(inventory), "--extra-vars", json.dumps(variables))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (
            PACKAGE,
            ["docker-ce is installed and does not answer", "Start it", "nothing is installed beside it"],
        ),
        (PODMAN, ["What is called docker on this host is Podman", "/usr/bin/podman"]),
        (NO_JSON, ["/etc/docker/daemon.json, line 3, column 3", "Correct /etc/docker/daemon.json"]),
        (PACKAGE + NO_JSON, ["/etc/docker/daemon.json, line 3, column 3"]),
    ],
    ids=["docker-ce stopped", "podman-docker", "daemon.json", "docker-ce broken by daemon.json"],
)
def test_nothing_is_installed_over_what_is_there(
    container: str, tmp_path: Path, script: str, words: list[str]
) -> None:
    docker("exec", container, "sh", "-c", CLEAN)
    docker("exec", container, "sh", "-ec", script)
    before = docker("exec", container, "sh", "-ec", FINGERPRINT)
    outcome = play(container, tmp_path)
    output = " ".join(outcome.output.split())
    assert outcome.failed
    assert "changed=0" in output
    for word in [*words, "Nothing has been changed"]:
        assert word in output
    assert docker("exec", container, "sh", "-ec", FINGERPRINT) == before


def test_what_an_earlier_release_left_in_apt_is_removed_and_nothing_else(
    container: str, tmp_path: Path
) -> None:
    sources, pin = (
        "/etc/apt/sources.list.d/docker-engine-trixie.sources",
        "/etc/apt/preferences.d/docker-engine-trixie",
    )
    script = f"echo '# Ansible managed' >{sources}; echo '# somebody' >{pin}"
    docker("exec", container, "sh", "-ec", script)
    outcome = play(container, tmp_path, part="remove")
    assert not outcome.failed, outcome.output
    assert docker("exec", container, "sh", "-c", f"ls {sources} {pin} 2>/dev/null; true") == pin
    assert "changed=0" in play(container, tmp_path, part="remove").output


def test_a_stack_whose_engine_is_stopped(container: str, tmp_path: Path) -> None:
    """It is there, whatever cannot be asked; see also test_nothing_is_installed_over_what_is_there."""
    stack = "mkdir -p /opt/mlflow-stack/.secrets; echo '# freegee.mlflow_sftp' >/opt/mlflow-stack/compose.yml"
    docker("exec", container, "sh", "-c", CLEAN)
    docker("exec", container, "sh", "-ec", PACKAGE + stack)
    before = docker("exec", container, "sh", "-ec", FINGERPRINT)
    account = {"sftp_host": "nowhere.example", "sftp_port": 22, "sftp_user": "nobody", "sftp_path": "/a"}
    variables = {**account, "mlflow_stack_dir": "/opt/mlflow-stack", "mlflow_stack_project": unused_name()}
    for name in ("verify", "audit", "storage_switch", "teardown"):
        outcome = play(container, tmp_path, REPOSITORY / f"playbooks/{name}.yml", **variables)
        output = " ".join(outcome.output.split())
        assert outcome.failed, output
        assert "found: Docker is installed, but does not answer" in output, output
        assert "changed=0" in output
    assert docker("exec", container, "sh", "-ec", FINGERPRINT) == before
