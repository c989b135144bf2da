#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: delete what piles up in the life of a stack."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_tidy
short_description: Delete what piles up in the life of a stack
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Deletes what is old and nothing needs any more, kind by kind, while MLflow serves. A kind that fails does not keep
    the others from being tidied; the module fails in the end.
  - What a version of a registered model leads to, what is restored meanwhile, and what an undo, a pruning or a cutover
    that is not settled still needs stays whatever its age.
  - In check mode, says what would be deleted, and why what is old enough stays.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.stack
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Shows what goes. Of files in stores and of runs, how many.
  idempotent:
    support: full
options:
  deleted_days:
    description:
      - For how many days runs, logged models and experiments have been deleted that are removed for good, rows and
        artifacts, as C(mlflow gc) does. With V(0), none is.
    type: int
    default: 0
  cutover_days:
    description:
      - How many days old records and backups of cutovers are, clusters of PostgreSQL that upgrades put aside, and
        images of the stack that are deleted. With V(0), none is.
    type: int
    default: 0
  quarantine_days:
    description:
      - How many days ago files were moved to the quarantine that are deleted. With V(0), none is.
    type: int
    default: 0
  download_days:
    description:
      - For how many days nothing has changed in what MLflow's server downloaded into its temporary directory, and which
        is deleted. With V(0), nothing is.
    type: int
    default: 0
  upload_days:
    description:
      - For how many days nobody has written to temporary files of uploads that are deleted in the store. With V(0),
        none is.
    type: int
    default: 0
  limit_hours:
    description:
      - After how many hours the tidying of a kind in the store is stopped, from 1 to 168. Meanwhile, no cutover of the
        stack can begin. The next call goes on.
    type: int
    default: 2
  clock_is_right:
    description:
      - Tidy up although more than 400 days have passed since the last time by the host's clock. Without it, that is
        refused, since the clock may have been set forward.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Delete what piles up
  freegee.mlflow_sftp.mlflow_tidy:
    directory: /opt/mlflow-stack
    deleted_days: 30
    cutover_days: 90
    quarantine_days: 90
    download_days: 1
    upload_days: 7
"""

RETURN = r"""
tidied:
  description: What went, or would in check mode, by kind - C(deleted), C(quarantine), C(uploads), C(downloads),
    C(cutovers), C(clusters) and C(images), without those that are not asked for.
  returned: success
  type: dict
  contains:
    count:
      description: How many went.
      type: int
    bytes:
      description: How much that was; none where nobody can tell. Layers that images share count for each of them.
      type: int
    names:
      description: Which, where they have names.
      type: list
      elements: str
    kept:
      description: What is old enough and stays, with the reason.
      type: dict
    error:
      description: Always empty.
      type: str
    needed:
      description: Of images, names or ids of those that stay on each host of the stack, with the reasons.
      type: dict
lines:
  description: The result for people.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import (
    STACK_OPTIONS,
    end,
    settings_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.module import (
    TIDY_OPTIONS,
    days_of,
    limit_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.outcome import as_result
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.tidy import require_all, tidy


def run(module: AnsibleModule) -> dict:
    """Delete what is old and superfluous."""
    days = days_of(module.params)
    limit = limit_of(module.params)
    stack = Stack(settings_of(module.params))
    trusted = module.params["clock_is_right"]
    outcomes = tidy(stack, days, limit, check=module.check_mode, clock_is_right=trusted)
    result = as_result(outcomes, module.check_mode)
    try:
        require_all(outcomes)
    except CutoverError as error:
        module.fail_json(msg=str(error), **result)
    return result


def main() -> None:
    """Run the module."""
    options = {**STACK_OPTIONS, **TIDY_OPTIONS, "clock_is_right": {"type": "bool", "default": False}}
    module = AnsibleModule(argument_spec=options, supports_check_mode=True)
    end(module, lambda: run(module))


if __name__ == "__main__":
    main()
