"""The wheel beside the oldest and the newest packages that it says it works with, on every Python that is here."""

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.packaging.conftest import ROOT
from tests.support.sshd import SshServer
from tests.support.storing import pattern

pytestmark = [pytest.mark.sweep, pytest.mark.sshd, pytest.mark.timeout(900)]

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NEEDED = {each.name: each for each in map(Requirement, PROJECT["dependencies"])}
SUPPORTED = [
    minor
    for each in PROJECT["classifiers"]
    if (minor := each.removeprefix("Programming Language :: Python :: ")).startswith("3.")
]
# With names as a run has them, and bytes enough for several blocks in flight on several channels.
ROUND_TRIP = """
import importlib.metadata, json, sys
from pathlib import Path
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
uri, source, *names = sys.argv[1:]
repository = get_artifact_repository(uri)
repository.log_artifacts(source, "a dir")
listed = sorted(info.path for info in repository.list_artifacts("a dir"))
target = Path(repository.download_artifacts("a dir"))
whole = all((target / path.name).read_bytes() == path.read_bytes() for path in Path(source).iterdir())
repository.delete_artifacts("a dir/small.txt")
print(json.dumps({
    "class": f"{type(repository).__module__}:{type(repository).__name__}",
    "listed": listed,
    "whole": whole,
    "left": [info.path for info in repository.list_artifacts("a dir")],
    "versions": {name: importlib.metadata.version(name) for name in names},
}))
"""


def lowest(requirement: Requirement) -> str:
    (version,) = (each.version for each in requirement.specifier if each.operator == ">=")
    return version


def python(minor: str) -> str:
    """Return an interpreter of a minor version, as bin/setup finds it, or skip."""
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    ask = "import sys; print(sys.executable, '%d.%d' % sys.version_info[:2])"
    for candidate in (f"python{minor}", *map(str, sorted(versions.glob(f"{minor}.*/bin/python")))):
        try:
            said = subprocess.run([candidate, "-c", ask], capture_output=True, text=True, check=False).stdout
        except FileNotFoundError:
            continue
        if said.split()[1:] == [minor]:
            return said.split()[0]
    pytest.skip(f"there is no Python {minor} here")


@pytest.mark.parametrize("end", ["oldest", "newest"])
@pytest.mark.parametrize("minor", SUPPORTED)
def test_a_round_trip_at_both_ends(
    minor: str, end: str, wheel: Path, sshd: SshServer, tmp_path: Path
) -> None:
    environment = tmp_path / "environment"
    wanted = [f"{name}=={lowest(each)}" for name, each in NEEDED.items()] if end == "oldest" else []
    for command in (
        [python(minor), "-m", "venv", environment],
        [environment / "bin/python", "-m", "pip", "install", "--quiet", "--no-compile", wheel, *wanted],
    ):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    source = tmp_path / "source"
    source.mkdir()
    (source / "small.txt").write_text("small")
    (source / "grüße 100%.bin").write_bytes(pattern(40 << 20))

    told = subprocess.run(
        [environment / "bin/python", "-c", ROUND_TRIP, sshd.uri(), str(source), *NEEDED],
        env={**os.environ, "MLFLOW_SFTP_SSH_CONFIG": str(sshd.ssh_config)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert told.returncode == 0, told.stdout + told.stderr
    found = json.loads(told.stdout.splitlines()[-1])
    versions = {name: Version(version) for name, version in found.pop("versions").items()}
    assert found == {
        "class": "mlflow_sftp.mlflow_plugin.artifact_repository:SftpArtifactRepository",
        "listed": ["a dir/grüße 100%.bin", "a dir/small.txt"],
        "whole": True,
        "left": ["a dir/grüße 100%.bin"],
    }
    if end == "oldest":
        assert versions == {name: Version(lowest(each)) for name, each in NEEDED.items()}
    else:
        assert all(versions[name] >= Version(pinned) for name, pinned in locked().items())


def locked() -> dict[str, str]:
    """Return what the lock has of the package's requirements, which is as new as anything else that is tested."""
    lock = (ROOT / "requirements/controller.txt").read_text()
    return {
        name: version for name, version in re.findall(r"^(\S+)==(\S+)", lock, re.MULTILINE) if name in NEEDED
    }
