"""The documents speak of files and variables that exist."""

import re
from pathlib import Path

import pytest
import yaml

from mlflow_sftp.monitor.metrics import METRICS
from tests.packaging.conftest import ROOT

# docs/troubleshooting.md is compared with the table of causes where that is tested; its codes look like variables.
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("changelogs/fragments/*.yml")),
    *sorted(path for path in ROOT.glob("docs/*.md") if path.stem != "troubleshooting"),
    *sorted(ROOT.glob("roles/*/README.md")),
]
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
PLAYBOOK = re.compile(r"\bplaybooks/[a-z_]+\.yml")
VARIABLE = re.compile(
    r"`((?:sftp|mlflow_stack|artifact_storage|docker_engine|docker_swarm|base_image)_[a-z_]+)`"
)
# Products of the collection that are named like variables.
PLUGINS = {path.stem for path in (ROOT / "plugins").glob("[mf]*/*.py")}
ROLES = {path.name for path in (ROOT / "roles").iterdir()}
FILE = re.compile(r"`((?:plugins|src|tests|requirements)/[\w./]+)`")
ENTRY_POINT = re.compile(r"`tasks_from: ([a-z_]+)`")


@pytest.fixture(scope="module")
def variables() -> set[str]:
    """Every option of every role."""
    specs = [yaml.safe_load(path.read_text()) for path in ROOT.glob("roles/*/meta/argument_specs.yml")]
    return {
        name
        for spec in specs
        for entry in spec["argument_specs"].values()
        for name in entry.get("options", {})
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_links_lead_somewhere(document: Path) -> None:
    targets = LINK.findall(document.read_text())

    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_playbooks_exist(document: Path) -> None:
    named = PLAYBOOK.findall(document.read_text())

    assert [playbook for playbook in named if not (ROOT / playbook).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_files_exist(document: Path) -> None:
    named = FILE.findall(document.read_text())

    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_variables_exist(document: Path, variables: set[str]) -> None:
    named = set(VARIABLE.findall(document.read_text()))

    assert named - variables - PLUGINS - ROLES - set(METRICS) == set()


@pytest.mark.parametrize("role", sorted(ROLES))
def test_role_says_what_it_is_for(role: str) -> None:
    """Its variables stay where they are compared with the defaults."""
    text = (ROOT / "roles" / role / "README.md").read_text()
    assert text.startswith(f"# {role}\n")
    assert "(meta/argument_specs.yml)" in text
    assert f"`ansible-doc -t role freegee.mlflow_sftp.{role}`" in text
    tasks = {path.stem for path in (ROOT / "roles" / role / "tasks").glob("*.yml")}
    assert set(ENTRY_POINT.findall(text)) <= tasks
