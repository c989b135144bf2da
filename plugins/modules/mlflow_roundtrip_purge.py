#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: remove for good what artifact round trips left in MLflow."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_roundtrip_purge
short_description: Remove for good what artifact round trips left in MLflow
version_added: 0.1.0
author:
  - FreeGee engineering (@freegee)
description:
  - MLflow only marks runs and experiments as deleted. This removes the rows and artifacts of those that
    M(freegee.mlflow_sftp.mlflow_artifact_roundtrip) made and deleted, by the functions of C(mlflow gc), and of runs
    that one left that was killed an hour ago or earlier. Nothing that anybody else made is touched.
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

import os
import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._mlflow.database import (
    DATABASE_OPTIONS,
    open_database,
)

try:
    from mlflow_sftp.errors import StorageError
    from mlflow_sftp.operations.client_waits import shorten_waits
    from mlflow_sftp.operations.round_trip import purge

    LIBRARY_ERROR = None
except ImportError:
    LIBRARY_ERROR = traceback.format_exc()


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
    if LIBRARY_ERROR:
        module.fail_json(
            msg=missing_required_lib("mlflow, mlflow-sftp and sqlalchemy"), exception=LIBRARY_ERROR
        )
    shorten_waits(sftp=5, http=20)
    tracking_uri = module.params["tracking_uri"] or os.environ.get("MLFLOW_TRACKING_URI")
    if not tracking_uri:
        module.fail_json(
            msg="name the server: tracking_uri is not given, and MLFLOW_TRACKING_URI is not set here"
        )
    try:
        with open_database(module.params) as database:
            purged = purge(
                database, tracking_uri, destination=module.params["destination"], check=module.check_mode
            )
    except StorageError as error:
        module.fail_json(msg=f"What round trips left could not all be removed: {error}")
    module.exit_json(changed=any(purged), **purged._asdict())


if __name__ == "__main__":
    main()
