#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: remove the databases that moves left."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_database_prune
short_description: Remove the databases that moves left
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Removes each database that a move of MLflow's database left where it was, the one before or, after a way back, the
    one that was given up. The stack's own PostgreSQL goes with its volume, SQLite with its file; of any other
    PostgreSQL, MLflow's tables go. The deployed database is never touched.
  - What a move has prepared that ended before it closed MLflow, as by a power cut, goes as well.
  - A database of one's own to which somebody has logged since, or is connected, stays, and so does one that holds
    what is not MLflow's or cannot be reached. The others are removed nevertheless; the module fails in the end.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.stack
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  discard:
    description:
      - Remove also a database that holds what came in before a move was undone, and which MLflow's database does not
        know.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Remove what moves of the database left
  freegee.mlflow_sftp.mlflow_database_prune:
    directory: /opt/mlflow-stack
"""

RETURN = r"""
databases:
  description: Those that were removed, or would be in check mode, without passwords.
  returned: always
  type: list
  elements: str
  sample: ["sqlite:////var/lib/mlflow/mlflow.db"]
stays:
  description: What could not be removed, with the reason. In check mode, no database is asked.
  returned: always
  type: dict
  sample: {}
message:
  description: The result for people.
  returned: always
  type: str
"""

import contextlib

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.lock import locked
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import (
    STACK_OPTIONS,
    end,
    settings_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.decisions import to_prune
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.look import database_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.move.pruning import (
    ended_early,
    prune_all,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import load_all
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack


def run(module: AnsibleModule) -> dict:
    """Remove what nobody uses any more."""
    settings = settings_of(module.params)
    # Nobody moves the database between the question and the removal; where nothing was moved, there is no lock.
    removing = settings.switches.exists() and not module.check_mode
    with locked(settings.switches) if removing else contextlib.nullcontext():
        stack = Stack(settings)
        left = to_prune(database_of(stack), load_all(settings.switches))
        begun = ended_early(stack)
        pruned = prune_all(stack, left, begun, discard=module.params["discard"], check=not removing)
    result = {
        "changed": bool(pruned.gone),
        "databases": list(pruned.places),
        "stays": dict(pruned.stays),
        "message": pruned.message(check=module.check_mode),
        "diff": {"before": "".join(f"{place}\n" for place in pruned.places), "after": ""},
    }
    if pruned.stays:
        module.fail_json(msg=result["message"], **result)
    return result


def main() -> None:
    """Run the module."""
    options = {**STACK_OPTIONS, "discard": {"type": "bool", "default": False}}
    module = AnsibleModule(argument_spec=options, supports_check_mode=True)
    end(module, lambda: run(module))


if __name__ == "__main__":
    main()
