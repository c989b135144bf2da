#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: plan a move of MLflow's database."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_database_move_plan
short_description: Plan a move of MLflow's database
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Finds out how many rows a move would copy and whether the next database can hold all of them, refuses a move that
    could not succeed, writes its record, and begins the directory of the stack's next files, C(switches/ID/next) below
    O(directory). Both databases stay as they are.
  - For the stack's own PostgreSQL, one without any data is started in memory, asked, and removed again.
  - What an earlier move has prepared that ended before it closed MLflow, as by a power cut, is removed first.
  - In check mode, an image that has yet to be built is no error, and the plan says what is not known.
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
      - The move, as M(freegee.mlflow_sftp.mlflow_database_move_info) returns it.
    type: dict
    required: true
  database_uri:
    description:
      - URI of the PostgreSQL database to move to, where that is not the stack's own.
    type: str
    default: ""
  postgres_image:
    description:
      - Image of the stack's own PostgreSQL, where the database moves there.
    type: str
    default: ""
  restart_seconds:
    description:
      - How long closing MLflow and opening it again takes, for the estimate.
    type: int
    default: 15
"""

EXAMPLES = r"""
- name: Plan the move to the stack's own PostgreSQL
  freegee.mlflow_sftp.mlflow_database_move_plan:
    directory: /opt/mlflow-stack
    record: "{{ decision.record }}"
    postgres_image: freegee/postgresql:0123456789abcdef
  register: plan
"""

RETURN = r"""
record:
  description: The move.
  returned: success
  type: dict
lines:
  description: The plan for people.
  returned: success
  type: list
  elements: str
"""

import shutil
from collections.abc import Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.look import look_with
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.lock import locked
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import (
    STACK_OPTIONS,
    end,
    settings_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move import plan
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.decisions import to_give_up
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.look import (
    database_of,
    would_copy,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.operations import Move
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.pruning import (
    ended_early,
    give_up,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.record import (
    MoveRecord,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import load_all
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack


def find_out(stack: Stack, record: MoveRecord, options: Mapping) -> plan.Findings:
    """Ask both databases."""
    schema, known, size = look_with(stack, stack.project.image)
    plan.require_schema(schema)
    target = record.target
    uri = target.place if target.is_sqlite else options["database_uri"]
    return plan.Findings(
        schema=schema,
        known=known,
        bytes=size,
        copy=would_copy(stack, target, uri, options["postgres_image"]),
        free_bytes=free_bytes() if target.is_service else None,
        volume=volume_in_the_way(stack) if target.is_service else "",
        restart_seconds=options["restart_seconds"],
    )


def free_bytes() -> int | None:
    """Return what is free where the engine keeps volumes; None where nobody can tell from here."""
    root = docker.root_directory()
    return shutil.disk_usage(root).free if root is not None else None


def volume_in_the_way(stack: Stack) -> str:
    """Return the volume of the stack's own PostgreSQL, if there is one that no move has made that ended early."""
    records = load_all(stack.settings.switches)
    begun = to_give_up(database_of(stack), records)
    if any(move.made_volume for move in begun) or not docker.has("volume", stack.postgres_volume):
        return ""
    return stack.postgres_volume


def run(module: AnsibleModule) -> dict:
    """Plan the move."""
    options = module.params
    stack = Stack(settings_of(options))
    record = MoveRecord.from_dict(options["record"])
    if stack.settings.switches.exists() and not module.check_mode:
        with locked(stack.settings.switches):
            for begun in ended_early(stack):
                give_up(stack, begun)
    found = find_out(stack, record, options)
    plan.require_movable(record, found)
    if not module.check_mode:
        Move(stack, record).keep_plan(record)
    return {
        "changed": True,
        "record": record.as_dict(),
        "lines": plan.describe(record, found),
        "diff": {"before": f"database: {record.source}\n", "after": f"database: {record.target}\n"},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **STACK_OPTIONS,
            "record": {"type": "dict", "required": True},
            "database_uri": {"type": "str", "default": "", "no_log": True},
            "postgres_image": {"type": "str", "default": ""},
            "restart_seconds": {"type": "int", "default": 15},
        },
        supports_check_mode=True,
    )
    end(module, lambda: run(module))


if __name__ == "__main__":
    main()
