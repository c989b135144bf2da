"""How a gateway is told to have requests wait: where its configuration listens for that."""

from pathlib import Path

import yaml
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.admission import PORT, command

ROLE = Path(__file__).parents[4] / "roles/mlflow_gateway"


def test_the_configuration_listens_where_it_is_told() -> None:
    variables = yaml.safe_load((ROLE / "vars/main.yml").read_text())
    assert variables["__mlflow_gateway_admission_port"] == PORT
    assert f"/dev/tcp/127.0.0.1/{PORT} " in command("maint")[-1]
