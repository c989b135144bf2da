#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: keep a stack's files before a deployment, and restore them after one that failed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_stack_rollback
short_description: Keep a stack's files before a deployment, and restore them after one that failed
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - With V(kept), archives the files of a stack whose MLflow server is healthy, those of its gateway among them. Of
    one that is not, nothing is kept, and what was kept before is removed.
  - With V(restored), gives the stack the files that were kept, starts the containers of them and waits for an answer.
    The message says how that went; it does not fail, so that the error of the deployment remains the one to report.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.stack
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: none
    details:
      - Each call writes the archive, or the files.
options:
  state:
    description:
      - What to do.
    type: str
    choices: [kept, restored]
    required: true
  wait_timeout:
    description:
      - Seconds within which services must be healthy.
    type: int
    default: 180
"""

EXAMPLES = r"""
- name: Keep the files
  freegee.mlflow_sftp.mlflow_stack_rollback:
    directory: /opt/mlflow-stack
    state: kept

- name: Restore the files
  freegee.mlflow_sftp.mlflow_stack_rollback:
    directory: /opt/mlflow-stack
    state: restored
"""

RETURN = r"""
message:
  description: For people, whether MLflow answers as before.
  returned: success
  type: str
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker, files
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import (
    STACK_OPTIONS,
    end,
    settings_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import (
    Settings,
    Stack,
)

ARCHIVE = "before-deployment.tar"


def answers(settings: Settings) -> bool:
    """Return whether the stack's MLflow server is healthy, and reaches its database."""
    try:
        stack = Stack(settings)
        server = f"{stack.project.name}-mlflow-1"
        found = docker.inspect(server)
        if found is None or found["State"].get("Health", {}).get("Status") != "healthy":
            return False
        # With a login, the health check asks what needs none, and no database.
        return stack.answers(server, settings.directory)
    except (CutoverError, OSError):
        # Nothing is deployed, or there is no Docker yet.
        return False


def keep(settings: Settings, archive: Path, check: bool) -> dict:
    """Archive the files of a stack that answers."""
    answering = answers(settings)
    if answering and not check:
        files.save(settings.directory, archive, deployment=True)
    elif not check:
        archive.unlink(missing_ok=True)
    return {
        "changed": answering,
        "message": f"{archive} holds the files." if answering else "MLflow does not answer.",
    }


def restore(settings: Settings, archive: Path, seconds: int, check: bool) -> dict:
    """Give the stack the files that were kept, and start them."""
    if not archive.exists():
        return {
            "changed": False,
            "message": "No stack answered before this deployment, so there is none to go back to.",
        }
    if not check:
        try:
            files.restore(archive, settings.directory, deployment=True)
            Stack(settings).start(seconds, "--remove-orphans")
        except (CutoverError, OSError) as error:
            return {
                "changed": True,
                "message": f"Going back to the stack from before failed as well: {error}",
            }
    return {
        "changed": True,
        "message": "The files and containers from before the deployment were restored: MLflow answers as before.",
    }


def run(module: AnsibleModule) -> dict:
    """Do what the options ask for."""
    settings = settings_of(module.params)
    archive = settings.directory / ARCHIVE
    if module.params["state"] == "kept":
        return keep(settings, archive, module.check_mode)
    return restore(settings, archive, module.params["wait_timeout"], module.check_mode)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **STACK_OPTIONS,
            "state": {"type": "str", "choices": ["kept", "restored"], "required": True},
            "wait_timeout": {"type": "int", "default": 180},
        },
        supports_check_mode=True,
    )
    end(module, lambda: run(module))


if __name__ == "__main__":
    main()
