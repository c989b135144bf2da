#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: plan a storage switch."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_storage_switch_plan
short_description: Plan a storage switch
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Finds out what a switch would copy and change, refuses one that could not succeed, writes its record, and begins
    the directory of the stack's next files, C(switches/ID/next) below O(directory). Stores and database stay as they
    are.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.stack
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: none
    details:
      - Each call writes the record.
options:
  record:
    description:
      - The switch, as M(freegee.mlflow_sftp.mlflow_storage_switch_info) returns it.
    type: dict
    required: true
  restart_seconds:
    description:
      - How long closing MLflow and opening it again takes, for the estimate.
    type: int
    default: 20
  capacity_refuse:
    description:
      - What has to stay free beside what is needed, as C(5%) of all there is or C(5G). With less, nothing is begun.
      - Where nobody tells how much is free, nothing is refused.
    type: str
    default: "0"
  quota_bytes:
    description:
      - How many bytes the SFTP account may hold, where its server does not tell or tells of a disk that it shares.
        V(0) is no quota.
    type: int
    default: 0
  replicas:
    description:
      - How many servers the inventory asks a swarm for. One that has another number is refused; V(0) compares nothing.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Plan the switch
  freegee.mlflow_sftp.mlflow_storage_switch_plan:
    directory: /opt/mlflow-stack
    record: "{{ decision.record }}"
  register: plan
"""

RETURN = r"""
record:
  description: The switch, with what the plan has found.
  returned: success
  type: dict
lines:
  description: The plan for people.
  returned: success, or failure because of what was found
  type: list
  elements: str
others:
  description: SFTP accounts that rows lead to after the switch, besides the new store.
  returned: success
  type: list
  elements: str
"""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.capacity import Amount, Place
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.lock import locked
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import (
    STACK_OPTIONS,
    end,
    settings_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import (
    INCOMPLETE,
    Program,
    running_program,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import (
    Stack,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch import plan
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.operations import (
    Switch,
    copy_arguments,
    relocate_arguments,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.record import (
    SwitchRecord,
)

MOST_DIFF_LINES = 500


def find_out(
    program: Program, record: SwitchRecord, restart_seconds: int, check: bool
) -> tuple[SwitchRecord, plan.Findings]:
    """Ask both stores and the database, and return the record with the directories that move."""
    present = program.call("info", record.source.uri)
    rows = None
    if record.moves_rows:
        accepted = (0, INCOMPLETE)
        rows = program.call("relocate", "plan", "--rows", *relocate_arguments(record), accepted=accepted)
    record = plan.narrowed(record, rows)
    target = files = None
    if record.moves_files:
        # In check mode the account may not be provisioned yet.
        with contextlib.suppress(CutoverError) if check else contextlib.nullcontext():
            target = program.call("info", record.target.uri)["store"]
    if record.copies and target is not None:
        files = program.call(*copy_arguments(record), "--check", accepted=(0, INCOMPLETE))
    return record, plan.Findings(present["database"], present["store"], target, rows, files, restart_seconds)


def with_limits(found: plan.Findings, stack: Stack, options: dict) -> plan.Findings:
    """Add what has to stay free, and how much is free for the backup of the database."""
    disk = shutil.disk_usage(stack.settings.directory)
    return replace(
        found,
        host=Place("the stack's directory", disk.free, disk.total),
        refuse=Amount.parse(options["capacity_refuse"], "mlflow_stack_capacity_refuse"),
        quota_bytes=options["quota_bytes"],
    )


def diff(rows: Any) -> dict[str, str]:
    """Return old and new locations, for Ansible to show."""
    moves = rows["moves"] if rows else []
    rest = f"... and {len(moves) - MOST_DIFF_LINES} more\n" if len(moves) > MOST_DIFF_LINES else ""
    lines = [(f"{move['table']}.{move['column']} {move['key']}: ", move) for move in moves[:MOST_DIFF_LINES]]
    return {
        "before": "".join(f"{start}{move['old']}\n" for start, move in lines) + rest,
        "after": "".join(f"{start}{move['new']}\n" for start, move in lines) + rest,
    }


@contextlib.contextmanager
def prepared(module: AnsibleModule, stack: Stack, switch: Switch, record: SwitchRecord) -> Iterator[Program]:
    """Run the program beside whatever goes on; in check mode, it can write nothing of the switch."""
    with contextlib.ExitStack() as held:
        volumes, ssh_config = stack.credentials(), ""
        if not module.check_mode:
            switch.make_directories(record)
            held.enter_context(locked(stack.settings.switches))
            volumes, ssh_config = switch.volumes(), switch.ssh_config
        stack.start_tool(stack.planner, volumes, ssh_config=ssh_config)
        yield held.enter_context(running_program(stack.planner, "relocate", "copy", "info"))


def require_images(stack: Stack) -> None:
    """Refuse a stack that could not be started again.

    Raises:
        RefusedError: An image is gone.
    """
    for image in stack.project.images:
        try:
            docker.run("image", "inspect", "--format={{.Id}}", image)
        except CutoverError as error:
            raise RefusedError(
                f"The image {image} of the stack is not there: {error.seen}", "Run site.yml first"
            ) from error


def run(module: AnsibleModule) -> dict:
    """Plan the switch."""
    options = module.params
    # Before anything is asked.
    Amount.parse(options["capacity_refuse"], "mlflow_stack_capacity_refuse")
    stack = Stack(settings_of(options))
    require_images(stack)
    record = SwitchRecord.from_dict(options["record"])
    switch = Switch(stack, record)
    switch.require_steady(record, options["replicas"])
    with prepared(module, stack, switch, record) as program:
        record, found = find_out(program, record, options["restart_seconds"], module.check_mode)
        found = with_limits(found, stack, options)
        lines = plan.describe(record, found)
        try:
            record = plan.planned(record, found)
        except CutoverError as error:
            module.fail_json(msg=str(error), lines=lines)
        if not module.check_mode:
            switch.make_next_directory(record)
            switch.write(record)
    return {
        "changed": True,
        "record": record.as_dict(),
        "lines": lines,
        "others": list(record.accounts),
        "diff": diff(found.rows) if module.check_mode else {"before": "", "after": ""},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **STACK_OPTIONS,
            "record": {"type": "dict", "required": True},
            "restart_seconds": {"type": "int", "default": 20},
            "capacity_refuse": {"type": "str", "default": "0"},
            "quota_bytes": {"type": "int", "default": 0},
            "replicas": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    end(module, lambda: run(module))


if __name__ == "__main__":
    main()
