"""ansible-test's own checks; in tests/sanity stands what they are not to look at, and why."""

import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT

# They have linters of their own, and Ansible loads nothing of them.
NOT_ANSIBLE = ("roles/mlflow_stack/files/image",)
# ansible-test would download it from a place of its own, which is no package index.
GET_PIP = "import ensurepip\n\nensurepip.bootstrap(default_pip=True)\n"
# The virtual environments that it makes stay for the next run.
HOME = ROOT / ".ansible/home"


def provide_get_pip(environment: Path) -> None:
    (source,) = environment.glob("lib/python3*/site-packages/ansible_test/_internal/python_requirements.py")
    cache = HOME / ".ansible/test/cache"
    cache.mkdir(parents=True, exist_ok=True)
    for version in re.findall(r"\bpip='([\d.]+)'", source.read_text()):
        (cache / f"get_pip_{version.replace('.', '_')}.py").write_text(GET_PIP)


@pytest.fixture
def checkout(tarball: Path, tmp_path: Path) -> Path:
    """The collection as it is published, with what ansible-test reads of its tests."""
    directory = tmp_path / "ansible_collections/freegee/mlflow_sftp"
    with tarfile.open(tarball) as archive:
        archive.extractall(directory, filter="data")
    for name in NOT_ANSIBLE:
        shutil.rmtree(directory / name)
    shutil.copytree(ROOT / "tests/sanity", directory / "tests/sanity")
    shutil.copy2(ROOT / "tests/config.yml", directory / "tests")
    for command in (["git", "init", "--quiet"], ["git", "add", "--all"]):
        subprocess.run(command, cwd=directory, check=True)
    return directory


@pytest.mark.full  # A minute, and half of one more where there are no virtual environments yet.
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("name", "tests"),
    [
        pytest.param(".venv", ["--skip-test", "pylint"], id="newest"),
        pytest.param(".venv", ["--test", "pylint"], id="newest-pylint", marks=pytest.mark.sweep),
        pytest.param(".venv-oldest", [], id="oldest", marks=pytest.mark.sweep),
    ],
)
def test_sanity(name: str, tests: list[str], checkout: Path) -> None:
    environment = ROOT / name
    asked = [environment / "bin/python", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    python = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    provide_get_pip(environment)

    checked = subprocess.run(
        [environment / "bin/ansible-test", "sanity", "--color", "no", "--python", python, *tests],
        cwd=checkout,
        env={
            **os.environ,
            "HOME": str(HOME),
            "PATH": f"{environment}/bin:{os.environ['PATH']}",
            "LC_ALL": "C.UTF-8",
        },
        capture_output=True,
        text=True,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
