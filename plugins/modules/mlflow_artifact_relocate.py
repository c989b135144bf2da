#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: change the root of every artifact location in MLflow's database, or undo that."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_artifact_relocate
short_description: Change the root of artifact locations in MLflow's database
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Changes every artifact location below one root to lie below another, of experiments, runs, logged models,
    model versions, traces and workspaces, deleted ones included, in one transaction. Files are not touched.
  - A journal with every old and new value is on disk before the database is changed. With it, the change can
    be undone, and after a crash it can be told whether it took place.
  - Values too long for their column, and others that cannot be changed, make it fail before it begins.
  - Stop the MLflow server first. The module waits 30 seconds for other writers, then fails.
  - Runs where C(mlflow_sftp) is installed, such as in a container of the stack.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.mlflow_database
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Shows up to 500 values.
  idempotent:
    support: full
options:
  state:
    description:
      - With V(relocated), locations below O(src) are changed to lie below O(dest).
      - With V(undone), every row of O(journal) gets its old value back.
      - With V(redone), every row of O(journal), undone before, gets its new value again.
      - Neither touches rows written since, and both fail, having changed nothing, if a row of O(journal) has a
        third value, because something else changed it since.
    type: str
    choices: [relocated, undone, redone]
    default: relocated
  src:
    description:
      - The old root. Further entries are other spellings of the same place that do not say so themselves,
        such as another port or host name.
      - A path, C(file:), C(sftp://) or C(mlflow-artifacts:/) URI. A path and its C(file:) URIs are one place.
      - Required with O(state=relocated).
    type: list
    elements: str
  dest:
    description:
      - The new root, spelled as the new values shall be.
      - Required with O(state=relocated).
    type: str
  journal:
    description:
      - File for the journal. An existing one must be of the same change, after a crash or a success.
    type: path
    required: true
  backup_file:
    description:
      - Where to put a copy of the database first, of SQLite or, with C(pg_dump), of PostgreSQL.
      - Without it, no copy is made.
    type: path
  experiments:
    description:
      - Ids of experiments to keep to, with all that belongs to them.
    type: list
    elements: int
  new_runs_only:
    description:
      - Whether to only change where MLflow will put artifacts of new runs.
    type: bool
    default: false
  working_directory:
    description:
      - Directory in which the MLflow server runs, if the database has relative locations.
    type: str
  skip_blocked:
    description:
      - Whether to leave locations that cannot be changed where they are, instead of failing.
    type: bool
    default: false
requirements:
  - mlflow-sftp
  - sqlalchemy >= 2
seealso:
  - module: freegee.mlflow_sftp.mlflow_artifact_copy
  - module: freegee.mlflow_sftp.mlflow_storage_info
"""

EXAMPLES = r"""
- name: Follow the artifacts to the SFTP server
  freegee.mlflow_sftp.mlflow_artifact_relocate:
    src: /mlruns
    dest: sftp://me@sftp.example.org:2121/artifacts
    journal: /mlflow/switch/journal
    backup_file: /mlflow/switch/mlflow.db
  delegate_to: mlflow_container

- name: And back
  freegee.mlflow_sftp.mlflow_artifact_relocate:
    state: undone
    journal: /mlflow/switch/journal
  delegate_to: mlflow_container
"""

RETURN = r"""
rows:
  description: Number of values that were changed, or would be in check mode.
  returned: success
  type: int
tables:
  description: For each column, the number of values by what happens to them.
  returned: with O(state=relocated), if the change did not take place in an earlier call
  type: dict
  sample: {runs.artifact_uri: {move: 12, elsewhere: 1}}
blocked:
  description: Values that are left as they are although they are, or may be, below the old root.
  returned: with O(state=relocated), if the change did not take place in an earlier call
  type: list
  elements: dict
  sample:
    - table: runs
      column: artifact_uri
      key: {run_uuid: abc}
      value: /mlruns/../x
      reason: the path holds '..'
      ambiguous: false
report_only:
  description: Number of other values that mention the old root, which MLflow does not follow, by column.
  returned: with O(state=relocated) in check mode
  type: dict
  sample: {datasets.dataset_source: 2}
directories:
  description: Directories below the old root that hold the artifacts of what changes, none inside another.
  returned: with O(state=relocated), if the change did not take place in an earlier call
  type: list
  elements: str
  sample: ["1", "2/models"]
already_moved:
  description:
    - Directories below the new root where runs, models and traces are already. What the old root has under these
      names are leftovers, to be left out of a copy.
  returned: with O(state=relocated), if the change did not take place in an earlier call
  type: list
  elements: str
  sample: ["3/0123456789abcdef0123456789abcdef/artifacts"]
gone:
  description: Number of rows of the journal that no longer exist.
  returned: with O(state=undone) and O(state=redone)
  type: int
backup_file:
  description: The copy of the database.
  returned: if one was made
  type: str
"""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._mlflow.database import (
    DATABASE_OPTIONS,
    open_database,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._mlflow.execute import execute

if TYPE_CHECKING:
    from mlflow_sftp.database.database import Database
    from mlflow_sftp.operations import relocate

MOST_DIFF_LINES = 500


def diff(moves: list) -> dict:
    """Return old and new values, for Ansible to show."""
    from mlflow_sftp.uri import redact

    shown = moves[:MOST_DIFF_LINES]
    rest = f"... and {len(moves) - len(shown)} more\n" if len(moves) > len(shown) else ""
    lines = [(f"{move.table}.{move.column} {move.key}: ", move) for move in shown]
    return {
        "before": "".join(f"{start}{redact(move.old)}\n" for start, move in lines) + rest,
        "after": "".join(f"{start}{redact(move.new)}\n" for start, move in lines) + rest,
    }


def replay(module: AnsibleModule, database: Database) -> dict:
    """Give the rows of the journal their old or new values."""
    from mlflow_sftp.operations import relocate

    play = {"undone": relocate.undo, "redone": relocate.redo}[module.params["state"]]
    done = play(database, Path(module.params["journal"]), check=module.check_mode)
    return {"changed": done.changed, "rows": done.rows, "gone": done.gone, "diff": diff(list(done.moves))}


def preview(module: AnsibleModule, database: Database, request: relocate.Request) -> dict:
    """Return what `change` would."""
    from mlflow_sftp.operations import relocate

    found = relocate.preview(
        database, request, Path(module.params["journal"]), skip_blocked=module.params["skip_blocked"]
    )
    mentions = relocate.scan(database, request.old, request.working_directory)
    counted = Counter(f"{m.table}.{m.column}" for m in mentions if m.kind == "report_only")
    return {**describe(found, request), "report_only": dict(counted)}


def change(module: AnsibleModule, database: Database, request: relocate.Request) -> dict:
    """Change the locations."""
    from mlflow_sftp.operations import relocate

    backup_file = module.params["backup_file"]
    done = relocate.apply(
        database,
        request,
        Path(module.params["journal"]),
        backup=backup_file and Path(backup_file),
        skip_blocked=module.params["skip_blocked"],
    )
    result = describe(done.plan, request)
    if done.backup:
        result["backup_file"] = str(done.backup)
    return result


def describe(plan: relocate.Plan, request: relocate.Request) -> dict:
    """Return a plan as the module documents it."""
    summary = plan.as_dict(rows=False)
    result = {"changed": bool(plan.moves), "rows": len(plan.moves), "diff": diff(plan.moves)}
    if plan.counts:
        result.update(
            tables=summary["tables"],
            blocked=summary["blocked"],
            directories=plan.directories_below(request),
            already_moved=sorted(plan.already_moved),
        )
    return result


def run(module: AnsibleModule) -> dict:
    """Do what the options ask for."""
    from mlflow_sftp.operations import relocate

    options = module.params
    with open_database(options) as database:
        if options["state"] != "relocated":
            return replay(module, database)
        experiments = options["experiments"]
        request = relocate.Request(
            old=tuple(options["src"]),
            new=options["dest"],
            experiments=None if experiments is None else tuple(experiments),
            new_runs_only=options["new_runs_only"],
            working_directory=options["working_directory"],
        )
        return (preview if module.check_mode else change)(module, database, request)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **DATABASE_OPTIONS,
            "state": {"type": "str", "choices": ["relocated", "undone", "redone"], "default": "relocated"},
            "src": {"type": "list", "elements": "str"},
            "dest": {"type": "str"},
            "journal": {"type": "path", "required": True},
            "backup_file": {"type": "path"},
            "experiments": {"type": "list", "elements": "int"},
            "new_runs_only": {"type": "bool", "default": False},
            "working_directory": {"type": "str"},
            "skip_blocked": {"type": "bool", "default": False},
        },
        required_if=[("state", "relocated", ["src", "dest"])],
        supports_check_mode=True,
    )
    execute(module, lambda: run(module), "The locations were not changed")


if __name__ == "__main__":
    main()
