# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the values that say how many servers there are, and where."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")
# Names of secrets and configs, 64 characters at most, begin with it.
_PROJECT = 24


def swarm_problems(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each value that neither Docker Compose nor a swarm can use.

    Args:
        values: The variables by name, defaults among them.
    """
    replicas = int(values.get("mlflow_stack_replicas", 1))
    if replicas < 1:
        yield f"mlflow_stack_replicas is {replicas}; expected a number of servers, 1 or more."
    if values.get("mlflow_stack_engine", "compose") != "swarm":
        if replicas > 1:
            yield (
                f"mlflow_stack_replicas is {replicas}; Docker Compose runs one server. Set mlflow_stack_engine to "
                "swarm, or mlflow_stack_replicas to 1."
            )
        return
    if values.get("mlflow_gateway_tls") == "acme":
        yield (
            "mlflow_gateway_tls is acme, and several gateways cannot order one certificate yet. Set it to own, with a "
            "certificate that is renewed elsewhere, or to self."
        )
    for name in ("mlflow_stack_database_label", "mlflow_stack_gateway_label", "mlflow_stack_dask_label"):
        label = str(values.get(name) or "")
        needed = (
            name == "mlflow_stack_database_label" and values.get("mlflow_stack_backend_store") == "postgresql"
        )
        if (label or needed) and not _LABEL.fullmatch(label):
            yield f"{name} is '{label}'; expected the name of a label, such as mlflow.database."
    project = str(values.get("mlflow_stack_project", ""))
    if "{{" not in project and len(project) > _PROJECT:
        yield (
            f"mlflow_stack_project is {project}, {len(project)} characters; on a swarm, expected {_PROJECT} at most, "
            "since names of secrets begin with it."
        )
