"""The lab's variables, with nothing overridden, mean the same to every host of a play."""

import json
from pathlib import Path

from tests.support.ansible import REPOSITORY, run_playbook

PLAYBOOK = REPOSITORY / "tests/playbooks/lab_variables.yml"


def test_hosts_that_a_play_adds_find_the_lab(tmp_path: Path) -> None:
    outcome = run_playbook(
        PLAYBOOK,
        "-i",
        str(REPOSITORY / "inventories/lab"),
        "--extra-vars",
        json.dumps({"answers": str(tmp_path)}),
    )
    assert not outcome.failed, outcome.output
    directory, stack, fingerprints = json.loads((tmp_path / "added.json").read_text())
    assert directory == str(REPOSITORY / ".lab")
    assert stack == f"{directory}/stack"
    assert len(fingerprints) == 1
    for name in ("docker-host", "docker-host-asked", "added-asked"):
        assert json.loads((tmp_path / f"{name}.json").read_text()) == [directory, stack, fingerprints]
