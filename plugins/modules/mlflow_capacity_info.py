#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: tell how much space there is for a stack."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_capacity_info
short_description: Tell how much space there is for a stack
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Asks, through the running MLflow server, the SFTP account, the volumes and the database, and the disk of the stack's
    directory, how much is free, and compares that with two limits.
  - What nobody tells is C(unknown), never 0.
  - Tells as well which versions run, since the server is asked already.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.attributes.read_only
  - freegee.mlflow_sftp.stack
options:
  warn:
    description:
      - Below which free space a place is C(low), as V(10%) of all there is, V(5G) or V(0).
    type: str
    default: 10%
  refuse:
    description:
      - Below which free space a place is C(full), so that no storage switch to there is begun.
    type: str
    default: 5%
  quota_bytes:
    description:
      - How many bytes the SFTP account may hold, where its server does not tell or tells of a disk that it shares. With
        one, all that the account holds is listed. V(0) is no quota.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Ask for the free space
  freegee.mlflow_sftp.mlflow_capacity_info:
    directory: /opt/mlflow-stack
    warn: 10%
    refuse: 5G
"""

RETURN = r"""
level:
  description: The worst of all places - C(full), C(low) or C(ok).
  returned: success
  type: str
places:
  description: Where the stack keeps something.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Of the place.
      type: str
    level:
      description: C(full), C(low), C(ok) or C(unknown).
      type: str
    free:
      description: Free bytes; none where nobody tells.
      type: int
    total:
      description: All bytes; none where nobody tells.
      type: int
    used:
      description: Bytes of what is the stack's; none where nobody has counted.
      type: int
    quota:
      description: Whether the quota says what is free.
      type: bool
    reason:
      description: Why nothing is known; empty where something is, or nobody says why.
      type: str
lines:
  description: The same for people.
  returned: success
  type: list
  elements: str
versions:
  description: Versions of MLflow and the Docker engine, and the images that run, as far as they answer.
  returned: success
  type: dict
  sample: {MLflow: 3.17.2, Docker engine: 26.1.5, images: "freegee/mlflow-server:1"}
findings:
  description: The places that are full or low, for people.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.capacity import (
    Limits,
    findings,
    worst,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import (
    STACK_OPTIONS,
    end,
    settings_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.space import places
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.versions import versions


def look(module: AnsibleModule) -> dict:
    """Return what was found."""
    options = module.params
    limits = Limits.parse(options["warn"], options["refuse"])
    stack = Stack(settings_of(options))
    found = places(stack, options["quota_bytes"])
    return {
        "level": worst(found, limits),
        "places": [{**vars(each), "level": each.level(limits)} for each in found],
        "lines": [str(each) for each in found],
        "versions": versions(stack),
        "findings": list(findings(found, limits, "full", "low")),
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **STACK_OPTIONS,
            "warn": {"type": "str", "default": "10%"},
            "refuse": {"type": "str", "default": "5%"},
            "quota_bytes": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    end(module, lambda: look(module))


if __name__ == "__main__":
    main()
