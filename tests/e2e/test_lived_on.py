"""A host on which others live: what is not ours is refused by name, and not a byte of it changes."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.docker import base_image, docker, unused_name
from tests.support.lab import Lab
from tests.support.stack import fails, passes

pytestmark = pytest.mark.full

# The most likely names: what MLflow's own examples and half of all tutorials have.
SOMEBODY_S = """
name: {project}
services:
  mlflow:
    image: {image}
    command: [sleep, infinity]
    init: true
    ports: ["127.0.0.1:{port}:5000"]
    volumes: ["artifacts:/artifacts", "database:/database"]
  db:
    image: {image}
    command: [sleep, infinity]
    init: true
    volumes: ["database:/database"]
volumes:
  artifacts:
  database:
networks:
  default:
    name: {project}
"""
# What the release before the label wrote, with a command in place of MLflow.
BEFORE = """# Ansible managed
name: {project}
services:
  mlflow:
    image: freegee/mlflow-server:{project}
    pull_policy: never
    command: [sleep, infinity]
    init: true
    ports: ["127.0.0.1:{port}:5000"]
    volumes: ["artifacts:/artifacts", "database:/database"]
volumes:
  artifacts:
  database:
  notebooks:
networks:
  default:
    name: {project}
"""


@dataclass(frozen=True)
class Host:
    """What somebody runs on this machine, and a lab whose names are the same."""

    lab: Lab
    directory: Path

    def start(self, text: str) -> None:
        """Start a Compose project of the lab's name from the directory, with something in its volumes."""
        self.directory.mkdir(parents=True, exist_ok=True)
        project, port = self.lab.name, self.lab.port + 1
        file = self.directory / "compose.yml"
        file.write_text(text.format(project=project, image=base_image(), port=port))
        docker("compose", "--project-directory", str(self.directory), "up", "--detach", "--quiet-pull")
        script = "echo runs >/database/mlflow.db; mkdir /artifacts/1; head -c 9999 /dev/urandom >/artifacts/1/model"
        docker("exec", f"{project}-mlflow-1", "sh", "-ec", script)

    def fingerprint(self) -> dict[str, str]:
        """Every container, volume, network and file of the project, with what is in it."""
        name = self.lab.name
        found = {}
        for kind in ("container", "volume", "network"):
            every = ("--all",) if kind == "container" else ()
            for each in docker(kind, "ls", "--quiet", *every, "--filter", f"name={name}").split():
                found[f"{kind} {each}"] = self._inspect(kind, each)
        for volume in docker("volume", "ls", "--quiet", "--filter", f"name={name}").split():
            found[f"content {volume}"] = self._content(volume)
        for path in self.directory.rglob("*"):
            if path.is_file():
                status = path.stat()
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                found[str(path)] = f"{status.st_mode} {status.st_uid} {status.st_mtime_ns} {digest}"
        return found

    @staticmethod
    def _inspect(kind: str, name: str) -> str:
        (shown,) = json.loads(docker(kind, "inspect", name))
        # The engine shows them in any order.
        mounts = sorted(shown.get("Mounts", []), key=str)
        return json.dumps(shown | {"Mounts": mounts}, sort_keys=True)

    @staticmethod
    def _content(volume: str) -> str:
        """A checksum of names, owners, modes, times and bytes."""
        archive = "tar --create --sort=name --numeric-owner --directory=/v . | sha256sum"
        mount = f"--volume={volume}:/v:ro"
        return docker("run", "--rm", "--network=none", mount, base_image(), "sh", "-ec", archive)

    def clear(self) -> None:
        """Remove what a test started, also where a playbook did what it must not."""
        name = self.lab.name
        removals = {"container": ("rm", "--force"), "network": ("rm",), "volume": ("rm",)}
        for kind, words in removals.items():
            every = ("--all",) if kind == "container" else ()
            for each in docker(kind, "ls", "--quiet", *every, "--filter", f"name={name}").split():
                docker(kind, *words, each)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    name = unused_name()
    # The stack's network is one of its own, as without a lab.
    lab = Lab(name, tmp_path / "lab", 13421, {"lab_network": f"{name}-lab", "mlflow_stack_network": ""})
    host = Host(lab, tmp_path / "home")
    try:
        yield host
    finally:
        host.clear()


def test_site_refuses_what_somebody_runs(host: Host) -> None:
    host.start(SOMEBODY_S)
    before = host.fingerprint()
    assert len(before) == 2 + 2 + 1 + 2 + 1
    output = fails(host.lab.play("site.yml"))
    assert "changed=0" in output
    assert host.fingerprint() == before
    project = host.lab.name
    for word in (
        f"{project}-db-1",
        f"{project}_database",
        f"volume {project}_artifacts",
        f"network {project} ",
    ):
        assert word in output
    assert f"Compose project {project} in {host.directory} by {host.directory}/compose.yml" in output
    assert "Choose other names with mlflow_stack_project" in output
    assert not host.lab.directory.exists()


def test_teardown_leaves_what_somebody_runs(host: Host) -> None:
    host.start(SOMEBODY_S)
    docker("volume", "create", f"{host.lab.name}-sftp")
    docker("network", "create", f"{host.lab.name}-own")
    before = host.fingerprint()
    variables = {
        "keep_data": False,
        "lab_network": f"{host.lab.name}-own",
        "lab_sftp_volume": f"{host.lab.name}-sftp",
    }
    output = passes(host.lab.play("playbooks/teardown.yml", **variables))
    assert "changed=0" in output
    assert host.fingerprint() == before
    assert output.count("Removed: nothing.") == 2
    assert f"volume {host.lab.name}_database (Compose project {host.lab.name} in {host.directory}" in output
    assert f"volume {host.lab.name}-sftp (not made by Compose)" in output


def test_a_directory_that_somebody_uses(host: Host) -> None:
    host.directory.mkdir()
    (host.directory / "compose.yml").write_text("name: other\nservices: {}\n")
    before = host.fingerprint()
    stack = {"mlflow_stack_dir": str(host.directory), "keep_data": False}
    output = fails(host.lab.play("playbooks/preflight.yml", **stack))
    assert f"The directory {host.directory} belongs to something else" in output
    assert "its compose.yml was not written by this collection" in output
    assert "mlflow_stack_dir" in output
    assert "changed=0" in passes(host.lab.play("playbooks/teardown.yml", **stack))
    assert host.fingerprint() == before


def orphan_stays(host: Host) -> None:
    """Compose removes orphans of its project, so the start itself refuses, also where the preflight is left out."""
    project = host.lab.name
    compose = {"project": project, "project.working_dir": "/home/alice", "service": "db", "oneoff": "False"}
    labels = [f"--label=com.docker.compose.{key}={text}" for key, text in compose.items()]
    docker("run", "--detach", f"--name={project}-db-1", *labels, base_image(), "sleep", "infinity")
    before = host.fingerprint()
    output = fails(host.lab.play("site.yml", "--tags", "service"))
    assert f"container {project}-db-1 (Compose project {project} in /home/alice)" in output
    assert host.fingerprint() == before
    docker("rm", "--force", f"{project}-db-1")


def test_what_the_release_before_made_is_taken_over(host: Host) -> None:
    """Its names pass the preflight, ports included, and teardown removes all of them and nothing else."""
    project = host.lab.name
    image = f"freegee/mlflow-server:{project}"
    host = Host(host.lab, host.lab.stack)
    docker("tag", base_image(), image)
    try:
        host.start(BEFORE)
        docker("run", "--detach", f"--name={project}-storage", image, "sleep", "infinity")
        docker("volume", "create", f"{project}_postgres")
        before = host.fingerprint()
        passes(host.lab.play("playbooks/preflight.yml"))
        assert host.fingerprint() == before
        orphan_stays(host)
        listed = passes(host.lab.play("playbooks/teardown.yml", "--check", keep_data=False))
        assert host.fingerprint() == before
        removed = (
            ("container", f"{project}-mlflow-1"),
            ("container", f"{project}-storage"),
            ("network", project),
        )
        removed += tuple(("volume", f"{project}_{key}") for key in ("artifacts", "database"))
        for kind, name in removed:
            assert f"{kind} {name}" in listed.partition("Would be removed: ")[2].partition("Left,")[0]
        assert f"volume {project}_postgres (not made by Compose)" in listed.partition("Left,")[2]
        passes(host.lab.play("playbooks/teardown.yml", keep_data=False))
        left = docker("volume", "ls", "--quiet", "--filter", f"name={project}").split()
        assert left == [f"{project}_postgres"]
        assert not host.directory.exists()
    finally:
        host.clear()
        docker("image", "rm", image)
