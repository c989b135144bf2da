#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: delete the old copy that a storage switch left."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_storage_prune
short_description: Delete the old copy that a storage switch left
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Deletes, file by file, what the last switches copied to the deployed store, where that proves to hold the same
    bytes now. With the account that was left, its own credentials from before the switch are used.
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
"""

EXAMPLES = r"""
- name: Delete the old copy
  freegee.mlflow_sftp.mlflow_storage_prune:
    directory: /opt/mlflow-stack
"""

RETURN = r"""
deleted:
  description: Files and bytes that were deleted, or would be in check mode.
  returned: success
  type: dict
  sample: {files: 120, bytes: 1048576}
kept:
  description: The first hundred files that stay, with the reason.
  returned: success
  type: dict
message:
  description: The result for people.
  returned: success
  type: str
"""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import files
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.lock import locked
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import (
    STACK_OPTIONS,
    end,
    settings_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import (
    INCOMPLETE,
    running_program,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import (
    PRUNED,
    load_all,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.sizes import (
    readable_size,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import (
    Stack,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.decisions import (
    copies,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.switch.record import (
    SwitchRecord,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy import in_store

# Where the tool has what tidying up has noted.
REMOVED = "/var/lib/mlflow-removed"


def noted(stack: Stack) -> Path | None:
    """Return the file in which tidying up has noted what went, if there is one."""
    path = stack.settings.directory / in_store.HOME / in_store.TOOLS / in_store.REMOVED
    return path if path.exists() else None


def account_in_use(stack: Stack, client: Path) -> list[str]:
    """Return the volumes with the account in use, configured as for the switch and with the key that it has by now."""
    config, _ = stack.credentials(client, "_next")
    _, key = stack.credentials(suffix="_next")
    return [config, key]


@contextlib.contextmanager
def tool(stack: Stack, copied: list[SwitchRecord]) -> Iterator[None]:
    """Run a tool container that has the directories of the copies, and the credentials of the account that was left."""
    last = copied[-1]
    directory = stack.settings.switches / last.id
    works = [str(stack.settings.switches / record.id / "work") for record in copied]
    volumes = [f"{work}:{work}:z" for work in works]
    if noted(stack):
        volumes.append(f"{noted(stack)}:{REMOVED}:ro,z")
    if not last.second_account:
        stack.start_tool(stack.tool, [*volumes, *stack.credentials()])
        yield
        return
    with tempfile.TemporaryDirectory(dir=directory) as left:
        files.extract(directory / "before.tar", Path(left))
        stack.configure_both_accounts(directory / "work" / "ssh_config")
        accounts = [*stack.credentials(Path(left)), *account_in_use(stack, directory / "client")]
        stack.start_tool(stack.tool, [*volumes, *accounts], ssh_config=f"{works[-1]}/ssh_config")
        yield


def run(module: AnsibleModule) -> dict:
    """Delete what is proved to be superfluous."""
    stack = Stack(settings_of(module.params))
    copied = copies(load_all(stack.settings.switches), stack.store)
    last = copied[-1]
    manifests = [
        word
        for record in copied
        for word in ("--manifest", str(stack.settings.switches / record.id / "work" / "manifest.db"))
    ]
    removed = ["--removed", REMOVED] if noted(stack) else []
    check = ["--check"] if module.check_mode else []
    with locked(stack.settings.switches), tool(stack, copied), running_program(stack.tool) as program:
        stack.end_tidying()
        done = program.call(
            "prune", last.source.uri, last.target.uri, *manifests, *removed, *check, accepted=(0, INCOMPLETE)
        )
    if not module.check_mode and not done["kept_copied"]:
        # What tidies up may then give up the records that this has needed.
        for record in copied:
            (stack.settings.switches / record.id / PRUNED).touch(mode=0o600)
    deleted, before = done["deleted"], done["kept_files"] + done["deleted"]["files"]
    kept = "".join(f" Kept {path}: {reason}." for path, reason in done["kept"].items())
    would = "Would delete" if module.check_mode else "Deleted"
    return {
        "changed": deleted["files"] > 0,
        "deleted": deleted,
        "kept": done["kept"],
        "message": f"{would} {deleted['files']} files ({readable_size(deleted['bytes'])}) at {last.source.uri}.{kept}",
        "diff": {"before": f"{before} files\n", "after": f"{done['kept_files']} files\n"},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=STACK_OPTIONS, supports_check_mode=True)
    end(module, lambda: run(module))


if __name__ == "__main__":
    main()
