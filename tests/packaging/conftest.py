"""The products as users get them, made by bin/build: the collection's tarball, the source distribution, the wheel."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECRETS = {
    "inventories/tajo/group_vars/all/vault.yml": "$ANSIBLE_VAULT;1.1;AES256\n00\n",
    ".lab/stack/.env": "JUPYTER_TOKEN=token\n",
    ".lab/stack/.secrets/mlflow_sftp_key/id_ed25519": "key\n",
}


@pytest.fixture(scope="session")
def source_files() -> list[str]:
    """Paths that belong to the source: tracked, or new and not ignored by git."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return sorted(name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file())


@pytest.fixture(scope="session")
def source(source_files: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source, with the secrets that an operator's clone may hold."""
    directory = tmp_path_factory.mktemp("source")
    for name in source_files:
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    for name, text in SECRETS.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return directory


@pytest.fixture(scope="session")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with all products, built from such a clone."""
    directory = tmp_path_factory.mktemp("built")
    made = subprocess.run(
        [source / "bin/build", "--no-setup", directory], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stdout + made.stderr
    files = sorted(str(path) for path in directory.iterdir())
    assert [line for line in made.stdout.splitlines() if line.startswith("/")] == files
    return directory


@pytest.fixture(scope="session")
def tarball(built: Path) -> Path:
    """The collection."""
    return _only(built, "freegee-mlflow_sftp-*.tar.gz")


@pytest.fixture(scope="session")
def sdist(built: Path) -> Path:
    """The package's source distribution."""
    return _only(built, "mlflow_sftp-*.tar.gz")


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    """The package's wheel."""
    return _only(built, "mlflow_sftp-*.whl")


def run_in_site(directory: Path, *command: str) -> str:
    """Run a command of Ansible's where the collection is installed below a directory, and return what it prints."""
    own = {
        "ANSIBLE_COLLECTIONS_PATH": str(directory / "collections"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "0",
    }
    ended = subprocess.run(
        command, cwd=directory, env={**os.environ, **own}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def _only(directory: Path, pattern: str) -> Path:
    (found,) = directory.glob(pattern)
    return found
