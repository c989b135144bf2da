#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: tell whether an image can be a gateway."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_gateway_image_info
short_description: Tell which HAProxy an image has, and whether it can be a stack's gateway
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Asks C(haproxy) in a container of the image for its version. Versions before 3.0 break off uploads that begin while
    MLflow is closed.
  - In check mode, an image that is not there yet is not known, which is no finding.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.attributes.read_only
options:
  image:
    description:
      - The image.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Read which HAProxy the gateway would be
  freegee.mlflow_sftp.mlflow_gateway_image_info:
    image: docker.io/library/haproxy:3.2
  register: asked
"""

RETURN = r"""
version:
  description: Version of HAProxy; empty where the image tells none.
  returned: success
  type: str
  sample: 3.0.11-1+deb13u1
findings:
  description: Why the image cannot be a gateway; empty where it can, or where nobody knows.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import CutoverError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._mlflow.haproxy import (
    version_of,
    version_problem,
)

# By bash, which the health check of the gateway needs as well.
_QUESTION = ("--entrypoint=bash", "--network=none", "--pull=never", "--rm", *docker.RESTRICTED)


def look(image: str, check_mode: bool = False) -> dict[str, object]:
    """Return what was found."""
    if check_mode and not docker.has_image(image):
        return {"version": "", "findings": []}
    try:
        said = docker.run("container", "run", *_QUESTION, image, "-c", "haproxy -v")
    except CutoverError as error:
        return {"version": "", "findings": [f"{image} does not tell which HAProxy it has: {error.seen}."]}
    problem = version_problem(said)
    return {"version": version_of(said), "findings": [f"{image}: {problem}."] if problem else []}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={"image": {"type": "str", "required": True}}, supports_check_mode=True
    )
    module.exit_json(changed=False, **look(module.params["image"], module.check_mode))


if __name__ == "__main__":
    main()
