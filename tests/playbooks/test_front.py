"""A cutover is refused where the inventory's login or gateway is not deployed: site.yml deploys them."""

import json
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users.login import SERVER_FILE, login_files

from tests.support.ansible import REPOSITORY, run_playbook

PLAYBOOK = REPOSITORY / "tests/playbooks/front.yml"
DEFAULTS = yaml.safe_load((REPOSITORY / "roles/mlflow_stack/defaults/main.yml").read_text())
GRANTS, SERVICES = DEFAULTS["mlflow_stack_auth_service_permissions"], DEFAULTS["mlflow_stack_services"]
SECRET, GIVEN = "Wq8-derived-from", "Zt5-given-by-hand"
PLAIN: dict[str, Any] = {"services": {"mlflow": {}, "notebook": {}}}
OPEN: dict[str, Any] = {
    "services": {
        "mlflow": {"environment": {"MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": "https://mlflow.example.org"}},
        "notebook": {"environment": {"NOTEBOOK_PATH": "/notebook"}},
        "gateway": {"ports": ["0.0.0.0:443:8443", "0.0.0.0:80:8080"], "user": "10003:10003"},
    }
}
LOGIN = {"mlflow_stack_auth": "basic"}
FRONT = {"mlflow_gateway_hostname": "MLflow.example.org"}
# What is deployed: compose.yml and whether there is a login, or what is wrong with its file; the inventory; and a word
# of the refusal, if there is one.
CASES: list[tuple[dict[str, Any], bool | str, dict[str, Any], str]] = [
    (PLAIN, False, {}, ""),
    (PLAIN, False, LOGIN, "mlflow_stack_auth is basic"),
    (PLAIN, True, {}, "mlflow_stack_auth is none"),
    (PLAIN, True, LOGIN, ""),
    (PLAIN, True, {**LOGIN, "mlflow_stack_auth_admin_password": None}, ""),
    (
        PLAIN,
        True,
        {**LOGIN, "mlflow_stack_auth_admin_password": GIVEN},
        "admin_password is not the deployed one",
    ),
    (PLAIN, True, {**LOGIN, "mlflow_stack_monitor": True}, "service-monitor"),
    (PLAIN, False, FRONT, "mlflow_gateway_hostname is mlflow.example.org"),
    (OPEN, False, {}, "mlflow_gateway_hostname is empty"),
    (OPEN, False, FRONT, ""),
    (OPEN, False, {**FRONT, "mlflow_gateway_https_port": 8443}, "mlflow_gateway_https_port is 8443"),
    (OPEN, True, {**FRONT, **LOGIN}, ""),
    (PLAIN, "not of the collection", LOGIN, "it does not hold what site.yml writes"),
    (PLAIN, "a directory", {}, "Source is a directory"),
]


def deploy(directory: Path, compose: dict[str, Any], login: bool | str) -> None:
    directory.mkdir()
    (directory / "compose.yml").write_text(yaml.safe_dump(compose))
    if login:
        files = login_files(SECRET, "", SERVICES, GRANTS, "NO_PERMISSIONS", 60)
        (directory / ".secrets/mlflow_login").mkdir(parents=True)
        server = directory / ".secrets/mlflow_login" / SERVER_FILE
        if login == "a directory":
            server.mkdir()
        else:
            server.write_text(
                files[SERVER_FILE] if login is True else json.dumps({"users": [{"name": login}]})
            )
        (directory / ".secrets/mlflow_login_secret").write_text(SECRET)


def test_a_cutover_begins_where_login_and_gateway_are_deployed(tmp_path: Path) -> None:
    hosts: dict[str, Any] = {}
    for number, (compose, login, inventory, _) in enumerate(CASES):
        deploy(tmp_path / str(number), compose, login)
        hosts[f"case-{number}"] = {"mlflow_stack_dir": str(tmp_path / str(number)), **inventory}
    (tmp_path / "inventory.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    outcome = run_playbook(PLAYBOOK, "-i", str(tmp_path / "inventory.json"), "-v")
    assert not outcome.failed, outcome.output
    for number, (*_, word) in enumerate(CASES):
        file = tmp_path / str(number) / "refusal"
        told = file.read_text() if file.exists() else ""
        assert bool(word) == bool(told), (number, told)
        assert word in told
        assert not word or "Run site.yml first" in told
    for secret in (SECRET, GIVEN):
        assert secret not in outcome.output
