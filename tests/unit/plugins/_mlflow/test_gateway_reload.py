"""When a gateway is left alone instead of being reloaded."""

from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.modules import mlflow_gateway_reload as gateway_reload


class FailedError(Exception):
    """What the module failed with."""


class Module:
    """Stands in for AnsibleModule, on a host where Docker says that the container is in a state."""

    check_mode = False

    def __init__(self, state: str) -> None:
        self.state = state
        self.params = {"container": "mlflow-gateway-1", "revision": "new", "port": 8404, "timeout": 1}

    def run_command(self, command: list[str], **_: Any) -> tuple[int, str, str]:
        if command[:3] == ["docker", "container", "ls"]:
            return 0, f"{self.state}\n" if self.state else "", ""
        return 1, "", "no answer"

    def fail_json(self, message: str) -> None:
        raise FailedError(message)


@pytest.mark.parametrize("state", ["", "created", "exited", "restarting"])
def test_a_gateway_that_does_not_run_reads_the_files_when_it_starts(state: str) -> None:
    assert gateway_reload.run(Module(state)) == {"changed": False, "served": "", "seconds": 0.0, "diff": {}}


@pytest.mark.parametrize("state", ["running", "paused"])
def test_a_gateway_that_holds_older_files_and_does_not_answer_is_an_error(state: str) -> None:
    with pytest.raises(FailedError, match="mlflow-gateway-1 does not tell which revision"):
        gateway_reload.run(Module(state))
