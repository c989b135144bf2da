"""Variables of services that run away from their server, and of devices."""

from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.filter.input_findings import _specs
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.key_file import KeyFile
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.values import value_problems

GPU = {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
URL = "https://mlflow.example.org"
CLIENT = {"mlflow_stack_server_url": URL, "mlflow_stack_services": ["train"]}


def problems(given: dict[str, Any], ca_file: KeyFile | None = None) -> list[str]:
    return value_problems(given, _specs(), server_ca_file=ca_file)


@pytest.mark.parametrize(
    "given",
    [
        CLIENT,
        CLIENT | {"mlflow_stack_server_url": f"{URL}:8443"},
        {"mlflow_stack_devices": [GPU]},
        {"mlflow_stack_devices": [{"capabilities": ["gpu"], "device_ids": ["0", "3"]}]},
        {"mlflow_stack_extra_hosts": {"mlflow.example.org": "10.1.2.3", "six": "fd00::1"}},
    ],
)
def test_values_that_services_can_use(given: dict[str, Any]) -> None:
    assert problems(given) == []


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"mlflow_stack_devices": ["all"]}, "entry 1 is no mapping"),
        ({"mlflow_stack_devices": [GPU, {"driver": "nvidia"}]}, "entry 2 has no list of capabilities"),
        ({"mlflow_stack_devices": [GPU | {"capabilities": "gpu"}]}, "entry 1 has no list of capabilities"),
        ({"mlflow_stack_devices": [GPU | {"device_ids": ["0"]}]}, "has both count and device_ids"),
        ({"mlflow_stack_devices": [GPU | {"kount": 1}]}, "has kount; expected some of capabilities, count"),
        ({"mlflow_stack_extra_hosts": {"a": "b"}}, "mlflow_stack_extra_hosts has 'b' for a"),
        (CLIENT | {"mlflow_stack_services": ["mlflow", "train"]}, "mlflow_stack_services names mlflow"),
        (CLIENT | {"mlflow_stack_monitor": True}, "mlflow_stack_monitor is on"),
        (
            CLIENT | {"mlflow_stack_dask": True, "mlflow_stack_dask_authority_dir": "/ca"},
            "mlflow_stack_dask is on",
        ),
        (
            {"mlflow_stack_server_url": "http://mlflow:5000", "mlflow_stack_services": []},
            "expected the server's",
        ),
        (
            {"mlflow_stack_server_url": f"{URL}/path", "mlflow_stack_services": []},
            "expected the server's front",
        ),
    ],
)
def test_values_that_they_cannot_use(given: dict[str, Any], problem: str) -> None:
    (found,) = problems(given)
    assert problem in found


def test_a_file_of_certificates_that_is_missing() -> None:
    (found,) = problems({}, KeyFile("/ca.pem", "the controller has no such file"))
    assert found == "mlflow_stack_server_ca_file is /ca.pem, and the controller has no such file."
