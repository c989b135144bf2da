#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: what there is of Docker on a host, and whether the stack can use it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_engine_info
short_description: Tell what there is of Docker on a host, and whether the stack can use it
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Asks the engine, and looks at packages, units and C(/etc/docker/daemon.json) where none answers.
  - An engine of another kind than the distribution's that is stopped, masked or broken is no missing engine. It is
    named in RV(refusal), with how to start it, and nothing may be installed over it.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.attributes.read_only
options:
  files:
    description:
      - Files that may have to be written on this host, for RV(own_files) and RV(strange_files).
    type: list
    elements: path
    default: []
  users:
    description:
      - Users who are to use Docker, for RV(unknown_users).
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Find Docker
  freegee.mlflow_sftp.mlflow_engine_info:
  register: engine

- name: Require a Docker that can be used, or none
  ansible.builtin.assert:
    that: engine.refusal == ''
    fail_msg: "{{ engine.refusal }}"
"""

RETURN = r"""
answers:
  description: Whether an engine answers.
  returned: success
  type: bool
compose:
  description: Whether the client has compose v2.
  returned: success
  type: bool
buildx:
  description: Whether the client has buildx.
  returned: success
  type: bool
python:
  description: Whether the interpreter has what the modules of community.docker import.
  returned: success
  type: bool
root_directory:
  description: Where the engine keeps images, or will.
  returned: success
  type: str
  sample: /var/lib/docker
daemon_options:
  description: What C(/etc/docker/daemon.json) holds; empty where it is missing or not valid.
  returned: success
  type: dict
own_files:
  description: Those of O(files) that this collection has written.
  returned: success
  type: list
  elements: str
strange_files:
  description: Those of O(files) that somebody else has written.
  returned: success
  type: list
  elements: str
unknown_users:
  description: Those of O(users) whom the host does not know.
  returned: success
  type: list
  elements: str
refusal:
  description: Why Docker cannot be used, and what to do; empty where it can be, or can be installed or started.
  returned: success
  type: str
cause:
  description: Code of the refusal, see C(docs/troubleshooting.md); empty without one.
  returned: success
  type: str
  sample: engine_stopped
"""

import importlib.util
import os
import pwd
import shutil
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker import engine
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.asking import TIMED_OUT, engine_info
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.engine import Host, Unit
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.ownership import MARK

_PATH = ":".join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/local/sbin", "/snap/bin"))
# Seconds after which an engine that hangs counts as one that does not answer.
_PATIENCE = 30
# In what releases before the mark wrote.
_EARLIER_MARK = "Ansible managed"


def look(module: AnsibleModule) -> Host:
    """Collect what there is; packages and units only where they matter."""
    client = _program("docker")
    info, said = _info(module) if client else ({}, "")
    host = Host(
        client=client,
        daemon=_program("dockerd"),
        info=info,
        said=said,
        endpoint=_endpoint(module) if client else engine.Host.endpoint,
        modules_endpoint=os.environ.get("DOCKER_HOST") or engine.Host.modules_endpoint,
        missing=tuple(name for name in ("compose", "buildx") if not client or _fails(module, name)),
        daemon_json=_text(engine.DAEMON_JSON),
        user=pwd.getpwuid(os.geteuid()).pw_name,
    )
    if host.answers and not host.missing:
        return host
    return Host(
        **{
            **vars(host),
            "packages": tuple(_packages(module)),
            "units": _units(module),
            "sockets": tuple(map(str, sorted(Path("/run/user").glob("*/docker.sock")))),
        }
    )


def _program(name: str) -> str:
    found = shutil.which(name, path=_PATH)
    if not found:
        return ""
    # The snap's commands are all links to snap itself.
    return found if found.startswith("/snap/") else os.path.realpath(found)


def _info(module: AnsibleModule) -> tuple[dict[str, Any], str]:
    code, info, said = engine_info(module.run_command, _PATIENCE)
    complaints = [said, *(info.get("ServerErrors") or [])]
    if code == TIMED_OUT:
        complaints.append(f"no answer within {_PATIENCE} s")
    return info, "\n".join(text for text in complaints if text)


def _endpoint(module: AnsibleModule) -> str:
    command = ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
    code, output, _ = module.run_command(command)
    return output.strip() if not code and output.strip() else engine.Host.endpoint


def _fails(module: AnsibleModule, plugin: str) -> bool:
    return module.run_command(["docker", plugin, "version"])[0] != 0


def _packages(module: AnsibleModule) -> list[str]:
    if not module.get_bin_path("dpkg-query"):
        return []
    command = ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package}\n", *engine.PACKAGES]
    # It complains of those that it does not know.
    _, output, _ = module.run_command(command)
    lines = [line.split() for line in output.splitlines()]
    return [words[1] for words in lines if words[0] == "installed"]


def _units(module: AnsibleModule) -> dict[str, Unit]:
    if not Path("/run/systemd/system").is_dir():
        return {}
    units = {}
    for name in engine.UNITS:
        command = ["systemctl", "show", "--property=LoadState,ActiveState", name]
        _, output, _ = module.run_command(command)
        shown = dict(line.partition("=")[::2] for line in output.splitlines())
        if shown.get("LoadState", "not-found") != "not-found":
            units[name] = Unit(shown["LoadState"], shown.get("ActiveState", ""))
    return units


def _text(path: str) -> str:
    place = Path(path)
    readable = place.is_file() and os.access(place, os.R_OK)
    return place.read_text(encoding="utf-8-sig", errors="replace") if readable else ""


def routes() -> list[str]:
    """Return the families, 4 and 6, that have a default route."""
    four = [line.split() for line in _text("/proc/net/route").splitlines()]
    six = [line.split() for line in _text("/proc/net/ipv6_route").splitlines()]
    found = ["4"] if any(words[1:2] == ["00000000"] for words in four) else []
    # The kernel keeps a route that rejects everything on the loopback interface.
    if any(words[0] == "0" * 32 and words[1] == "00" and words[-1] != "lo" for words in six):
        found.append("6")
    return found


def is_known(user: str) -> bool:
    """Say whether the host has a user of that name."""
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def run(module: AnsibleModule) -> dict[str, Any]:
    """Look at the host and decide."""
    host = look(module)
    error = engine.refusal(host)
    present = {path: _text(path) for path in module.params["files"] if Path(path).exists()}
    own = {path for path, text in present.items() if MARK in text or _EARLIER_MARK in text}
    for warning in engine.warnings(host, routes()):
        module.warn(warning)
    return {
        "answers": host.answers,
        "compose": "compose" not in host.missing,
        "buildx": "buildx" not in host.missing,
        "python": all(importlib.util.find_spec(name) for name in ("requests", "yaml")),
        "root_directory": host.root_directory,
        "daemon_options": {}
        if engine.daemon_error(host.daemon_json)
        else engine.read_daemon(host.daemon_json),
        "own_files": sorted(own),
        "strange_files": sorted(present.keys() - own),
        "unknown_users": [user for user in module.params["users"] if not is_known(user)],
        "refusal": f"{error}. {error.remedy}" if error else "",
        "cause": error.cause.code if error else "",
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "path", "default": []},
            "users": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    # Where a program was found, it is also to be run: sudo's own path lacks some of these.
    module.run_command_environ_update = {"PATH": _PATH}
    module.exit_json(**run(module))


if __name__ == "__main__":
    main()
