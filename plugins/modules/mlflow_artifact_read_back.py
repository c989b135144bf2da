#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: read runs and logged models back through MLflow and compare them byte for byte."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_artifact_read_back
short_description: Read artifacts back through MLflow and compare them
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Downloads artifacts of runs and of logged models through MLflow's own client, and compares every file with
    the SHA-256 that a O(manifest) remembers, or with the bytes that the store has, read past MLflow.
  - Of each run, the smallest file is also fetched from the server's own endpoint, as a browser does.
  - Those that have files are chosen evenly from the oldest to the newest. Deleted runs are among them; deleted
    logged models are not, as MLflow does not give them out.
  - Fails if anything differs or cannot be downloaded. Ends early when 20 problems were found.
  - Downloads four runs or models at a time, each to a temporary directory that is removed afterwards.
  - Runs where C(mlflow_sftp) is installed, such as in a container of the stack.
  - Unless they are set, E(MLFLOW_HTTP_REQUEST_MAX_RETRIES) is taken as 2 and E(MLFLOW_SFTP_RETRY_TIMEOUT) as 20,
    so that failures show soon.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.attributes.read_only
  - freegee.mlflow_sftp.mlflow_database
options:
  tracking_uri:
    description:
      - MLflow server to go through. Defaults to E(MLFLOW_TRACKING_URI).
    type: str
  root:
    description:
      - The artifact root as the database spells it.
    type: str
    required: true
  store:
    description:
      - Where O(root) is, a path or C(sftp://) URI, if O(root) does not say so itself, as C(mlflow-artifacts:/)
        does not.
    type: str
  manifest:
    description:
      - Manifest of a copy to the store. Every file it has must be there with its SHA-256.
      - What a run that is still running has overwritten since is compared with the store instead.
    type: path
  runs:
    description:
      - How many runs, and how many logged models, or V(all).
    type: raw
    default: 10
  working_directory:
    description:
      - Directory in which the MLflow server runs, if the database has relative locations.
    type: str
requirements:
  - mlflow
  - mlflow-sftp
  - sqlalchemy >= 2
seealso:
  - module: freegee.mlflow_sftp.mlflow_artifact_copy
  - module: freegee.mlflow_sftp.mlflow_artifact_roundtrip
"""

EXAMPLES = r"""
- name: Read ten runs and ten models back after a move
  freegee.mlflow_sftp.mlflow_artifact_read_back:
    root: sftp://me@sftp.example.org:2121/artifacts
    manifest: /mlflow/switch/manifest
  delegate_to: mlflow_container

- name: Read everything back through the proxy
  freegee.mlflow_sftp.mlflow_artifact_read_back:
    root: mlflow-artifacts:/
    store: sftp://me@sftp.example.org:2121/artifacts
    runs: all
  delegate_to: mlflow_container
"""

RETURN = r"""
runs:
  description: Number of runs that were read back.
  returned: success, or failure because of problems
  type: int
models:
  description: Number of logged models that were read back.
  returned: success, or failure because of problems
  type: int
files:
  description: Number of files that were compared.
  returned: success, or failure because of problems
  type: int
bytes:
  description: Their size in bytes.
  returned: success, or failure because of problems
  type: int
problems:
  description: What MLflow does not give back as it was. An empty path stands for the whole run or model.
  returned: success, or failure because of problems
  type: list
  elements: dict
  sample: [{run_id: abc, path: plot.png, cause: MLflow's client did not deliver it}]
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._mlflow.database import (
    DATABASE_OPTIONS,
    open_database,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._mlflow.execute import execute
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._mlflow.server import tracking_uri

NAMED_PROBLEMS = 3


def count(value: object) -> int | None:
    """Return the number that O(runs) means, None for all.

    Raises:
        ValueError: It means none.
    """
    if value == "all":
        return None
    number = int(str(value))
    if number < 1:
        raise ValueError
    return number


def run(module: AnsibleModule) -> dict:
    """Read back what the options ask for."""
    from mlflow_sftp.operations.client_waits import shorten_waits
    from mlflow_sftp.operations.read_back import read_back

    shorten_waits(sftp=20)
    options = module.params
    server = tracking_uri(options)
    try:
        runs = count(options["runs"])
    except ValueError:
        module.fail_json(msg=f"runs must be a number above 0, or all, and is {options['runs']!r}")
    with open_database(options) as database:
        found = read_back(
            database,
            options["root"],
            server,
            store=options["store"],
            manifest=options["manifest"] and Path(options["manifest"]),
            runs=runs,
            working_directory=options["working_directory"],
        )
    result = {"changed": False, **found.as_dict()}
    if result["problems"]:
        module.fail_json(msg=message(result), **result)
    return result


def message(result: dict) -> str:
    """Return the first problems as one line."""
    problems = result["problems"]
    named = "; ".join(" ".join(filter(None, problem.values())) for problem in problems[:NAMED_PROBLEMS])
    return f"Artifacts are not as they were, {len(problems)} problems: {named}"


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **DATABASE_OPTIONS,
            "tracking_uri": {"type": "str"},
            "root": {"type": "str", "required": True},
            "store": {"type": "str"},
            "manifest": {"type": "path"},
            "runs": {"type": "raw", "default": 10},
            "working_directory": {"type": "str"},
        },
        supports_check_mode=True,
    )
    execute(module, lambda: run(module), "Reading artifacts back failed")


if __name__ == "__main__":
    main()
