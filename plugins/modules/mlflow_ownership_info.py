#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: what of a Docker host's things was made for a stack or a lab, and what is somebody else's."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_ownership_info
short_description: Tell what on a Docker host was made for a stack or a lab, and what is somebody else's
version_added: 0.1.0
author:
  - FreeGee engineering (@freegee)
description:
  - Looks at the containers of a Compose project, at further containers, volumes and networks by their names, and
    at the directory of the stack. Each is ours only where it bears the label C(freegee.mlflow_sftp.owner) with that
    directory, or where a release before that label left proof of having made it.
  - Whatever stops, recreates, mounts, adopts or deletes something asks first, and leaves alone what is not ours.
  - Where Docker is not installed or does not answer, there is nothing to tell of it, and RV(engine) says so.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.attributes.read_only
options:
  directory:
    description:
      - Directory of the stack or the lab.
    type: path
    required: true
  project:
    description:
      - Compose project of the stack. Without it, O(directory) is one of a lab.
    type: str
    default: ""
  containers:
    description:
      - Names of containers to tell about, beside those of O(project).
    type: list
    elements: str
    default: []
  volumes:
    description:
      - Names of volumes to tell about.
    type: list
    elements: str
    default: []
  networks:
    description:
      - Names of networks to tell about.
    type: list
    elements: str
    default: []
  entries:
    description:
      - Names of the files and directories in O(directory) that are made for it.
    type: list
    elements: str
    required: true
  telling:
    description:
      - Those of O(entries) that show, where nothing else is in O(directory), that a run was interrupted there.
    type: list
    elements: str
    default: []
  seal:
    description:
      - File or directory, relative to O(directory), that only this collection makes.
    type: str
    required: true
  stack_directory:
    description:
      - Directory of the stack that uses the lab's network.
    type: path
  variables:
    description:
      - The variable that chooses another C(container), C(volume), C(network) or C(directory), for RV(refusal).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Ask what is there already
  freegee.mlflow_sftp.mlflow_ownership_info:
    directory: /opt/mlflow-stack
    project: mlflow
    volumes: [mlflow_artifacts, mlflow_database]
    networks: [mlflow]
    entries: [compose.yml, .env, .secrets]
    seal: .secrets/mlflow_sftp_key
    variables:
      container: mlflow_stack_project
      volume: mlflow_stack_project
      network: mlflow_stack_project
      directory: mlflow_stack_dir
  register: ownership

- name: Require that nothing is somebody else's
  ansible.builtin.assert:
    that: ownership.refusal == ''
    fail_msg: "{{ ownership.refusal }}"
"""

RETURN = r"""
engine:
  description: Whether Docker is C(absent), C(silent) or C(answers).
  returned: success
  type: str
root_directory:
  description: Where the engine keeps images; empty where none answers.
  returned: success
  type: str
  sample: /var/lib/docker
removable:
  description:
    - Names of what was made for O(directory) and is used by nothing else, containers in the order in which they can be
      stopped.
  returned: success
  type: dict
  contains:
    containers: &names
      description: Names.
      type: list
      elements: str
    volumes: *names
    networks: *names
adopted:
  description: Names of the volumes and networks that an earlier release made for O(directory), without the label.
  returned: success
  type: list
  elements: str
ports:
  description: Ports of the host that containers made for O(directory) publish.
  returned: success
  type: list
  elements: int
left:
  description: What is somebody else's, with who made it as far as can be told, and what somebody else uses.
  returned: success
  type: list
  elements: str
  sample: ["volume mlflow_database (Compose project mlflow in /home/alice/mlflow, used by mlflow-db-1)"]
directory:
  description: The directory itself.
  returned: success
  type: dict
  contains:
    known:
      description: Those of O(entries) that are there.
      type: list
      elements: str
    strange:
      description: What else is there.
      type: list
      elements: str
    maker:
      description: Why it is somebody else's; empty where it is not.
      type: str
refusal:
  description: Why nothing may be done, and what to change; empty where nothing is somebody else's.
  returned: success
  type: str
cause:
  description: Code of the refusal, see C(docs/troubleshooting.md); empty without one.
  returned: success
  type: str
  sample: name_taken
"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.ownership import (
    COMPOSE_FILES,
    Directory,
    Lab,
    Stack,
    Thing,
    Verdict,
    judge,
    judge_directory,
    refusal,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.things import thing_of


def inspect(module: AnsibleModule, kind: str, names: list[str]) -> list[Thing]:
    """Return those of the named things that are there."""
    if not names:
        return []
    # It shows what it finds, and complains about the others.
    _, output, _ = module.run_command(["docker", kind, "inspect", *names])
    return [thing_of(kind, each) for each in json.loads(output or "[]")]


def engine(module: AnsibleModule) -> tuple[str, str]:
    """Say whether there is an engine to ask, and where it keeps images."""
    if not module.get_bin_path("docker"):
        return "absent", ""
    code, output, _ = module.run_command(["docker", "info", "--format", "{{.DockerRootDir}}"])
    # Of a stopped engine, clients from 23.0 to 28.0 say nothing at all, and exit with 0.
    root = output.strip()
    return ("answers", root) if code == 0 and root else ("silent", "")


def all_containers(module: AnsibleModule) -> list[Thing]:
    """Return every container of the host, running or not."""
    _, output, _ = module.run_command(["docker", "container", "ls", "--all", "--quiet"], check_rc=True)
    return inspect(module, "container", output.split())


def look(module: AnsibleModule, home: Stack | Lab) -> list[Verdict]:
    """Judge what there is of the names in the options."""
    options = module.params
    containers = all_containers(module)
    wanted = [
        each
        for each in containers
        if each.name in options["containers"] or (options["project"] and each.project == options["project"])
    ]
    wanted += inspect(module, "volume", options["volumes"])
    wanted += inspect(module, "network", options["networks"])
    return judge(wanted, containers, home)


def read_directory(options: dict[str, Any], path: str) -> tuple[Directory, str, bool]:
    """Judge the directory, and return the text of its Compose file and whether the seal is there."""
    place = Path(path)
    entries = [entry.name for entry in place.iterdir()] if place.is_dir() else []
    sealed = (place / options["seal"]).exists()
    texts = {
        name: (place / name).read_text(encoding="utf-8", errors="replace")
        for name in COMPOSE_FILES
        if options["project"] and (place / name).is_file()
    }
    directory = judge_directory(entries, options["entries"], options["telling"], texts, sealed)
    return directory, texts.get("compose.yml", ""), sealed


def names(verdicts: list[Verdict], kind: str) -> list[str]:
    """Return the names of those that may be removed, a database after what writes to it."""
    found = [each.thing for each in verdicts if each.ours and not each.sharers and each.thing.kind == kind]
    return [each.name for each in sorted(found, key=lambda each: (each.service == "postgres", each.name))]


def describe(verdicts: list[Verdict]) -> dict[str, Any]:
    """Return the verdicts as the module's results."""
    return {
        "removable": {f"{kind}s": names(verdicts, kind) for kind in ("container", "volume", "network")},
        "adopted": sorted(
            each.thing.name for each in verdicts if each.adopted and each.thing.kind != "container"
        ),
        "ports": sorted({port for each in verdicts if each.ours for port in each.thing.ports}),
        "left": [str(each) for each in verdicts if not each.ours or each.sharers],
    }


def run(module: AnsibleModule) -> dict[str, Any]:
    """Look at the host and decide."""
    options = module.params
    path = os.path.realpath(options["directory"])
    directory, compose, sealed = read_directory(options, path)
    stack_directory = os.path.realpath(options["stack_directory"]) if options["stack_directory"] else ""
    home = (
        Stack(path, options["project"], "" if directory.maker else compose)
        if options["project"]
        else Lab(path, sealed, stack_directory)
    )
    answering, root_directory = engine(module)
    verdicts = look(module, home) if answering == "answers" else []
    error = refusal(verdicts, directory, options["directory"], options["variables"])
    return {
        "engine": answering,
        "root_directory": root_directory,
        **describe(verdicts),
        "directory": asdict(directory),
        "refusal": f"{error}. {error.remedy}" if error else "",
        "cause": error.cause.code if error else "",
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "project": {"type": "str", "default": ""},
            "containers": {"type": "list", "elements": "str", "default": []},
            "volumes": {"type": "list", "elements": "str", "default": []},
            "networks": {"type": "list", "elements": "str", "default": []},
            "entries": {"type": "list", "elements": "str", "required": True},
            "telling": {"type": "list", "elements": "str", "default": []},
            "seal": {"type": "str", "required": True},
            "stack_directory": {"type": "path"},
            "variables": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    module.exit_json(**run(module))


if __name__ == "__main__":
    main()
