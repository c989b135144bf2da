#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: compare a stack's database with the MLflow of an image."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_schema_info
short_description: Compare a stack's database with the MLflow of an image
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Asks the MLflow of an image, in a container of it, whether its schema is that of the deployed stack's database,
    which is not touched. MLflow itself would migrate some databases when it starts, without a way back, and not
    start on others.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.attributes.read_only
  - freegee.mlflow_sftp.stack
options:
  image:
    description:
      - Image of an MLflow server of this collection.
    type: str
    required: true
  postgres_image:
    description:
      - The next image of the stack's PostgreSQL, where it has one.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Compare the database with the next image
  freegee.mlflow_sftp.mlflow_schema_info:
    directory: /opt/mlflow-stack
    image: freegee/mlflow-server:0123456789abcdef
  register: compared
"""

RETURN = r"""
unknown:
  description: In check mode, which images are not there to be asked; empty where all are.
  returned: success
  type: str
schema:
  description: What was found; empty where there is no database yet, or nobody could be asked.
  returned: success
  type: dict
  contains:
    mlflow:
      description: Version of the image's MLflow.
      type: str
    state:
      description: V(empty), V(current), V(behind), V(unknown), V(several) or V(broken).
      type: str
    database:
      description: Revisions that the database names.
      type: list
      elements: str
    heads:
      description: Revisions that the image's MLflow needs.
      type: list
      elements: str
    steps:
      description: How many revisions lie between, where that is known.
      type: int
    left_over:
      description: Tables of a migration that did not end.
      type: list
      elements: str
    login:
      description: The same of the tables of MLflow's login, V(none), V(current), V(behind) or V(unknown).
      type: str
    login_database:
      description: Revisions that these have.
      type: list
      elements: str
findings:
  description: Why MLflow cannot start on this database with that image, and what to do; empty where it can.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.look import schema_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.schema import (
    require_current,
    require_same_postgres,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.module import (
    STACK_OPTIONS,
    end,
    settings_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.upgrade.images import (
    look_into,
    postgres_version,
)


def look(module: AnsibleModule) -> dict:
    """Return what was found."""
    image, postgres_image = module.params["image"], module.params["postgres_image"]
    missing = [each for each in (image, postgres_image) if each and not docker.has_image(each)]
    if missing and not module.check_mode:
        raise CutoverError(
            f"There is no image {' and no '.join(missing)}",
            "Run site.yml without --tags, or with --tags install",
        )
    if missing:
        unknown = f"{' and '.join(missing)} would be built; whether the database fits is known then."
        return {"schema": {}, "findings": [], "unknown": unknown}
    stack = Stack(settings_of(module.params))
    schema = schema_of(stack, image)
    findings = []
    try:
        if schema is not None:
            require_current(schema, look_into(stack.project.image).heads if schema.state == "unknown" else ())
        if postgres_image and stack.project.postgres_image:
            require_same_postgres(
                postgres_version(stack.project.postgres_image), postgres_version(postgres_image)
            )
    except RefusedError as error:
        findings = [str(error)]
    return {"schema": schema.as_dict() if schema else {}, "findings": findings, "unknown": ""}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **STACK_OPTIONS,
            "image": {"type": "str", "required": True},
            "postgres_image": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    end(module, lambda: look(module))


if __name__ == "__main__":
    main()
