#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: a round trip through MLflow from every service of a stack."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_stack_roundtrip
short_description: Make a round trip through MLflow from every service of a stack
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - On the Docker host, logs, lists, downloads and compares artifacts in each service's container, in all of them at
    once, and in one of the training job that is started for it. What was logged is removed for good.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.stack
attributes:
  check_mode:
    support: full
    details:
      - In check mode no round trip is made.
  diff_mode:
    support: N/A
    details:
      - Nothing is left changed.
  idempotent:
    support: full
options:
  key_file:
    description:
      - A private key on the Docker host. Services that hold a key of this name must hold this one, and log in with it
        in a process of their own, since a round trip may use a connection of before.
    type: path
seealso:
  - module: freegee.mlflow_sftp.mlflow_artifact_roundtrip
    description: Makes one where it runs.
"""

EXAMPLES = r"""
- name: Prove that every service stores artifacts
  freegee.mlflow_sftp.mlflow_stack_roundtrip:
    directory: /opt/mlflow-stack
"""

RETURN = r"""
services:
  description: The services that made a round trip. Empty in check mode.
  returned: success
  type: list
  elements: str
notes:
  description: What could not be removed, and what removes it.
  returned: success
  type: list
  elements: str
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker, round_trips
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.lock import locked
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import (
    STACK_OPTIONS,
    end,
    settings_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import run_once
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack


def holds_key(container: str, key_dir: str) -> bool:
    """Tell whether a container has the directory of the key."""
    found = docker.inspect(container)
    return found is not None and key_dir in [mount["Destination"] for mount in found["Mounts"]]


def require_key(container: str, key: Path, key_dir: str) -> str:
    """Return what is wrong with the key that a container holds; nothing where it is this one."""
    held = docker.run("exec", container, "sha256sum", f"{key_dir}/{key.name}").split()[0]
    if held == hashlib.sha256(key.read_bytes()).hexdigest():
        return ""
    return (
        f"holds another {key.name} than {key.parent}, whose directory was replaced under the container; "
        "`docker compose up -d --force-recreate` mends that"
    )


def require_logins(stack: Stack, key: Path, containers: Mapping[str, str]) -> None:
    """Log in from each container that holds a key, which must be this one; raises CutoverError where one fails.

    A round trip may go through a connection of before, or through the server.
    """
    key_dir = stack.settings.key_dir
    holders = {name: each for name, each in containers.items() if holds_key(each, key_dir)}
    wrong = {name: require_key(each, key, key_dir) for name, each in holders.items()}
    failures = [f"{name} {problem}" for name, problem in wrong.items() if problem]
    if not failures:
        logins = {name: run_once(each, "check", stack.store.uri) for name, each in holders.items()}
        failures = round_trips.failures(logins)
    if failures:
        raise CutoverError(f"The SSH key does not do in every service: {'; '.join(failures)}")


def make(stack: Stack, key: Path | None) -> None:
    """Make the round trips; raises CutoverError where one fails."""
    containers = dict(round_trips.clients(stack))
    try:
        if key is not None:
            require_logins(stack, key, containers)
        failures = round_trips.failures(round_trips.start(stack, stack.store.access, containers))
    finally:
        docker.remove(stack.trainer)
    if failures:
        raise CutoverError(f"The round trip failed from {'; '.join(failures)}")


def purge(stack: Stack) -> list[str]:
    """Remove for good what the round trips left; return what could not be removed."""
    where = ("--tracking-uri", "http://mlflow:5000", "--destination", stack.store.uri)
    process = run_once(f"{stack.project.name}-mlflow-1", "purge-roundtrips", *where)
    failed = round_trips.failures({"purge": process})
    return [
        f"What the round trips left could not be removed ({each}); verify.yml removes it." for each in failed
    ]


def run(module: AnsibleModule) -> dict:
    """Make the round trips that the options ask for."""
    key = module.params["key_file"]
    stack = Stack(settings_of(module.params))
    if module.check_mode:
        return {"changed": False, "services": [], "notes": []}
    stack.settings.switches.mkdir(mode=0o700, exist_ok=True)
    with locked(stack.settings.switches):
        make(stack, Path(key) if key else None)
        return {"changed": False, "services": stack.project.clients, "notes": purge(stack)}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={**STACK_OPTIONS, "key_file": {"type": "path"}},
        supports_check_mode=True,
    )
    end(module, lambda: run(module))


if __name__ == "__main__":
    main()
