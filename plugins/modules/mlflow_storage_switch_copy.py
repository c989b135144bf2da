#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: copy the artifacts of a storage switch while MLflow serves."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_storage_switch_copy
short_description: Copy the artifacts of a storage switch while MLflow serves
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Starts a container that copies, or joins the one that an earlier call has started, and waits. A controller that is
    lost does not take the copy with it.
  - As a task, it waits until the copy has ended, and shows a line about its progress now and then. The module itself
    returns after O(seconds) at the latest.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.stack
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  record:
    description:
      - The switch, as M(freegee.mlflow_sftp.mlflow_storage_switch_plan) returns it.
    type: dict
    required: true
  bandwidth:
    description:
      - Bytes a second to send at most; 0 for no limit.
    type: int
    default: 0
  seconds:
    description:
      - How long to wait for the end.
    type: int
    default: 1
  begin:
    description:
      - Whether a copy that has ended before is nothing to join. The task sets it for its first call.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Copy the artifacts
  freegee.mlflow_sftp.mlflow_storage_switch_copy:
    directory: /opt/mlflow-stack
    record: "{{ plan.record }}"
    bandwidth: 10000000
"""

RETURN = r"""
ended:
  description: Whether the copy has ended.
  returned: success
  type: bool
progress:
  description: How far it is, for people; empty where nothing is to be copied.
  returned: success
  type: str
"""

import json
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.deeds import (
    WORK,
    require_state,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.lock import locked
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import (
    STACK_OPTIONS,
    end,
    settings_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import (
    INCOMPLETE,
    PYTHON,
    failure_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.sizes import (
    readable_size,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import (
    Stack,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.operations import (
    Switch,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.record import (
    SwitchRecord,
)

SWITCH = "freegee.mlflow_sftp.switch"


def start(stack: Stack, switch: Switch, record: SwitchRecord, options: dict) -> None:
    """Start the copy, unless it runs, or has ended since this run has begun to wait for it."""
    found = docker.inspect(stack.copier)
    ours = found is not None and found["Config"]["Labels"].get(SWITCH) == record.id
    if ours and found is not None and (found["State"]["Running"] or not options["begin"]):
        return
    bandwidth = options["bandwidth"]
    limit = ("--bwlimit", str(bandwidth)) if bandwidth else ()
    progress = ("--progress-file", f"{WORK}/progress.json")
    command = (PYTHON, "-m", "mlflow_sftp", *switch.copy_command(record), *limit, *progress, "--json")
    (switch.work / "progress.json").unlink(missing_ok=True)
    switch.start(stack.copier, *command, labels={SWITCH: record.id})


def wait(stack: Stack, seconds: int) -> bool:
    """Return whether the copy has ended within some seconds."""
    end_of_time = time.monotonic() + seconds
    while True:
        found = docker.inspect(stack.copier)
        if found is None:
            raise CutoverError(f"the container {stack.copier} was removed", "Run this playbook again")
        if not found["State"]["Running"]:
            return True
        if time.monotonic() > end_of_time:
            return False
        time.sleep(0.2)


def describe(file: Path) -> str:
    """Return how far a copy is that runs."""
    try:
        progress = json.loads(file.read_text())
    except (OSError, ValueError):
        return "Both stores are being listed."
    left = progress["seconds_left"]
    return (
        f"{progress['files']} of {progress['total_files']} files, {readable_size(progress['bytes'])} of "
        f"{readable_size(progress['total_bytes'])}, {readable_size(progress['rate'])}/s"
    ) + ("" if left is None else f", {left:.0f} s left")


def conclude(stack: Stack) -> dict[str, Any]:
    """Return what the copy that has ended has done, and remove its container.

    Raises:
        CutoverError: It failed; what was copied until then is kept.
    """
    found = docker.inspect(stack.copier)
    code = found["State"]["ExitCode"] if found else 1
    output, errors = docker.logs(stack.copier)
    docker.remove(stack.copier)
    if code not in (0, INCOMPLETE):
        raise CutoverError(
            f"Copying stopped: {failure_of(output, errors)}",
            "What was copied until then is kept: run this playbook again",
        )
    try:
        report = json.loads(output[output.index("{") :])
    except ValueError as error:
        raise CutoverError(f"The copy has ended without a report: {failure_of(output, errors)}") from error
    failed = "".join(f" Not copied yet: {path}: {reason}." for path, reason in report["failed"].items())
    copied = report["copied"]
    return {
        "changed": copied["files"] > 0,
        "ended": True,
        "progress": (
            f"Copied {copied['files']} files ({readable_size(copied['bytes'])}) in {report['seconds']:.1f} s, found "
            f"{report['equal']['files']} to be there already.{failed}"
        ),
    }


def run(module: AnsibleModule) -> dict:
    """Start or join the copy, and wait."""
    options = module.params
    record = SwitchRecord.from_dict(options["record"])
    if module.check_mode or not record.copies:
        return {"changed": record.copies, "ended": True, "progress": ""}
    stack = Stack(settings_of(options))
    switch = Switch(stack, record)
    with locked(stack.settings.switches):
        require_state(stack, record)
        start(stack, switch, record, options)
        if wait(stack, options["seconds"]):
            return conclude(stack)
    return {"changed": True, "ended": False, "progress": describe(switch.work / "progress.json")}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **STACK_OPTIONS,
            "record": {"type": "dict", "required": True},
            "bandwidth": {"type": "int", "default": 0},
            "seconds": {"type": "int", "default": 1},
            "begin": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    end(module, lambda: run(module))


if __name__ == "__main__":
    main()
