#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: what a Docker host has for a stack or a lab, and why it cannot take one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_stack_info
short_description: Tell what a Docker host has for a stack or a lab, and why it cannot take one
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Looks at the containers of a Compose project, at further containers, volumes and networks by their names, and
    at the directory of the stack. Each is ours only where it bears the label C(freegee.mlflow_sftp.owner) with that
    directory, or where a release before that label left proof of having made it.
  - Whatever stops, recreates, mounts, adopts or deletes something asks first, and leaves alone what is not ours.
  - Answers in one call what the roles have to know of the host besides, and compares it with what is to be deployed,
    as far as the options say. RV(findings) has every reason that is against it at once.
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
      - The variable that chooses another C(container), C(volume), C(network) or C(directory), for RV(findings).
    type: dict
    required: true
  engine_expected:
    description:
      - Whether Docker has to answer where it is installed. Otherwise the same run may start it.
    type: bool
    default: true
  bind:
    description:
      - Address of the host that O(ports) are published on.
    type: str
    default: 127.0.0.1
  ports:
    description:
      - Ports that have to be free or published by what was made for O(directory), each by the variable that chooses it;
        0 for any.
    type: dict
    default: {}
  further_ports:
    description:
      - Ports as in O(ports) by the address of the host that they are published on, where that is another than O(bind).
    type: dict
    default: {}
  uid:
    description:
      - User id that nobody may have on the host before there is a stack.
    type: int
  gid:
    description:
      - Group id that nobody may have on the host before there is a stack.
    type: int
  min_free_mb:
    description:
      - MiB that have to be free on the engine's disk.
    type: int
  store:
    description:
      - Where artifacts have to be if a stack is deployed already.
    type: dict
    suboptions:
      storage:
        description:
          - V(local) or V(sftp).
        type: str
        choices: [local, sftp]
        required: true
      access:
        description:
          - V(direct) or V(proxied).
        type: str
        choices: [direct, proxied]
        required: true
      uri:
        description:
          - The store itself, a directory in the containers or an C(sftp:) URI.
        type: str
        required: true
  database:
    description:
      - Scheme and place of the database that has to be MLflow's if a stack is deployed already.
    type: str
  served_by:
    description:
      - What has to serve the stack if one is deployed already, and is to serve it.
    type: str
    choices: [compose, swarm]
  swarm_managers:
    description:
      - Hosts that manage the swarm which is to serve.
    type: list
    elements: str
    default: []
  known_services:
    description:
      - Whether services that a swarm has of the stack stand in the way, where the directory holds nothing of it. They
        are another host's, or the directory was lost.
    type: bool
    default: false
  read_deployment:
    description:
      - Whether to read what is deployed, for RV(deployed). It is the root user's to read.
    type: bool
    default: true
  settled:
    description:
      - Whether a cutover that is half done stands in the way.
    type: bool
    default: false
  files:
    description:
      - Files of the host, for RV(present_files).
    type: list
    elements: path
    default: []
"""

EXAMPLES = r"""
- name: Ask what is there already
  freegee.mlflow_sftp.mlflow_stack_info:
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
    ports:
      mlflow_stack_port: 5000
    min_free_mb: 4096
  register: stack

- name: Require a host that the stack can use
  ansible.builtin.assert:
    that: stack.findings | length == 0
    fail_msg: "{{ stack.findings | join(' ') }}"
"""

RETURN = r"""
home:
  description: O(directory), for whoever holds the answer later.
  returned: success
  type: str
project:
  description: O(project).
  returned: success
  type: str
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
running:
  description: Names of running containers that were made for O(directory).
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
findings:
  description:
    - Why the host cannot take what is to be deployed, a sentence or two each, with what to change; empty for no reason.
  returned: success
  type: list
  elements: str
deployed:
  description: What is deployed already, as its files say.
  returned: success
  type: dict
  contains:
    store:
      description:
        - Where it keeps its artifacts, with C(storage), C(access), C(uri) and C(root); C(uri) is empty without a stack.
      type: dict
    database:
      description: Scheme and place of MLflow's database; empty without a stack.
      type: str
      sample: postgresql://postgres:5432/mlflow
    other_stores:
      description: Further stores that rows of the database lead to.
      type: list
      elements: str
    images:
      description: Images that its Compose file names.
      type: list
      elements: str
    served_by:
      description: C(compose) or C(swarm); empty without a stack.
      type: str
      sample: compose
present_files:
  description: Those of O(files) that are there.
  returned: success
  type: list
  elements: str
bridge_mtu:
  description: The MTU of the engine's own bridge, which networks of one's own do not inherit.
  returned: success
  type: int
  sample: 1500
cause:
  description:
    - Code of the reason why names or the directory are somebody else's, see C(docs/troubleshooting.md).
    - Empty where they are not.
  returned: success
  type: str
  sample: name_taken
"""

import grp
import json
import os
import pwd
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import RefusedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import (
    load_all,
    require_none_interrupted,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.served import filters
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
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
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.ports import holder, is_taken
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.things import thing_of
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.database import database_place
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.deployment import (
    Store,
    environment_of,
    images_of,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.findings import (
    Found,
    Port,
    Wanted,
    stack_findings,
)

_DEFAULT_ROOT = "/var/lib/docker"
_MTU = "com.docker.network.driver.mtu"
_DEFAULT_MTU = 1500


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
        "running": sorted(each.thing.name for each in verdicts if each.ours and each.thing.running),
        "ports": sorted({port for each in verdicts if each.ours for port in each.thing.ports}),
        "left": [str(each) for each in verdicts if not each.ours or each.sharers],
    }


def free_mb(root_directory: str) -> int:
    """Return the MiB free where the engine keeps images, or will."""
    place = next(path for path in (root_directory or _DEFAULT_ROOT, "/var/lib", "/") if Path(path).is_dir())
    free = os.statvfs(place)
    return free.f_bavail * free.f_frsize >> 20


def bridge_mtu(module: AnsibleModule) -> int:
    """Return the MTU of the engine's own bridge."""
    _, output, _ = module.run_command(["docker", "network", "inspect", "bridge"])
    options = next((shown.get("Options") or {} for shown in json.loads(output or "[]")), {})
    return int(options.get(_MTU, _DEFAULT_MTU))


def taken_ports(options: Mapping[str, Any], own: list[int]) -> list[Port]:
    """Return those of the ports that somebody else holds."""
    return [
        Port(variable, bind, int(number), holder(int(number)))
        for bind, ports in ((options["bind"], options["ports"]), *options["further_ports"].items())
        for variable, number in ports.items()
        if int(number) and int(number) not in own and is_taken(bind, int(number))
    ]


def taken_ids(options: Mapping[str, Any]) -> Iterator[str]:
    """Return the users and groups of the host that have the containers' ids."""
    owners: tuple[tuple[int | None, Callable[[int], Any]], ...] = (
        (options["uid"], pwd.getpwuid),
        (options["gid"], grp.getgrgid),
    )
    for number, look_up in owners:
        try:
            if number is not None:
                yield look_up(number)[0]
        except KeyError:
            continue


def read_file(path: Path) -> str:
    """Return the text of a file; empty without one."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def deployed(path: str) -> tuple[Store, dict[str, Any]]:
    """Return the store, and what else is known, of the stack in a directory; of none without a directory."""
    if not path:
        return Store.from_environment({}), {"database": "", "other_stores": [], "images": [], "served_by": ""}
    environment = environment_of(read_file(Path(path) / ".env"))
    compose = read_file(Path(path) / "compose.yml")
    return Store.from_environment(environment), {
        "database": database_place(environment.get("MLFLOW_BACKEND_STORE_URI", "")),
        "other_stores": json.loads(read_file(Path(path) / ".other_stores.json") or "[]"),
        "images": images_of(compose),
        "served_by": "compose" if compose else environment.get("MLFLOW_STACK_ENGINE", ""),
    }


def ownership(module: AnsibleModule, answering: str) -> tuple[dict[str, Any], DiagnosedError | None]:
    """Return whose names and directory are, and why they may not be used."""
    options = module.params
    path = os.path.realpath(options["directory"])
    directory, compose, sealed = read_directory(options, path)
    stack_directory = os.path.realpath(options["stack_directory"]) if options["stack_directory"] else ""
    home = (
        Stack(path, options["project"], "" if directory.maker else compose)
        if options["project"]
        else Lab(path, sealed, stack_directory)
    )
    verdicts = look(module, home) if answering == "answers" else []
    error = refusal(verdicts, directory, options["directory"], options["variables"])
    return {**describe(verdicts), "directory": asdict(directory)}, error


def interrupted_cutover(options: Mapping[str, Any]) -> list[str]:
    """Return that a cutover is half done, if it is and that is asked for."""
    if not options["settled"]:
        return []
    try:
        require_none_interrupted(load_all(Path(options["directory"]) / "switches"))
    except RefusedError as error:
        return [str(error)]
    return []


def wanted(options: Mapping[str, Any]) -> Wanted:
    """Return what is to be deployed."""
    home = f"this stack (project {options['project']})" if options["project"] else "this lab"
    store = Store.at(**options["store"]) if options["store"] else None
    return Wanted(
        home,
        options["directory"],
        options["engine_expected"],
        options["min_free_mb"],
        store,
        options["database"],
        options["served_by"] or "",
        options["swarm_managers"],
    )


def _asks_swarm(options: Mapping[str, Any], answering: str, known: list[str]) -> bool:
    return bool(options["known_services"]) and answering == "answers" and not known


def services(module: AnsibleModule) -> list[str]:
    """Return the services that a swarm has of the stack; none where this engine cannot tell."""
    options = module.params
    labels = filters(options["project"], Path(options["directory"]))
    return module.run_command(["docker", "service", "ls", "--format={{.Name}}", *labels])[1].split()


def run(module: AnsibleModule) -> dict[str, Any]:
    """Look at the host and decide."""
    options = module.params
    answering, root_directory = engine(module)
    owned, error = ownership(module, answering)
    store, further = deployed(options["directory"] if options["read_deployment"] else "")
    found = Found(
        answering,
        ownership=f"{error}. {error.remedy}" if error else "",
        ports=taken_ports(options, owned["ports"]),
        ids=sorted(set(taken_ids(options))) if not owned["directory"]["known"] else [],
        free_mb=free_mb(root_directory),
        store=store,
        database=further["database"],
        served_by=further["served_by"],
        services=services(module) if _asks_swarm(options, answering, owned["directory"]["known"]) else [],
    )
    return {
        "home": options["directory"],
        "project": options["project"],
        "engine": answering,
        "root_directory": root_directory,
        **owned,
        "deployed": {"store": store.as_dict(), **further},
        "present_files": [path for path in options["files"] if Path(path).is_file()],
        "bridge_mtu": bridge_mtu(module) if answering == "answers" else _DEFAULT_MTU,
        "findings": [*stack_findings(wanted(options), found), *interrupted_cutover(options)],
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
            "engine_expected": {"type": "bool", "default": True},
            "bind": {"type": "str", "default": "127.0.0.1"},
            "ports": {"type": "dict", "default": {}},
            "further_ports": {"type": "dict", "default": {}},
            "uid": {"type": "int"},
            "gid": {"type": "int"},
            "min_free_mb": {"type": "int"},
            "store": {
                "type": "dict",
                "options": {
                    "storage": {"type": "str", "choices": ["local", "sftp"], "required": True},
                    "access": {"type": "str", "choices": ["direct", "proxied"], "required": True},
                    "uri": {"type": "str", "required": True},
                },
            },
            "database": {"type": "str"},
            "served_by": {"type": "str", "choices": ["compose", "swarm"]},
            "swarm_managers": {"type": "list", "elements": "str", "default": []},
            "known_services": {"type": "bool", "default": False},
            "read_deployment": {"type": "bool", "default": True},
            "settled": {"type": "bool", "default": False},
            "files": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**run(module))
    except json.JSONDecodeError as error:
        module.fail_json(
            f".other_stores.json in {module.params['directory']} is not valid JSON ({error}), so that nobody can tell "
            "which further stores rows of the database lead to. Restore the file from a backup, or write [] into it if "
            "there is none."
        )
    except OSError as error:
        module.fail_json(
            f"cannot read {error.filename}: {error.strerror}. If this user may not, set ansible_become: true."
        )


if __name__ == "__main__":
    main()
