#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: remove for good what artifact round trips left in MLflow."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_roundtrip_purge
short_description: Remove for good what artifact round trips left in MLflow
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - MLflow only marks runs and experiments as deleted. This removes the rows and artifacts of runs that
    M(freegee.mlflow_sftp.mlflow_artifact_roundtrip) made and deleted, by the functions of C(mlflow gc), and of runs
    that one left that was killed an hour ago or earlier. Nothing that anybody else made is touched.
  - An experiment that round trips share stays, as one row. One that was made for a single round trip goes.
  - Runs where MLflow, C(mlflow_sftp) and the server's database are at hand, such as in the server's container.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.mlflow_database
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  tracking_uri:
    description:
      - Tracking server through which artifacts behind it are deleted. Defaults to the environment variable
        E(MLFLOW_TRACKING_URI).
    type: str
  destination:
    description:
      - The server's artifacts destination, where locations are C(mlflow-artifacts:/). Without it, the directories that
        MLflow leaves there empty stay.
    type: str
requirements:
  - mlflow >= 3.17
  - mlflow-sftp
  - sqlalchemy >= 2
seealso:
  - module: freegee.mlflow_sftp.mlflow_artifact_roundtrip
"""

EXAMPLES = r"""
- name: Remove what round trips left
  freegee.mlflow_sftp.mlflow_roundtrip_purge:
    tracking_uri: http://mlflow:5000
  delegate_to: mlflow_container
"""

RETURN = r"""
runs:
  description: How many runs were removed.
  returned: success
  type: int
experiments:
  description: How many experiments were removed.
  returned: success
  type: int
"""


from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._mlflow.database import (
    DATABASE_OPTIONS,
    open_database,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._mlflow.execute import execute
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._mlflow.server import tracking_uri


def run(module: AnsibleModule) -> dict:
    """Remove what is left, or count it."""
    from mlflow_sftp.light_import import import_mlflow

    import_mlflow()

    from mlflow_sftp.operations.client_waits import shorten_waits
    from mlflow_sftp.operations.purge import purge

    shorten_waits(sftp=5, http=20)
    options = module.params
    server = tracking_uri(options)
    with open_database(options) as database:
        purged = purge(database, server, destination=options["destination"], check=module.check_mode)
    return {"changed": any(purged), **purged._asdict()}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **DATABASE_OPTIONS,
            "tracking_uri": {"type": "str"},
            "destination": {"type": "str"},
        },
        supports_check_mode=True,
    )
    execute(module, lambda: run(module), "What round trips left could not all be removed")


if __name__ == "__main__":
    main()
