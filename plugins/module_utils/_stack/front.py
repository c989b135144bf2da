# SPDX-License-Identifier: GPL-3.0-or-later
"""What people meet first, MLflow's login and the gateway: whether the inventory's is what is deployed.

A cutover writes the next compose.yml with both, and neither gives users what they are to have nor the gateway its
configuration: that is site.yml's. So they have to be the deployed ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

# By variable of the inventory; what nobody knows of a deployment is not there.
Front = Mapping[str, str]

AUTH, HOSTNAME = "mlflow_stack_auth", "mlflow_gateway_hostname"
_ADMIN_PASSWORD = "mlflow_stack_auth_admin_password"  # noqa: S105  # A name.
_DASHBOARD = "mlflow_gateway_dask"
# Which one, the scheduler does not know, and need not.
_BY_NAME = "a host name"
# Of the gateway's container.
_HTTPS, _HTTP = "8443", "8080"
_REMEDY = (
    "A cutover goes on with what is deployed. Run site.yml first; where that names this playbook, give these variables "
    "the deployed values until this has run."
)


def login_front(server: Mapping[str, Any] | None) -> Front:
    """Return what a server's file of its login says, as `login_files` makes it; None for no login."""
    if server is None:
        return {AUTH: "none"}
    users: Sequence[Mapping[str, Any]] = server.get("users", ())
    found: dict[str, Any] = {
        "mlflow_stack_auth_default_permission": server.get("default_permission"),
        "mlflow_stack_auth_cache_ttl": server.get("cache_seconds"),
        _ADMIN_PASSWORD: next((user["password"] for user in users if user.get("admin")), None),
        "whom mlflow_stack_services and mlflow_stack_monitor give a login": ", ".join(
            sorted(user["name"] for user in users)
        ),
        "mlflow_stack_auth_service_permissions": next(
            (_named(user["grants"]) for user in users if "grants" in user), None
        ),
    }
    return {AUTH: "basic", **{name: str(value) for name, value in found.items() if value is not None}}


def gateway_front(compose: Mapping[str, Any]) -> Front:
    """Return what a stack's compose.yml, as the role mlflow_stack writes it, says of the gateway."""
    services = compose["services"]
    gateway = services.get("gateway")
    if gateway is None:
        return {HOSTNAME: ""}
    origin = services["mlflow"].get("environment", {}).get("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", "")
    ports = dict(_ports(gateway.get("ports", ())))
    uid, _, gid = str(gateway.get("user", "")).partition(":")
    has_dashboard = "dashboard" in gateway.get("networks", ())
    found = {
        HOSTNAME: urlsplit(origin).hostname,
        "mlflow_gateway_bind": next((address for address, _ in ports.values()), None),
        "mlflow_gateway_https_port": ports[_HTTPS][1] if _HTTPS in ports else None,
        "mlflow_gateway_http_port": ports[_HTTP][1] if _HTTP in ports else "0",
        "mlflow_gateway_notebook": services.get("notebook", {}).get("environment", {}).get("NOTEBOOK_PATH"),
        "mlflow_stack_dask_dashboard": str(has_dashboard).lower(),
        _DASHBOARD: _dashboard_path(services["dask-scheduler"].get("command", ())) if has_dashboard else None,
        "mlflow_gateway_uid": uid or None,
        "mlflow_gateway_gid": gid or None,
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def desired_gateway(variables: Mapping[str, Any]) -> Front:
    """Return what the inventory says of the gateway, variables by name."""
    given = {name: str(value) for name, value in variables.items()}
    if not given.get(_DASHBOARD, "/").startswith("/"):
        given[_DASHBOARD] = _BY_NAME
    return given if given[HOSTNAME] else {HOSTNAME: ""}


def front_findings(deployed: Front, desired: Front) -> list[str]:
    """Return the sentences of a refusal, without secrets; none where everything is as deployed.

    What is known of one of them only is no difference, but for whether there is a login or a gateway at all.
    """
    told = [
        _difference(name, deployed[name], wanted)
        for name, wanted in desired.items()
        if deployed.get(name, wanted) != wanted
    ]
    if not told:
        return []
    return [f"The inventory's login or gateway is not what is deployed: {'; '.join(told)}.", _REMEDY]


def _difference(name: str, deployed: str, wanted: str) -> str:
    if name == _ADMIN_PASSWORD:
        return f"{name} is not the deployed one (.secrets/mlflow_login/server.json has it)"
    return f"{name} is {wanted or 'empty'}, deployed is {deployed or 'none'}"


def _dashboard_path(command: Sequence[str]) -> str:
    """Where the scheduler has its dashboard, which does not know of a name."""
    option = "--dashboard-prefix="
    return next((each.removeprefix(option) for each in command if each.startswith(option)), _BY_NAME)


def _ports(published: Sequence[str]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Address and port of the host by port of the container."""
    for each in published:
        place, _, container = str(each).rpartition(":")
        address, _, port = place.rpartition(":")
        yield container, (address.strip("[]"), port)


def _named(grants: Sequence[Mapping[str, Any]]) -> str:
    texts = sorted(f"{each['permission']} on {each['kind']} {each['name']}" for each in grants)
    return ", ".join(texts) or "nothing"
