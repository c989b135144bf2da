"""What the collection and the package say twice is the same, and the package's limits are those that are tested."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
# What says since when it is there.
DATED = sorted(
    path
    for pattern in (
        "plugins/connection/*.py",
        "plugins/filter/*.yml",
        "plugins/modules/*.py",
        "plugins/test/*.yml",
        "roles/*/meta/argument_specs.yml",
    )
    for path in ROOT.glob(pattern)
)
LOCKS = sorted(ROOT.glob("requirements/*.txt"))


@pytest.fixture
def galaxy() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "galaxy.yml").read_text()))


@pytest.fixture
def project() -> dict[str, Any]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])


def test_collection_and_package_agree(galaxy: dict[str, Any], project: dict[str, Any]) -> None:
    assert project["version"] == galaxy["version"]
    assert [author["name"] for author in project["authors"]] == galaxy["authors"]
    assert project["license"] in galaxy["license"]


def test_changelog_ends_with_the_version(galaxy: dict[str, Any]) -> None:
    releases = yaml.safe_load((ROOT / "changelogs/changelog.yaml").read_text())["releases"]

    assert max(map(Version, releases)) == Version(galaxy["version"])
    assert f"\n## v{galaxy['version']}\n" in (ROOT / "CHANGELOG.md").read_text().replace("\\", "")


def test_nothing_was_added_after_the_version(galaxy: dict[str, Any]) -> None:
    said = {path: re.findall(r"\bversion_added: *(\S+)", path.read_text()) for path in DATED}

    assert len(said) > 80
    assert [path for path, versions in said.items() if not versions] == []
    later = {
        path: version
        for path, versions in said.items()
        for version in versions
        if Version(version) > Version(galaxy["version"])
    }
    assert later == {}


def test_public_repository_is_named_everywhere_or_nowhere(
    galaxy: dict[str, Any], project: dict[str, Any]
) -> None:
    named = galaxy.get("repository")
    assert (named or None) == project.get("urls", {}).get("Repository")
    skipped = yaml.safe_load((ROOT / ".ansible-lint").read_text())["skip_list"] or []
    assert ("galaxy[no-repository]" in skipped) is not bool(named)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_each_pin_has_its_hashes(lock: Path) -> None:
    pins = re.split(r"\n(?=\S)", re.sub(r"^ *#.*\n", "", lock.read_text(), flags=re.MULTILINE))

    assert [
        pin for pin in pins if not re.fullmatch(r"\S+==\S+( ; .*)?( \\\n +--hash=sha256:\w{64})+\n?", pin)
    ] == []


# What somebody asks for whose index has files of its own, and what a site adds.
UNHASHED = (
    "/dev/stdin",
    "for package in mlflow_stack_packages",
    "__mlflow_stack_image_sources.package | quote",
)


def test_what_is_installed_has_hashes_or_is_there_already() -> None:
    files = [*sorted((ROOT / "bin").iterdir()), ROOT / "roles/mlflow_stack/templates/Dockerfile.j2"]
    calls = [call for file in files for call in re.findall(r"pip\"? install .*", file.read_text())]
    asking = [call for call in calls if not any(words in call for words in UNHASHED)]

    assert len(calls) == len(asking) + len(UNHASHED)
    assert len(asking) >= 5
    assert [
        call for call in asking if not re.search("--require-hashes|--no-index|--no-build-isolation", call)
    ] == []


def test_what_the_execution_environment_downloads_has_hashes() -> None:
    """pip demands them of everything where a file has them; what is installed afterwards comes from there."""
    steps = (ROOT / "execution-environment/execution-environment.yml").read_text()
    calls = re.findall(r"pip (?:install|download) .*", steps)

    assert [re.findall(r"--requirement /opt/(\S+)", call) for call in calls] == [
        ["requirements/execution-environment.txt"],
        ["requirements/collections.txt"],
    ]
    assert "ARG PIP_NO_INDEX=1" in steps


def test_asyncssh_is_capped_after_the_tested_minor_version(project: dict[str, Any]) -> None:
    (asked,) = (each for each in map(Requirement, project["dependencies"]) if each.name == "asyncssh")
    (pinned,) = re.findall(
        r"^asyncssh==(\S+)", (ROOT / "requirements/controller.txt").read_text(), re.MULTILINE
    )
    major, minor = (int(number) for number in pinned.split(".")[:2])
    assert pinned in asked.specifier
    assert f"{major}.{minor + 1}" not in asked.specifier
