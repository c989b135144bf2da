"""The products as users get them: the collection's tarball, the wheel."""

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


def build_collection(source: Path, target: Path) -> Path:
    """Build the collection in `source`; returns the tarball in `target`."""
    subprocess.run(
        ["ansible-galaxy", "collection", "build", str(source), "--output-path", str(target)],
        check=True,
        capture_output=True,
    )
    (tarball,) = target.glob("freegee-mlflow_sftp-*.tar.gz")
    return tarball


@pytest.fixture(scope="session")
def tarball(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection, built from such a clone."""
    return build_collection(source, tmp_path_factory.mktemp("tarball"))
