"""Two services that are on need two ports; those that are off need none."""

from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.filter.input_findings import _specs
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.ports import port_problems
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.values import value_problems

from tests.unit.plugins._inputs.test_values import GATEWAY, GOOD

MONITOR = {"mlflow_stack_monitor": "yes"}
EVERYTHING = GATEWAY | MONITOR
# What is given, and the two that are found, or what else is said.
CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "defaults of everything": (EVERYTHING, []),
    "MLflow and the notebook": (
        {"mlflow_stack_port": "8888"},
        ["mlflow_stack_port and mlflow_stack_notebook_port are both 8888"],
    ),
    "the notebook that is off": (
        {"mlflow_stack_port": 8888, "mlflow_stack_services": ["mlflow"]},
        [],
    ),
    "MLflow and the monitor": (
        MONITOR | {"mlflow_stack_monitor_port": "5000"},
        ["mlflow_stack_port and mlflow_stack_monitor_port are both 5000"],
    ),
    "the monitor that is off": ({"mlflow_stack_monitor_port": 5000}, []),
    "gateway on the port of a monitor that is off": (GATEWAY | {"mlflow_gateway_https_port": 9464}, []),
    "gateway on the port of the monitor": (
        EVERYTHING | {"mlflow_gateway_https_port": 9464},
        ["mlflow_stack_monitor_port and mlflow_gateway_https_port are both 9464"],
    ),
    "gateway on the port of the notebook": (
        GATEWAY | {"mlflow_gateway_https_port": "8888"},
        ["mlflow_stack_notebook_port and mlflow_gateway_https_port are both 8888"],
    ),
    "gateway on the port of a notebook that is off": (
        GATEWAY | {"mlflow_gateway_https_port": 8888, "mlflow_stack_services": ["mlflow"]},
        [],
    ),
    "gateway on the notebook's port of another address": (
        GATEWAY | {"mlflow_gateway_https_port": 8888, "mlflow_gateway_bind": "192.0.2.1"},
        [],
    ),
    "gateway on the notebook's port of all IPv6 addresses": (
        GATEWAY | {"mlflow_gateway_https_port": 8888, "mlflow_gateway_bind": "::"},
        ["mlflow_stack_notebook_port and mlflow_gateway_https_port are both 8888"],
    ),
    "both of the gateway": (
        GATEWAY | {"mlflow_gateway_http_port": 443},
        ["mlflow_gateway_https_port and mlflow_gateway_http_port are both 443"],
    ),
    "three on one": (
        EVERYTHING | {"mlflow_stack_monitor_port": 5000, "mlflow_gateway_https_port": 5000},
        [
            "stack_port and mlflow_stack_monitor_port",
            "stack_port and mlflow_gateway",
            "monitor_port and mlflow_g",
        ],
    ),
    "no HTTP, and any port for the rest": (
        EVERYTHING | {"mlflow_gateway_http_port": 0, "mlflow_stack_port": 0, "mlflow_stack_notebook_port": 0},
        [],
    ),
    "no HTTPS": (
        GATEWAY | {"mlflow_gateway_https_port": 0},
        ["mlflow_gateway_https_port is 0; expected a TCP port"],
    ),
    "ports of a gateway that is off": ({"mlflow_gateway_https_port": -1}, []),
    "too high": ({"mlflow_stack_port": 70000}, ["mlflow_stack_port is 70000; expected a TCP port"]),
    "monitor's too high": ({"mlflow_stack_monitor_port": 70000}, ["mlflow_stack_monitor_port is 70000;"]),
    "SFTP's too low": ({"sftp_port": -1}, ["sftp_port is -1; expected a TCP port"]),
}


@pytest.mark.parametrize("case", CASES)
def test_ports(case: str) -> None:
    given, words = CASES[case]
    defaults = {name: option["default"] for name, option in _specs().items() if "default" in option}
    found = list(port_problems(defaults | given))
    assert len(found) == len(words), found
    assert [word for word, sentence in zip(words, found, strict=True) if word not in sentence] == [], found


def test_a_clash_is_said_once_of_all_values() -> None:
    given = GOOD | EVERYTHING | {"mlflow_stack_insecure": True, "mlflow_gateway_https_port": 9464}
    (found,) = value_problems(given, _specs())
    assert "mlflow_stack_monitor_port and mlflow_gateway_https_port are both 9464" in found
