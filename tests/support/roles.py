"""Variables of the roles, as a host gets them."""

from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.freegee.mlflow_sftp.plugins.filter.mlflow_login import mlflow_login
from ansible_collections.freegee.mlflow_sftp.plugins.filter.space_amount import space_amount

from tests.support.templates import variables_of

ROLES = Path(__file__).parents[2] / "roles"
HOST = {"adopted": [], "bridge_mtu": 1500, "present_files": [], "directory": {"known": []}}


def value(template: str, **given: Any) -> Any:
    """Return what a template is on a host with the given variables."""
    variables = {
        **variables_of(ROLES / "mlflow_gateway"),
        **variables_of(ROLES / "mlflow_stack"),
        "ansible_managed": "Ansible managed",
        "inventory_hostname": "this",
        "groups": {"docker_hosts": ["server"]},
        "hostvars": {"server": {}},
        "artifact_storage": "sftp",
        "artifact_storage_uri": "sftp://u@h:22/a",
        "base_image_postgresql_name": "postgres:x",
        "base_image_haproxy_name": "haproxy:x",
        "__mlflow_stack_host": HOST,
        "__mlflow_stack_image_tag": "tag",
        "__mlflow_stack_client_digest": "client digest",
        "__mlflow_stack_postgres_digest": "postgres digest",
        "__mlflow_stack_dask_digest": "dask digest",
        "__mlflow_stack_token": {"content": ""},
        "__mlflow_stack_login_secret": {"content": "c2VjcmV0"},
        **given,
    }
    templar = Templar(loader=DataLoader(), variables=variables)
    templar.environment.filters["freegee.mlflow_sftp.mlflow_login"] = mlflow_login
    templar.environment.filters["freegee.mlflow_sftp.space_amount"] = space_amount
    return templar.template(trust_as_template(template))


SWARM: dict[str, Any] = {
    "mlflow_stack_engine": "swarm",
    "mlflow_stack_backend_store": "postgresql://mlflow:secret@db.example.org/mlflow",
    "mlflow_stack_services": ["mlflow"],
    "mlflow_stack_dir": "/opt/mlflow-stack",
    "mlflow_gateway_hostname": "mlflow.example.org",
    "ansible_check_mode": False,
    "__mlflow_stack_swarm_images": {"mlflow": "sha256:x"},
    "__mlflow_stack_swarm_objects": [],
}


def on_swarm(name: str, **given: Any) -> Any:
    """Return an internal variable of the role as a stack that a swarm serves has it."""
    return value(f"{{{{ __mlflow_stack_{name} }}}}", **{**SWARM, **given})
