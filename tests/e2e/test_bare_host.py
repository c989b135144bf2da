"""A host on which nothing of the site is: check mode predicts the deployment, and nothing comes into being."""

from pathlib import Path

import pytest

from tests.support.docker import docker, unused_name
from tests.support.lab import Lab
from tests.support.stack import passes

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]


def test_check_mode_before_anything_is_there(tmp_path: Path) -> None:
    lab = Lab(unused_name(), tmp_path / "lab", 13126)
    passes(lab.play("site.yml", "--check"))
    assert not lab.stack.exists()
    assert docker("container", "ls", "--all", "--quiet", f"--filter=name={lab.name}") == ""
