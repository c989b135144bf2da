"""What is in the fragments becomes the changelog of a release."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.packaging.conftest import ROOT


@pytest.mark.full
def test_a_release_takes_up_every_fragment(source: Path, tmp_path: Path) -> None:
    fragments = [yaml.safe_load(path.read_text()) for path in ROOT.glob("changelogs/fragments/*.yml")]
    entries = [entry for fragment in fragments for kind in fragment.values() for entry in kind]
    # Only below such a path does Ansible know it for a collection.
    checkout = tmp_path / "ansible_collections/freegee/mlflow_sftp"
    shutil.copytree(source, checkout, symlinks=True)

    released = subprocess.run(
        ["antsibull-changelog", "release", "--version", "9.0.0", "--date", "2030-01-31"],
        cwd=checkout,
        capture_output=True,
        text=True,
    )

    assert released.returncode == 0, released.stdout + released.stderr
    release = yaml.safe_load((checkout / "changelogs/changelog.yaml").read_text())["releases"]["9.0.0"]
    assert sorted(entry for kind in release["changes"].values() for entry in kind) == sorted(entries)
    assert list((checkout / "changelogs/fragments").iterdir()) == []
    assert "9.0.0" in (checkout / "CHANGELOG.md").read_text().replace("\\", "")
