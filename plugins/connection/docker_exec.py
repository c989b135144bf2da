# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connection: a container, entered on its Docker host as Ansible reaches that host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: docker_exec
short_description: Run tasks in a container, through the connection to its Docker host
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Runs C(docker exec) on the host of the inventory that O(docker_host) names.
  - That host is reached as for its own tasks, with the connection plugin, address, port, user, key, jump host and
    C(become) that the inventory and the command line name for it. The controller needs neither Docker nor access to the
    engine.
options:
  docker_host:
    description: The Docker host's name in the inventory.
    type: str
    required: true
    vars:
      - name: ansible_docker_exec_host
  container:
    description: Name or id of the container.
    type: str
    default: inventory_hostname
    vars:
      - name: inventory_hostname
      - name: ansible_host
      - name: delegated_vars['ansible_host']
  remote_user:
    description:
      - User in the container; by default the one that the container runs as.
      - Not C(ansible_user), which an inventory may set for all of its hosts.
    type: str
    vars:
      - name: ansible_docker_exec_user
extends_documentation_fragment:
  - ansible.builtin.connection_pipelining
"""

import copy
import re
import shlex
from pathlib import Path
from typing import Any

from ansible import constants, context
from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.connection import ConnectionBase, ensure_connect
from ansible.plugins.loader import become_loader, connection_loader, get_shell_plugin

# What docker itself says when no command was run.
_ENGINE_REFUSES = re.compile(
    r"Error response from daemon|Cannot connect to the Docker daemon|permission denied while trying to connect"
    r"|failed to connect to the docker API|docker: (?:command )?not found|No such container|OCI runtime exec failed"
    r"|unable to find user"
)


class Connection(ConnectionBase):
    """Wraps every command into ``docker exec`` and hands it to the connection of the Docker host."""

    transport = "freegee.mlflow_sftp.docker_exec"
    has_pipelining = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._plugin_arguments = {
            key: value for key, value in kwargs.items() if key not in ("shell", "new_stdin")
        }
        self._task_keys: dict[str, Any] = {}
        self._hosts: Any = None
        self._outer: ConnectionBase | None = None

    def set_options(self, task_keys: Any = None, var_options: Any = None, direct: Any = None) -> None:
        """Keep what the play and the command line say: it holds for the Docker host as well."""
        self._task_keys = dict(task_keys or {})
        own = {key: value for key, value in self._task_keys.items() if key != "remote_user"}
        super().set_options(task_keys=own, var_options=var_options, direct=direct)

    def update_vars(self, variables: dict[str, Any]) -> None:
        """Keep where the Docker host's variables are looked up: as an option, all of all hosts' would be computed."""
        self._hosts = variables["hostvars"]
        super().update_vars(variables)

    def _connect(self) -> Connection:
        if not self._connected:
            self._outer = self._connection_of_host()
            self._connected = True
        return self

    @ensure_connect
    def exec_command(
        self, cmd: str, in_data: bytes | None = None, sudoable: bool = True
    ) -> tuple[int, bytes, bytes]:
        """Run a command in the container."""
        done = self._exec(["/bin/sh", "-c", cmd], in_data)
        # Without input it is one of Ansible's own steps, or a raw task, which judge the exit status themselves.
        if in_data:
            self._require_entry(done)
        return done

    @ensure_connect
    def put_file(self, in_path: str, out_path: str) -> None:
        """Write a file of the controller into the container."""
        content = Path(in_path).read_bytes()
        done = self._exec(["/bin/sh", "-c", f"cat > {shlex.quote(out_path)}"], content)
        self._require_success(done, f"could not write {out_path}")

    @ensure_connect
    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Write a file of the container on the controller."""
        done = self._exec(["/bin/sh", "-c", f"cat < {shlex.quote(in_path)}"], None)
        self._require_success(done, f"could not read {in_path}")
        Path(out_path).write_bytes(done[1])

    def close(self) -> None:
        """Close the connection to the Docker host."""
        if self._outer is not None:
            self._outer.close()
        self._outer = None
        self._connected = False

    def reset(self) -> None:
        """Connect to the Docker host anew."""
        self.close()

    def _exec(self, command: list[str], in_data: bytes | None) -> tuple[int, bytes, bytes]:
        assert self._outer is not None
        user = self.get_option("remote_user")
        words = [
            "docker",
            "exec",
            *(["--interactive"] if in_data else []),
            *(["--user", user] if user else []),
        ]
        text = shlex.join([*words, self.get_option("container"), *command])
        become = self._outer.become
        if become and self._changes_user(self._outer):
            text = become.build_become_command(text, self._outer._shell)
        return self._outer.exec_command(shlex.join(["/bin/sh", "-c", text]), in_data=in_data, sudoable=True)

    def _require_entry(self, done: tuple[int, bytes, bytes]) -> None:
        status, output, errors = done
        # A module that ran has printed JSON, whatever its text says.
        if (
            status != 0
            and b"{" not in output
            and _ENGINE_REFUSES.search((errors + output).decode(errors="replace"))
        ):
            self._require_success(done, "found no way in")

    def _require_success(self, done: tuple[int, bytes, bytes], what: str) -> None:
        status, output, errors = done
        if status == 0:
            return
        host, container = self.get_option("docker_host"), self.get_option("container")
        seen = (errors or output).decode(errors="replace").strip()
        remedy = f"`docker ps --all --filter name={container}` on {host} shows whether the container runs."
        if "permission denied" in seen:
            remedy = f"Set ansible_become: true for {host} in the inventory, or let its user use Docker."
        # Not as unreachable, which no rescue catches.
        raise AnsibleError(
            f"docker exec in the container {container} on {host} {what} (exit status {status}): {seen} {remedy}"
        )

    def _connection_of_host(self) -> ConnectionBase:
        """Load the Docker host's connection as Ansible does for its own tasks."""
        variables = self._host_variables()
        play = copy.copy(self._play_context)
        play.remote_addr = variables.get("ansible_host") or self.get_option("docker_host")
        play.remote_user = variables.get("ansible_user") or self._task_keys.get("remote_user")
        play.shell = variables.get("ansible_shell_type")
        # Not the task's keyword: in a loop that is what the item before was delegated to.
        name = (
            variables.get("ansible_connection")
            or context.CLIARGS.get("connection")
            or constants.DEFAULT_TRANSPORT
        )
        shell = get_shell_plugin(shell_type=play.shell, executable="/bin/sh")
        plugin = connection_loader.get(name, play, shell=shell, **self._plugin_arguments)
        if plugin is None:
            raise AnsibleError(
                f"the connection plugin '{name}' of {self.get_option('docker_host')} was not found"
            )
        self._set_plugin_options("connection", plugin, variables)
        # The input belongs to the command in the container; a terminal would change its bytes.
        plugin.set_option("pipelining", True)
        if "use_tty" in plugin._options:
            plugin.set_option("use_tty", False)
        plugin.set_become_plugin(self._become_of_host(variables))
        return plugin

    def _become_of_host(self, variables: Any) -> Any:
        become = variables.get("ansible_become")
        if not boolean(self._task_keys.get("become") if become is None else become, strict=False):
            return None
        name = variables.get("ansible_become_method") or self._task_keys.get("become_method") or "sudo"
        plugin = become_loader.get(name)
        if plugin is None:
            raise AnsibleError(
                f"the become plugin '{name}' of {self.get_option('docker_host')} was not found"
            )
        if self._play_context.become_pass:
            self._task_keys["become_pass"] = self._play_context.become_pass
        self._set_plugin_options("become", plugin, variables)
        return plugin

    def _set_plugin_options(self, kind: str, plugin: Any, variables: Any) -> None:
        options = {
            name: variables[name]
            for name in constants.config.get_plugin_vars(kind, plugin._load_name)
            if name in variables
        }
        prefix = getattr(plugin, "extras_prefix", None)
        extras = [name for name in variables if prefix and name.startswith(f"ansible_{prefix}_")]
        options["_extras"] = {name: variables[name] for name in extras if name not in options}
        plugin.set_options(task_keys=self._task_keys, var_options=options)

    def _host_variables(self) -> Any:
        name = self.get_option("docker_host")
        if name not in self._hosts:
            raise AnsibleError(f"ansible_docker_exec_host names {name}, which the inventory does not hold")
        return self._hosts[name]

    @staticmethod
    def _changes_user(plugin: ConnectionBase) -> bool:
        """Whether Ansible would become another user than the one that logs in; see ActionBase."""
        wanted = plugin.become.get_option("become_user")
        try:
            present = plugin.get_option("remote_user") or plugin.default_user
        except KeyError:
            present = plugin.default_user or plugin._play_context.remote_user
        return constants.BECOME_ALLOW_SAME_USER or wanted != present or not (wanted or present)
