# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the options of modules that decide about a cutover, or carry it out."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of a cutover: module_utils/_cutover/module.py declares them."""

    DOCUMENTATION = r"""
options:
  state:
    description:
      - Whether to bring the cutover to its end, or to go back to the state before.
    type: str
    choices: [done, undone]
    default: done
  record:
    description:
      - The cutover, as its plan returns it.
    type: dict
    required: true
  experiment:
    description:
      - Experiment of the round trips.
    type: str
    default: mlflow-sftp-verify
  verify_runs:
    description:
      - How many old runs are read back and compared, or V(all). Ten at most while MLflow is closed, the others
        afterwards.
    type: str
    default: "10"
  stop_jobs:
    description:
      - Stop running jobs. Otherwise they stop the cutover before MLflow is closed.
    type: bool
    default: false
  wait_timeout:
    description:
      - Seconds within which services must be healthy.
    type: int
    default: 180
"""

    DISCARD = r"""
options:
  discard:
    description:
      - Go back also where something was logged since, which the database from before does not know.
    type: bool
    default: false
"""

    CHOICE = r"""
options:
  resume:
    description:
      - What to do with a cutover that was interrupted.
    type: str
    choices: ["", finish, undo]
    default: ""
  undo:
    description:
      - Undo the last one.
    type: bool
    default: false
"""
