# SPDX-License-Identifier: GPL-3.0-or-later
"""What a swarm tells of its nodes, asked through Docker's client."""

from __future__ import annotations

import json

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.asking import Module, ask
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.hosts import Node, node_of


def nodes(module: Module, seconds: int) -> list[Node]:
    """Return the nodes of the swarm that the engine manages; the module fails as with `ask`."""
    ids = ask(module, seconds, "node", "ls", "--quiet").split()
    return [node_of(each) for each in json.loads(ask(module, seconds, "node", "inspect", *ids))]
