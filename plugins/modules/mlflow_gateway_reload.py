#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: bring a running gateway to the files that are installed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_gateway_reload
short_description: Reload a gateway that serves other files than those that are installed
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Asks the gateway which revision of certificate and configuration it serves. Where that is another one, HAProxy is
    told to start a worker that reads the files anew, and the worker before it ends with its last request. No
    connection is refused or cut.
  - Waits until the new revision is served. Where the new worker does not start, HAProxy goes on with the one that it
    has, and the module fails with what HAProxy said.
  - A gateway that does not run, or is not there yet, is left alone, since it reads the files when it starts.
  - Needs the Docker client, and the right to use the engine.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  container:
    description:
      - Container of the gateway.
    type: str
    required: true
  revision:
    description:
      - The revision that the installed configuration says.
    type: str
    required: true
  port:
    description:
      - TCP port inside the container at which the gateway tells its revision.
    type: int
    default: 8404
  timeout:
    description:
      - Seconds within which the new revision must be served.
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: Reload the gateway
  freegee.mlflow_sftp.mlflow_gateway_reload:
    container: mlflow-gateway-1
    revision: 5c8ac1e5d1e0b1a1f1b4a3b6a1c2d3e4
"""

RETURN = r"""
served:
  description:
    - The revision that was served before; empty where no gateway runs, and in check mode where none answers.
  returned: success
  type: str
seconds:
  description: Seconds until the new revision was served; 0 where nothing was reloaded.
  returned: success
  type: float
"""

import re
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.revision import (
    question,
    served_revision,
)

_PAUSE = 0.2
_LINES = "15"
# States of a container whose processes have read the files, and go on with them.
_HOLDS_FILES = ("running", "paused")


def starts_later(module: AnsibleModule) -> bool:
    """Return whether no gateway runs, so that its start will read the files."""
    named = f"--filter=name=^{re.escape(module.params['container'])}$"
    command = ["docker", "container", "ls", "--all", named, "--format={{.State}}"]
    _, output, _ = module.run_command(command, check_rc=not module.check_mode)
    return output.strip() not in _HOLDS_FILES


def served(module: AnsibleModule) -> str:
    """Return the revision that the gateway serves; empty where none answers."""
    command = ["docker", "container", "exec", module.params["container"], *question(module.params["port"])]
    code, output, _ = module.run_command(command)
    return served_revision(output) if code == 0 else ""


def log(module: AnsibleModule) -> str:
    """Return the end of the gateway's log."""
    command = [
        *("sh", "-c", 'exec docker container logs --tail "$1" "$2" 2>&1', "sh"),
        *(_LINES, module.params["container"]),
    ]
    _, output, _ = module.run_command(command, errors="replace")
    return str(output).strip()


def reload(module: AnsibleModule) -> float:
    """Have the files read anew, and return after how many seconds they were served."""
    container, wanted = module.params["container"], module.params["revision"]
    began = time.monotonic()
    module.run_command(["docker", "container", "kill", "--signal=USR2", container], check_rc=True)
    while time.monotonic() - began < module.params["timeout"]:
        if served(module) == wanted:
            return round(time.monotonic() - began, 1)
        time.sleep(_PAUSE)
    return module.fail_json(
        f"{container} was told to read its files anew, and did not serve revision {wanted} within "
        f"{module.params['timeout']} s. It goes on with what it served before. Mend what HAProxy complains about, "
        f"then run this again. The end of its log:\n{log(module)}"
    )


def run(module: AnsibleModule) -> dict[str, object]:
    """Compare, reload and return the results."""
    container, wanted = module.params["container"], module.params["revision"]
    if starts_later(module):
        return {"changed": False, "served": "", "seconds": 0.0, "diff": {}}
    before = served(module)
    if not before and not module.check_mode:
        module.fail_json(
            f"{container} does not tell which revision of its files it serves, so that it cannot be reloaded. See "
            f"whether it is well (`docker container ls --all`); site.yml starts it anew. The end of its log:\n"
            f"{log(module)}"
        )
    changed = bool(before) and before != wanted
    seconds = reload(module) if changed and not module.check_mode else 0.0
    difference = {"before": f"revision {before}\n", "after": f"revision {wanted}\n"} if changed else {}
    return {"changed": changed, "served": before, "seconds": seconds, "diff": difference}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "container": {"type": "str", "required": True},
            "revision": {"type": "str", "required": True},
            "port": {"type": "int", "default": 8404},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    module.exit_json(**run(module))


if __name__ == "__main__":
    main()
