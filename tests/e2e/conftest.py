"""The lab that bin/demo deploys, once for all end-to-end tests."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.ansible import REPOSITORY
from tests.support.docker import docker
from tests.support.lab import Lab
from tests.support.stack import passes

OWNER = 23456


@dataclass(frozen=True)
class Demo:
    """The lab, and all that bin/demo printed when it was told to print everything."""

    lab: Lab
    output: str


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    # The default, which other tests do without.
    settings: dict[str, object] = {"mlflow_stack_workers": 2}
    if os.getuid() == 0:
        # As if another user than root ran Ansible.
        settings["lab_owner"] = OWNER
    lab = Lab("mlflow-e2e", tmp_path_factory.mktemp("e2e") / "lab", 13121, settings)
    with lab.cleared():
        done = subprocess.run(
            ["bin/demo", "-vvv", "--diff", "--extra-vars", json.dumps(lab.variables)],
            cwd=REPOSITORY,
            env={**os.environ, "ANSIBLE_NOCOLOR": "true"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-5000:]
        yield Demo(lab, done.stdout + done.stderr)
        passes(lab.play("playbooks/teardown.yml", keep_data=False))
        for kind in ("container", "network", "volume"):
            every = ("--all",) if kind == "container" else ()
            assert docker(kind, "ls", "--quiet", *every, f"--filter=name={lab.name}") == ""
        assert not lab.stack.exists()
