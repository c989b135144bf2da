"""What a node of a swarm is told of how its home has tidied up."""

from typing import Any

import pytest
import yaml

from tests.support.roles import ROLES, value
from tests.support.templates import variables_of

NEEDED = {"sha256:x": "it is deployed"}


def told(**home: Any) -> tuple[str, dict[str, str]]:
    """Why nothing is to be tidied, and which images stay."""
    (task,) = [
        each
        for each in yaml.safe_load((ROLES / "mlflow_tidy/tasks/node.yml").read_text())
        if "freegee.mlflow_sftp.mlflow_tidy_node" in each
    ]
    given = {
        **variables_of(ROLES / "mlflow_tidy"),
        "groups": {"mlflow_on_swarm": ["one"]},
        "hostvars": {"one": home},
    }
    module = task["freegee.mlflow_sftp.mlflow_tidy_node"]
    refused, needed = (value(module[name], **given) for name in ("refused", "needed"))
    return refused, needed


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        ({"tidied": {"images": {"needed": NEEDED}}}, ("", NEEDED)),
        # One kind failed, or images are kept for ever, or nobody could tell which are needed.
        ({"failed": True, "msg": "no answer", "tidied": {"images": {"needed": NEEDED}}}, ("", NEEDED)),
        ({"tidied": {"downloads": {}}}, ("", {})),
        ({"tidied": {}}, ("", {})),
        # A cutover is half done, or the clock has leapt.
        ({"failed": True, "msg": "An upgrade is half done."}, ("An upgrade is half done.", {})),
        ({"unreachable": True, "msg": "No route to host"}, ("No route to host", {})),
    ],
)
def test_a_node_is_tidied_where_its_home_was(done: dict[str, Any], expected: tuple[str, Any]) -> None:
    assert told(__mlflow_tidy_done=done) == expected


def test_a_node_whose_home_said_nothing_is_left_alone() -> None:
    refused, needed = told()
    assert "refused before" in refused
    assert needed == {}
