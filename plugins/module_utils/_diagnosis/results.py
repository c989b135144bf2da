# SPDX-License-Identifier: GPL-3.0-or-later
"""What the steps of the playbook verify.yml mean: from what was registered at each vantage point to results."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.stage import caused

Variables = Mapping[str, Any]
Result = dict[str, Any]

_KEY_DIRECTORY = "/run/secrets/mlflow_sftp_key"
_CONFIGURATION = "/etc/mlflow_sftp/ssh_config"


def collect_results(
    docker_hosts: Sequence[str],
    variables: Mapping[str, Variables],
    groups: Mapping[str, Sequence[str]],
    reached: Sequence[str],
    may_be_empty: bool = False,
) -> list[dict[str, Any]]:
    """Collect what the steps found at all vantage points, and add an entry for each that did not answer.

    Args:
        docker_hosts: The Docker hosts to report.
        variables: The variables of every host of the inventory. ``verify_found`` is what there is on a Docker host,
            ``verify_step_*`` is what a step returned, ``__mlflow_stack_capacity`` how much space there is,
            ``__mlflow_gateway_seen`` what the gateway showed;
            ``mlflow_stack_docker_host``, ``mlflow_stack_service`` and ``ansible_host`` say which container it is.
        groups: The inventory's groups, of which ``docker_hosts``, ``mlflow_clients``, ``verify_controllers`` and
            ``mlflow_containers`` count.
        reached: The Docker hosts that Ansible has not lost.
        may_be_empty: Whether a Docker host with nothing to verify beside others is as it should be.

    Returns:
        Entries for `build_report`, for each Docker host of its controller, itself, and its containers. A container of
        which nothing is known could not be entered. Nothing where no Docker host holds anything to verify.
    """
    entries: list[dict[str, Any]] = []
    empty: list[dict[str, Any]] = []
    is_alone = len(groups["docker_hosts"]) + len(groups.get("mlflow_clients", [])) == 1
    for docker_host in docker_hosts:
        label = "" if is_alone else f"{docker_host}: "
        found = list(_of_one_host(docker_host, label, variables, groups, docker_host in reached))
        entries += found
        if not found and not may_be_empty and not _needs_no_account(variables[docker_host]):
            directory = variables[docker_host].get("mlflow_stack_dir")
            nothing = _unreachable(f"there is nothing to verify: {directory} holds no stack and no key")
            empty.append(_entry(f"{label}Docker host", {**nothing, "remedy": "Run site.yml first."}))
            entries.append(empty[-1])
    return [] if len(empty) == len(docker_hosts) else entries


def _of_one_host(
    docker_host: str,
    label: str,
    variables: Mapping[str, Variables],
    groups: Mapping[str, Sequence[str]],
    is_reached: bool,
) -> Iterator[dict[str, Any]]:
    for name in groups.get("verify_controllers", []):
        if name == f"{docker_host}-controller":
            for result in _account(variables[name]):
                yield _entry(f"{label}controller", result)
    host = variables[docker_host]
    for result in _docker_host(host):
        yield _entry(f"{label}Docker host", result)
    for name in groups.get("mlflow_containers", []):
        container = variables[name]
        if container["mlflow_stack_docker_host"] == docker_host:
            for result in container_results(docker_host, host, container):
                yield _entry(label + container["mlflow_stack_service"], result)
    if not is_reached:
        seen = f"{docker_host} could not be reached, or failed before it could be checked"
        yield _entry(f"{label}Docker host", _unreachable(seen))


def _needs_no_account(host: Variables) -> bool:
    """Whether there is a stack without an account to check: local storage, or a server elsewhere that has it."""
    is_local = host.get("artifact_storage", "sftp") == "local"
    return (is_local or bool(host.get("mlflow_stack_server_url"))) and "compose.yml" in _files(host)


def _entry(vantage: str, result: Mapping[str, Any]) -> dict[str, Any]:
    return {"vantage": vantage, "result": result}


def _unreachable(seen: str) -> Result:
    return {"failed": True, "cause": "vantage_unreachable", "msg": seen}


def _step(variables: Variables, name: str) -> Result | None:
    """What a step returned, if it ran; what could not be reached, as such."""
    result = variables.get(f"verify_step_{name}")
    if result is None or result.get("skipped"):
        return None
    if result.get("unreachable"):
        return _unreachable(str(result.get("msg", "")))
    return dict(result)


def _failed(variables: Variables, *names: str) -> Iterator[Result]:
    for name in names:
        result = _step(variables, name)
        if result is not None and result.get("failed"):
            yield result


def _account(variables: Variables) -> Iterator[Result]:
    result = _step(variables, "account")
    if result is not None:
        yield result


def _docker_host(host: Variables) -> Iterator[Result]:
    yield from _account(host)
    yield from _space(host)
    yield from _gateway(host)
    compared = _step(host, "containers")
    if compared is None:
        return
    if compared.get("failed"):
        yield {"cause": "stack_outdated", **compared}
    elif actions := compared.get("actions"):
        # Containers that are only started are started because of one that changes.
        changed = [action["id"] for action in actions if action["status"] != "Starting"]
        named = ", ".join(dict.fromkeys(changed or [action["id"] for action in actions]))
        yield {"failed": True, "cause": "stack_outdated", "msg": f"docker compose up would act on {named}"}


def _space(host: Variables) -> Iterator[Result]:
    """What mlflow_capacity_info told; what nobody could ask is not known, and no failure of its own."""
    told = host.get("__mlflow_stack_capacity")
    if not told or told.get("skipped"):
        return
    stage: Result = {"name": "space", "status": "skipped", "seconds": 0.0, "cause": None}
    if "level" not in told:
        stage["detail"] = str(told.get("msg", "not known"))
    elif (code := {"low": "space_low", "full": "space_reserved"}.get(told["level"])) is None:
        stage |= {"status": "ok", "detail": "; ".join(told["lines"])}
    else:
        stage = caused("space", code, "; ".join(told["findings"]), status="warning")
    yield {"stages": [stage]}


def _gateway(host: Variables) -> Iterator[Result]:
    """What mlflow_gateway_info told, if there is a gateway."""
    told = host.get("__mlflow_gateway_seen")
    if not told or told.get("skipped"):
        return
    if "stages" in told:
        yield told
        return
    yield {"stages": [caused("gateway", "gateway_unreachable", str(told.get("msg", "not known")))]}


def container_results(docker_host: str, host: Variables, container: Variables) -> Iterator[Result]:
    """Yield what was found from one container.

    Args:
        docker_host: Its Docker host's name.
        host: The variables of that host.
        container: The variables of the container.
    """
    for result in _failed(container, "started"):
        yield {**result, "cause": "vantage_unreachable"}
        return
    entered = str(container.get("verify_step_entered", {}).get("stdout", ""))
    if "entered" not in entered:
        yield _unreachable(f"no answer from {container['ansible_host']}")
        return
    yield from key_difference(docker_host, host, entered)
    yield from _account(container)
    round_trip = _step(container, "round_trip")
    if round_trip is not None:
        read_back = _step(container, "read_back")
        if round_trip.get("failed") or read_back is None:
            yield round_trip
        else:
            yield read_back if read_back.get("failed") else {**round_trip, "read_back": True}
    yield from _failed(container, "removed", "purged")


def key_difference(docker_host: str, host: Variables, entered: str) -> Iterator[Result]:
    """Yield a failure if a container that holds a key holds another one than its Docker host.

    Args:
        docker_host: The Docker host's name.
        host: Its variables.
        entered: What ``sha256sum`` said in the container of the client's configuration and of the key. A key that
            cannot be read there is named by the check of the account.
    """
    path, expected = _host_key(host)
    if not expected or not _checksum(entered, _CONFIGURATION):
        return
    directory = host.get("sftp_client_container_key_dir", _KEY_DIRECTORY)
    inside = f"{directory}/{path.rpartition('/')[2]}"
    present = _checksum(entered, inside)
    if present == expected or not (present or re.search(f"{re.escape(inside)}.*No such file", entered)):
        return
    holds = f"has {present}" if present else "does not exist"
    yield {
        "failed": True,
        "cause": "container_key_outdated",
        "msg": f"{path} on {docker_host} has SHA-256 {expected}; {inside} in the container {holds}",
    }


def _host_key(host: Variables) -> tuple[str, str]:
    """Path and SHA-256 of the key on the Docker host."""
    for name, file in _files(host).items():
        if name.startswith("id_"):
            return str(file["path"]), str(file.get("checksum") or "")
    return "", ""


def _files(host: Variables) -> dict[str, Mapping[str, Any]]:
    found = host.get("verify_found", {}).get("files", [])
    return {str(file["path"]).rpartition("/")[2]: file for file in found}


def _checksum(entered: str, path: str) -> str:
    match = re.search(f"^([0-9a-f]{{64}})  {re.escape(path)}$", entered, re.MULTILINE)
    return match.group(1) if match else ""
