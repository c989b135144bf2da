#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: delete what piles up on a node of a swarm."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_tidy_node
short_description: Delete what piles up on a node of a swarm
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - On a node of a swarm that serves a stack, other than the stack's home, deletes what its servers have downloaded into
    their temporary directories, and images of the stack that are old and nothing needs any more.
    M(freegee.mlflow_sftp.mlflow_tidy) does everything else, on the home, and tells which images are needed.
  - In check mode, says what would be deleted, and why what is old enough stays.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Shows what goes. Of files, how many.
  idempotent:
    support: full
options:
  directory:
    description:
      - The stack's directory on its home, by which images know whose they are.
    type: path
    required: true
  project:
    description:
      - The stack's project, with which the names of its services begin.
    type: str
    required: true
  needed:
    description:
      - Names or ids of the images that stay whatever their age, each with the reason, as
        M(freegee.mlflow_sftp.mlflow_tidy) returns them for C(images). Without any, all images stay, since nobody has
        told.
    type: dict
    default: {}
  refused:
    description:
      - Why M(freegee.mlflow_sftp.mlflow_tidy) has tidied nothing on the home, as where a cutover is half done. Then
        nothing is deleted here either, and the result says so. Empty where it has tidied.
    type: str
    default: ""
  cutover_days:
    description:
      - How many days old images of the stack are that are deleted. With V(0), none is.
    type: int
    default: 0
  download_days:
    description:
      - For how many days nothing has changed in what a server downloaded into its temporary directory, and which is
        deleted. With V(0), nothing is.
    type: int
    default: 0
  limit_hours:
    description:
      - After how many hours the tidying of downloads is stopped, from 1 to 168. The next call goes on.
    type: int
    default: 2
requirements:
  - docker (client of the engine)
"""

EXAMPLES = r"""
- name: Delete what piles up on a node
  freegee.mlflow_sftp.mlflow_tidy_node:
    directory: /opt/mlflow-stack
    project: mlflow
    needed: "{{ hostvars['one.example.net'].tidied.tidied.images.needed }}"
    cutover_days: 90
    download_days: 1
"""

RETURN = r"""
tidied:
  description: What went, or would in check mode, by kind - C(downloads) and C(images), without those that are not
    asked for.
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
      description: Always empty.
      type: dict
lines:
  description: The result for people.
  returned: always
  type: list
  elements: str
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import end
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.asking import Manner
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.module import (
    TIDY_OPTIONS,
    days_of,
    limit_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.node import Home, tidy_node
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.outcome import as_result
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._tidy.tidy import require_all

_OPTIONS = ("cutover_days", "download_days", "limit_hours")


def run(module: AnsibleModule) -> dict:
    """Delete what is old and superfluous."""
    given = module.params
    home = Home(Path(given["directory"]), given["project"], given["needed"], given["refused"])
    days = days_of({**dict.fromkeys(TIDY_OPTIONS, 0), **{name: given[name] for name in _OPTIONS}})
    outcomes = list(tidy_node(home, days, Manner(limit_of(given), module.check_mode)))
    result = as_result(outcomes, module.check_mode)
    try:
        require_all(outcomes)
    except CutoverError as error:
        module.fail_json(msg=str(error), **result)
    return result


def main() -> None:
    """Run the module."""
    options = {
        "directory": {"type": "path", "required": True},
        "project": {"type": "str", "required": True},
        "needed": {"type": "dict", "default": {}},
        "refused": {"type": "str", "default": ""},
        **{name: TIDY_OPTIONS[name] for name in _OPTIONS},
    }
    module = AnsibleModule(argument_spec=options, supports_check_mode=True)
    end(module, lambda: run(module))


if __name__ == "__main__":
    main()
