"""What is in the fragments becomes the changelog of a release."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ADDED = "``site.yml`` - what a test has changed."


def entries_of(changes: list[dict[str, list[str] | str]]) -> list[str]:
    """All entries of fragments or of a release, of which the summary alone is no list."""
    kinds = [kind for change in changes for kind in change.values()]
    return sorted(entry for kind in kinds for entry in ([kind] if isinstance(kind, str) else kind))


@pytest.mark.full
def test_a_release_takes_up_every_fragment(source: Path, tmp_path: Path) -> None:
    # Only below such a path does Ansible know it for a collection.
    checkout = tmp_path / "ansible_collections/freegee/mlflow_sftp"
    shutil.copytree(source, checkout, symlinks=True)
    # After a release there may be none.
    fragments = checkout / "changelogs/fragments"
    (fragments / "of_a_test.yml").write_text(yaml.safe_dump({"minor_changes": [ADDED]}))
    changes = [yaml.safe_load(path.read_text()) for path in fragments.glob("*.yml")]

    released = subprocess.run(
        ["antsibull-changelog", "release", "--version", "9.0.0", "--date", "2030-01-31"],
        cwd=checkout,
        capture_output=True,
        text=True,
    )

    assert released.returncode == 0, released.stdout + released.stderr
    release = yaml.safe_load((checkout / "changelogs/changelog.yaml").read_text())["releases"]["9.0.0"]
    assert entries_of([release["changes"]]) == entries_of(changes)
    assert list(fragments.glob("*.yml")) == []
    changelog = (checkout / "CHANGELOG.md").read_text().replace("\\", "")
    assert "9.0.0" in changelog
    assert "what a test has changed" in changelog
