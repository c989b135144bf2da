"""The wheel of mlflow-sftp: what is in it, and that MLflow finds the store once it is installed."""

import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
RESOLVE = """
import mlflow_sftp
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
repository = type(get_artifact_repository("sftp://user@host.example:2121/path"))
print(mlflow_sftp.__file__)
print(f"{repository.__module__}:{repository.__name__}")
"""


def test_holds_the_package_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()

    assert {name.split("/")[0].partition("-")[0] for name in names} == {"mlflow_sftp"}
    assert "mlflow_sftp/py.typed" in names
    assert any(name.endswith("/LICENSES/Apache-2.0.txt") for name in names)


def test_source_holds_what_the_wheel_is_made_of(sdist: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        package = {name for name in archive.namelist() if name.startswith("mlflow_sftp/")}
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive}

    assert {f"src/{name}" for name in package} <= names
    assert {"pyproject.toml", "LICENSES/Apache-2.0.txt"} <= names
    assert [name for name in names if name.startswith(("tests", "roles", "plugins", "."))] == []


@pytest.mark.full
def test_an_index_would_show_them(sdist: Path, wheel: Path) -> None:
    """The description is there and can be rendered."""
    checked = subprocess.run(
        ["twine", "check", "--strict", sdist, wheel], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with the wheel; its dependencies come from the environment of the tests."""
    directory = tmp_path_factory.mktemp("environment")
    python = directory / "bin/python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            wheel,
        ],
        check=True,
    )
    (_packages(directory) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return directory


def _packages(environment: Path) -> Path:
    return Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))


def test_mlflow_resolves_sftp_to_it(environment: Path, tmp_path: Path) -> None:
    shown = subprocess.run(
        [environment / "bin/python", "-c", RESOLVE], capture_output=True, text=True, cwd=tmp_path
    )

    assert shown.returncode == 0, shown.stderr
    file, repository = shown.stdout.split()
    assert Path(file).is_relative_to(_packages(environment))
    assert repository == "mlflow_sftp.mlflow_plugin.artifact_repository:SftpArtifactRepository"


def test_brings_its_command(environment: Path, tmp_path: Path) -> None:
    shown = subprocess.run(
        [environment / "bin/mlflow-sftp", "--help"], capture_output=True, text=True, cwd=tmp_path
    )

    assert shown.returncode == 0, shown.stderr
    assert "check" in shown.stdout


@pytest.fixture(scope="module")
def bare_environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with the wheel and what it asks for, and nothing of the controller's."""
    directory = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
    command = [sys.executable, "-m", "pip", "--python", directory / "bin/python", "install", "--quiet"]
    subprocess.run([*command, "--no-compile", wheel], check=True)
    return directory


@pytest.mark.full  # Two minutes of pip.
def test_the_program_works_with_what_the_wheel_asks_for(bare_environment: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        program = bare_environment / "bin/mlflow-sftp"
        return subprocess.run([program, *arguments], capture_output=True, text=True, cwd=tmp_path)

    shown = run("--help")
    assert shown.returncode == 0, shown.stderr
    assert {"audit", "check", "copy", "relocate"} <= set(shown.stdout.split())
    assert VERSION in run("--version").stdout
    (tmp_path / "source").write_text("text")
    copied = run("copy", "source", "target")
    assert copied.returncode == 0, copied.stderr
    assert (tmp_path / "target").read_text() == "text"
    refused = run("audit", "--help")
    assert refused.returncode == 1
    assert "audit needs the Python package sqlalchemy: pip install 'mlflow-sftp[database]'" in refused.stderr
    listed = run("ls", "sftp://127.0.0.1:1/x", "--json")
    assert '"cause": "' in listed.stdout
