"""An upgrade to the next major version of PostgreSQL, as it comes with the next release of Debian, and back."""

from collections.abc import Iterator

import pytest

from tests.support.lab import Lab
from tests.support.stack import Stack, fails, fill, passes

pytestmark = [pytest.mark.lab, pytest.mark.sweep, pytest.mark.timeout(2700)]

UPGRADE = "playbooks/upgrade.yml"
NEXT = {"base_image_suite": "trixie"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {
        "mlflow_stack_backend_store": "postgresql",
        "artifact_storage": "local",
        "base_image_suite": "bookworm",
    }
    lab = Lab("mlflow-nextpg", tmp_path_factory.mktemp("nextpg") / "lab", 13641, settings)
    with lab.cleared():
        passes(lab.play("site.yml", "--skip-tags", "verify"))
        yield fill(lab, 20, 1)


def version(stack: Stack) -> str:
    return stack.lab.compose("exec", "-T", "postgres", "psql", "-tAc", "SHOW server_version").partition(".")[
        0
    ]


def test_site_notices_and_names_the_upgrade(stack: Stack) -> None:
    containers = stack.lab.containers()
    output = fails(stack.lab.play("site.yml", "--skip-tags", "verify", **NEXT))
    assert "The stack's PostgreSQL is 15, and the next image has 17" in output
    assert "Run playbooks/upgrade.yml" in output
    assert stack.lab.containers() == containers


def test_the_next_version_and_back(stack: Stack) -> None:
    output = passes(stack.lab.play(UPGRADE, **NEXT))
    assert "PostgreSQL 15 becomes 17" in output
    assert version(stack) == "17"
    assert stack.read() == stack.content
    passes(stack.lab.play("site.yml", "--skip-tags", "verify", **NEXT))
    assert version(stack) == "17"
    passes(stack.lab.play(UPGRADE, undo=True, **NEXT))
    assert version(stack) == "15"
    assert stack.read() == stack.content


@pytest.mark.parametrize("step", ["Replace PostgreSQL", "Restore PostgreSQL's cluster"])
def test_killed(stack: Stack, step: str) -> None:
    if step.startswith("Restore"):
        passes(stack.lab.play(UPGRADE, **NEXT))
        stack.lab.play_until(step, UPGRADE, after=0.3, undo=True, **NEXT)
    else:
        stack.lab.play_until(step, UPGRADE, after=2, **NEXT)
    passes(stack.lab.play(UPGRADE, resume="undo", **NEXT))
    assert version(stack) == "15"
    assert stack.read() == stack.content
