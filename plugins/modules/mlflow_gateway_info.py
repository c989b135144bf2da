#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: what a gateway shows and answers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_gateway_info
short_description: Tell which certificate a gateway shows, and whether MLflow answers through it
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Asks MLflow a question through the gateway, and takes nothing but the certificate that has to be installed there.
  - What is wrong is a stage in RV(stages), not an error of the module.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.attributes.read_only
options:
  hostname:
    description:
      - Name under which people and programs reach MLflow.
    type: str
    required: true
  address:
    description:
      - Address at which the gateway's port is published; an address for all means this host's own.
    type: str
    default: 127.0.0.1
  port:
    description:
      - Port of HTTPS.
    type: int
    default: 443
  certificate:
    description:
      - The certificate that the gateway has to show, in PEM format.
    type: str
    required: true
  warn_days:
    description:
      - Days before the certificate expires at which it is warned about, but not before the last quarter of its life.
    type: int
    default: 20
"""

EXAMPLES = r"""
- name: Ask the gateway
  freegee.mlflow_sftp.mlflow_gateway_info:
    hostname: mlflow.example.org
    certificate: "{{ lookup('ansible.builtin.file', 'mlflow.example.org.pem') }}"
"""

RETURN = r"""
stages:
  description: One stage named C(gateway), in the form of M(freegee.mlflow_sftp.sftp_check).
  returned: success
  type: list
  elements: dict
  sample:
    - name: gateway
      status: ok
      seconds: 0.02
      detail: answered 200, TLSv1.3, certificate valid for 361 days
      cause: null
days_left:
  description: Days until the certificate expires; null where it was not seen.
  returned: success
  type: float
status:
  description: The HTTP status of MLflow's answer; 0 for none.
  returned: success
  type: int
"""

import ssl

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._mlflow.gateway import ask, stage_of


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "hostname": {"type": "str", "required": True},
            "address": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int", "default": 443},
            "certificate": {"type": "str", "required": True},
            "warn_days": {"type": "int", "default": 20},
        },
        supports_check_mode=True,
    )
    options = module.params
    try:
        seen = ask(options["hostname"], options["address"], options["port"], options["certificate"])
    except ssl.SSLError as error:
        module.fail_json(f"certificate is no certificate in PEM format: {error}")
    endpoint = f"{options['address']}:{options['port']}"
    stage = stage_of(seen, options["hostname"], endpoint, options["warn_days"])
    module.exit_json(stages=[stage], days_left=seen.days, status=seen.status)


if __name__ == "__main__":
    main()
