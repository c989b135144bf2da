"""An execution environment, built as documented, is a controller: it predicts a deployment, and changes nothing."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.utils import canonicalize_name

from tests.packaging.conftest import ROOT
from tests.support.docker import docker
from tests.support.docker_host import DockerHost, docker_host
from tests.support.lab import Lab

pytestmark = [
    pytest.mark.sweep,
    pytest.mark.lab,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(os.getuid() != 0, reason="sshd with other accounts needs root"),
]

IMAGE = "freegee/execution-environment:of-a-test"
DOCUMENTED = "freegee/execution-environment:VERSION"
GALAXY = yaml.safe_load((ROOT / "galaxy.yml").read_text())
VERSION = GALAXY["version"]


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    built = subprocess.run(
        [ROOT / "bin/execution-environment", "-e", f"execution_environment_image={IMAGE}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    yield IMAGE
    docker("image", "rm", IMAGE)


@pytest.fixture(scope="module")
def remote() -> Iterator[DockerHost]:
    with docker_host() as host:
        yield host


def inside(image: str, *command: str) -> str:
    """What a command prints in a container of the image, as somebody whom it does not know."""
    return docker("run", "--rm", "--network=none", "--user=4711:0", image, *command)


def test_holds_the_collections(image: str) -> None:
    listed = json.loads(inside(image, "ansible-galaxy", "collection", "list", "--format=json"))
    versions = {name: found["version"] for place in listed.values() for name, found in place.items()}

    # The last is what community.docker asks for.
    assert versions.keys() == {
        "freegee.mlflow_sftp",
        *GALAXY["dependencies"],
        "community.library_inventory_filtering_v1",
    }
    assert versions["freegee.mlflow_sftp"] == VERSION


def test_holds_what_is_pinned(image: str) -> None:
    lock = (ROOT / "requirements/execution-environment.txt").read_text()
    pins = set(re.findall(r"^(\S+)==(\S+)", lock, re.MULTILINE))
    listed = json.loads(inside(image, "pip", "list", "--format=json"))
    installed = {canonicalize_name(package["name"]): package["version"] for package in listed}
    # venv itself brings pip.
    del installed["pip"]

    assert installed.items() <= pins
    assert installed.keys() >= {"ansible-core", "ansible-runner", "cryptography", "docker", "paramiko"}
    assert "No broken requirements" in inside(image, "pip", "check")


def test_knows_nothing_of_the_machine_that_built_it(image: str) -> None:
    """Where pip was to look for packages, and what it has fetched, is in no variable, file or line of the history."""
    configuration = json.loads(docker("image", "inspect", image))[0]["Config"]
    places = "/etc/pip.conf /run/secrets /opt/wheels /opt/requirements"
    files = inside(image, "sh", "-c", f"find {places} -type f 2>/dev/null; true")

    assert [each for each in configuration["Env"] if each.startswith("PIP_") and "BREAK" not in each] == []
    assert files == ""
    assert "index-url" not in docker("history", "--no-trunc", image)


def documented(program: str) -> str:
    """The documented command in which `program` stands."""
    page = (ROOT / "docs/execution-environment.md").read_text()
    (found,) = (
        block
        for block in re.findall(r"^```bash\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
        if program in block
    )
    assert DOCUMENTED in found
    return str(found)


@contextmanager
def agent(key: Path) -> Iterator[str]:
    """The socket of an agent that holds a key."""
    started = subprocess.run(["ssh-agent", "-s"], check=True, capture_output=True, text=True).stdout
    socket, process = re.findall(r"SSH_AUTH_SOCK=(\S+?);|SSH_AGENT_PID=(\d+);", started)
    environment = {**os.environ, "SSH_AUTH_SOCK": socket[0], "SSH_AGENT_PID": process[1]}
    try:
        subprocess.run(["ssh-add", "-q", key], check=True, env=environment)
        yield socket[0]
    finally:
        subprocess.run(["ssh-agent", "-k"], check=True, env=environment, capture_output=True)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab("mlflow-execution", tmp_path / "lab", 15131)


@pytest.fixture
def site(lab: Lab, remote: DockerHost, tmp_path: Path) -> Path:
    """A directory with the lab's inventory, in which the Docker host is another machine."""
    directory = tmp_path / "site"
    shutil.copytree(ROOT / "inventories/lab/group_vars", directory / "group_vars")
    inventory: dict[str, Any] = yaml.safe_load((ROOT / "inventories/lab/hosts.yml").read_text())
    # The agent has the key, and the file of known hosts is where the documentation puts it.
    left_out = {"ansible_ssh_private_key_file", "ansible_ssh_common_args"}
    there = {name: value for name, value in remote.variables.items() if name not in left_out}
    inventory["all"]["children"]["docker_hosts"]["hosts"]["docker-host"] = there
    (directory / "inventory.yml").write_text(yaml.safe_dump(inventory))
    for group in ("docker_hosts", "sftp_hosts"):
        (directory / f"group_vars/{group}.yml").write_text(yaml.safe_dump(lab.variables))
    return directory


def test_predicts_a_deployment(image: str, site: Path, remote: DockerHost, lab: Lab, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    shutil.copy(remote.known_hosts, home / ".ssh/known_hosts")
    with agent(remote.client_key) as socket:
        played = subprocess.run(
            ["bash", "-ec", documented("docker run").replace(DOCUMENTED, image)],
            cwd=site,
            env={**os.environ, "HOME": str(home), "SSH_AUTH_SOCK": socket},
            capture_output=True,
            text=True,
            check=False,
        )

    said = played.stdout + played.stderr
    assert played.returncode == 0, said
    recap = dict(re.findall(r"^(\S+) +: (ok=.*)$", said, re.MULTILINE))
    counts = {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", recap["docker-host"])}
    assert (counts["failed"], counts["unreachable"]) == (0, 0), said
    assert counts["changed"] > 10, said
    # The images are to be built from the wheel in the image's own collection.
    assert f'"mlflow_sftp-{VERSION}-py3-none-any.whl"' in said
    assert f"+name: {lab.name}\n" in said
    assert f"Would start mlflow, notebook, experiment-service, train in {lab.stack}" in said
    assert not lab.directory.exists()
    assert docker("container", "ls", "--all", "--quiet", f"--filter=name={lab.name}") == ""
