"""What Galaxy does with a tarball that is published there."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT

pytestmark = [pytest.mark.sweep, pytest.mark.timeout(900)]


@pytest.fixture
def importer(tmp_path: Path) -> Path:
    """The programs of an environment that has Galaxy's importer."""
    environment = tmp_path / "environment"
    lock = ROOT / "requirements/release.txt"
    python = environment / "bin/python"
    install = ["install", "--quiet", "--no-deps", "--require-hashes", "--requirement", lock]
    for command in ([sys.executable, "-m", "venv", environment], [python, "-m", "pip", *install]):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    # ansible-lint, which it runs, knows the modules of the collections that this one depends on.
    (found,) = environment.glob("lib/python3*/site-packages")
    (found / "ansible_collections").symlink_to(Path(sysconfig.get_path("purelib")) / "ansible_collections")
    return environment / "bin"


@pytest.fixture
def tarball(source: Path, tmp_path: Path) -> Path:
    """The collection with a public repository, which Galaxy requires and there is none of yet."""
    clone = tmp_path / "clone"
    shutil.copytree(source, clone, symlinks=True)
    with (clone / "galaxy.yml").open("a") as file:
        file.write("repository: https://example.org/freegee/mlflow_sftp\n")
    subprocess.run([clone / "bin/build", "--no-setup"], check=True, capture_output=True)
    (found,) = (clone / "dist").glob("freegee-*.tar.gz")
    return found


def test_galaxy_imports_it(importer: Path, tarball: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [importer / "python", "-m", "galaxy_importer.main", tarball],
        cwd=tmp_path,
        env={"PATH": f"{importer}:/usr/bin:/bin", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )

    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Importer processing completed successfully" in said
    assert [line for line in said.splitlines() if line.startswith(("ERROR", "WARNING"))] == []
