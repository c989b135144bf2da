"""Whether the inventory's login and gateway are the deployed ones."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.freegee.mlflow_sftp.plugins.filter.front_findings import front_findings
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users.login import SERVER_FILE, login_files

ROOT = Path(__file__).parents[4]
LOGIN: dict[str, Any] = {
    "secret": "the secret",
    "admin_password": "password-of-admin",
    "services": ["mlflow", "notebook"],
    "permissions": [{"experiment": "*", "permission": "EDIT"}],
    "default_permission": "READ",
    "cache_seconds": 60,
}
GATEWAY: dict[str, Any] = {
    "mlflow_gateway_hostname": "mlflow.example.org",
    "mlflow_gateway_bind": "0.0.0.0",
    "mlflow_gateway_https_port": 443,
    "mlflow_gateway_http_port": 80,
    "mlflow_gateway_notebook": "/notebook",
    "mlflow_stack_dask_dashboard": "false",
    "mlflow_gateway_dask": "/dask",
    "mlflow_gateway_uid": "10003",
    "mlflow_gateway_gid": 10003,
}
OFF = GATEWAY | {"mlflow_gateway_hostname": ""}
# As roles/mlflow_stack/templates/compose.yml.j2 writes it.
COMPOSE = """
x-telemetry: &telemetry
  MLFLOW_DISABLE_TELEMETRY: "true"
services:
  mlflow:
    environment:
      <<: [*telemetry]
      MLFLOW_SERVER_CORS_ALLOWED_ORIGINS: https://mlflow.example.org
  notebook:
    environment:
      NOTEBOOK_PATH: "/notebook"
"""
SERVICE = """
  gateway:
    user: "10003:10003"
    ports:
      - "0.0.0.0:443:8443"
      - "0.0.0.0:80:8080"
"""
# With dask's dashboard.
SHOWN = f"""{SERVICE}    networks: [default, dashboard]
  dask-scheduler:
    command: [dask, scheduler, "--dashboard-address=:8787", "--dashboard-prefix=/dask"]
"""
NAMED = SHOWN.replace(', "--dashboard-prefix=/dask"', "")
BY_NAME = GATEWAY | {"mlflow_stack_dask_dashboard": "true", "mlflow_gateway_dask": "dask.example.org"}


def server(**changed: Any) -> str:
    return login_files(**LOGIN | changed)[SERVER_FILE]


def findings(
    compose: str = COMPOSE + SERVICE,
    deployed: str | None = None,
    login: str | None = None,
    gateway: dict[str, Any] | None = None,
) -> str:
    given = {
        "compose": compose,
        "deployed_login": server() if deployed is None else deployed,
        "login": server() if login is None else login,
        "gateway": GATEWAY if gateway is None else gateway,
    }
    return " ".join(front_findings(given))


@pytest.mark.parametrize(
    "deployed",
    [
        {},
        {"deployed": "", "login": ""},
        {"compose": COMPOSE, "gateway": OFF},
        # A gateway that is off has no settings.
        {"compose": COMPOSE, "gateway": OFF | {"mlflow_gateway_https_port": 8443}},
        {"compose": COMPOSE, "deployed": "", "login": "", "gateway": OFF},
        # What another version of the collection did not write down is no difference.
        {"deployed": '{"users": []}', "login": '{"users": []}'},
        {"compose": (COMPOSE + SERVICE).replace("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", "OTHER")},
        {"compose": (COMPOSE + SERVICE).replace("    user:", "    init:")},
        # The notebook of another host name, or none.
        {
            "compose": (COMPOSE + SERVICE).replace('"/notebook"', '""'),
            "gateway": GATEWAY | {"mlflow_gateway_notebook": ""},
        },
        # IPv6, and no redirection.
        {
            "compose": COMPOSE
            + SERVICE.replace('      - "0.0.0.0:80:8080"\n', "").replace("0.0.0.0", "[::]"),
            "gateway": GATEWAY | {"mlflow_gateway_bind": "::", "mlflow_gateway_http_port": 0},
        },
        {
            "compose": (COMPOSE + SERVICE).replace(".org", ".org:8443").replace("443:8443", "8443:8443"),
            "gateway": GATEWAY | {"mlflow_gateway_https_port": "8443"},
        },
        {"compose": COMPOSE + SHOWN, "gateway": GATEWAY | {"mlflow_stack_dask_dashboard": "true"}},
        {"compose": COMPOSE + NAMED, "gateway": BY_NAME},
        {"compose": COMPOSE + NAMED, "gateway": BY_NAME | {"mlflow_gateway_dask": "jobs.example.org"}},
    ],
)
def test_nothing_differs(deployed: dict[str, Any]) -> None:
    assert findings(**deployed) == ""


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "login on": ({"deployed": ""}, "mlflow_stack_auth is basic, deployed is none"),
    "login off": ({"login": ""}, "mlflow_stack_auth is none, deployed is basic"),
    "administrator": (
        {"login": server(admin_password="password-of-other")},
        "mlflow_stack_auth_admin_password is not the deployed one (.secrets/mlflow_login/server.json has it)",
    ),
    "administrator of the stack": (
        {"login": server(admin_password="")},
        "mlflow_stack_auth_admin_password is not the deployed one (.secrets/mlflow_login/server.json has it)",
    ),
    "default": (
        {"login": server(default_permission="EDIT")},
        "mlflow_stack_auth_default_permission is EDIT, deployed is READ",
    ),
    "cache": ({"login": server(cache_seconds=5)}, "mlflow_stack_auth_cache_ttl is 5, deployed is 60"),
    "permissions": (
        {"login": server(permissions=[])},
        "mlflow_stack_auth_service_permissions is nothing, deployed is EDIT on experiment *",
    ),
    "services": (
        {"login": server(services=["mlflow", "notebook", "monitor"])},
        "give a login is admin, service-monitor, service-notebook, deployed is admin, service-notebook",
    ),
    "gateway on": ({"compose": COMPOSE}, "mlflow_gateway_hostname is mlflow.example.org, deployed is none"),
    "gateway off": ({"gateway": OFF}, "mlflow_gateway_hostname is empty, deployed is mlflow.example.org"),
    "host name": (
        {"gateway": GATEWAY | {"mlflow_gateway_hostname": "other.example.org"}},
        "mlflow_gateway_hostname is other.example.org, deployed is mlflow.example.org",
    ),
    "dashboard on": (
        {"gateway": GATEWAY | {"mlflow_stack_dask_dashboard": "true"}},
        "mlflow_stack_dask_dashboard is true, deployed is false",
    ),
    "dashboard off": (
        {"compose": COMPOSE + SHOWN},
        "mlflow_stack_dask_dashboard is false, deployed is true",
    ),
    "dashboard elsewhere": (
        {
            "compose": COMPOSE + SHOWN,
            "gateway": GATEWAY | {"mlflow_stack_dask_dashboard": "true", "mlflow_gateway_dask": "/jobs"},
        },
        "mlflow_gateway_dask is /jobs, deployed is /dask",
    ),
    "dashboard from a name to a path": (
        {"compose": COMPOSE + NAMED, "gateway": GATEWAY | {"mlflow_stack_dask_dashboard": "true"}},
        "mlflow_gateway_dask is /dask, deployed is a host name",
    ),
    "dashboard from a path to a name": (
        {"compose": COMPOSE + SHOWN, "gateway": BY_NAME},
        "mlflow_gateway_dask is a host name, deployed is /dask",
    ),
    **{
        name: ({"gateway": GATEWAY | {f"mlflow_gateway_{name}": value}}, f"mlflow_gateway_{name} is {value},")
        for name, value in {
            "bind": "127.0.0.1",
            "https_port": 8443,
            "http_port": 0,
            "notebook": "/lab",
            "uid": 7,
            "gid": 7,
        }.items()
    },
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_differs_is_told_with_what_to_do(change: str) -> None:
    given, words = CHANGES[change]
    found = findings(**given)
    assert words in found
    # Nothing else.
    assert found.count("deployed is") + found.count("not the deployed one") == 1
    assert "Run site.yml first" in found
    assert "password-of" not in found


def test_everything_is_told_at_once() -> None:
    found = findings(compose=COMPOSE, login=server(cache_seconds=5, default_permission="EDIT"))
    assert [name in found for name in ("cache_ttl", "default_permission", "gateway_hostname")] == [True] * 3


def test_the_container_s_ports_are_the_role_s() -> None:
    role = yaml.safe_load((ROOT / "roles/mlflow_gateway/vars/main.yml").read_text())
    assert f"443:{role['__mlflow_gateway_container_https_port']}" in SERVICE
    assert f"80:{role['__mlflow_gateway_container_http_port']}" in SERVICE
