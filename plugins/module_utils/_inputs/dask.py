# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the variables of dask's scheduler and workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.truth import is_true
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users.users import (
    MIN_PASSWORD,
    password_problem,
)

# More than that, bcrypt does not hash.
_MAX_PASSWORD = 72
_LIMITS = {"dask-scheduler": "1g", "dask-worker": "2g"}
# Of what begins jobs on a swarm, where it is no service that anybody asks for.
_JOBS = {"train": "2g"}


def dask_problems(values: Mapping[str, Any], is_on: bool) -> Iterator[str]:
    """Return a sentence for each value that scheduler and workers cannot use.

    Args:
        values: The variables, each of its own type.
        is_on: Whether there are a scheduler and workers.
    """
    on_swarm = values.get("mlflow_stack_engine") == "swarm"
    workers = int(values.get("mlflow_stack_dask_workers", 1))
    if workers < (0 if on_swarm else 1):
        each = ", or 0 for one on each node" if on_swarm else ""
        yield f"mlflow_stack_dask_workers is {workers}; expected a number of workers, 1 or more{each}."
    yield from _dashboard_problems(values, is_on)
    if not is_on:
        return
    directory = values.get("mlflow_stack_dask_authority_dir")
    if not directory:
        yield (
            "mlflow_stack_dask is on, and mlflow_stack_dask_authority_dir is empty: name a directory of the controller "
            "for the certificate authority of scheduler and workers, and its key."
        )
    elif directory == values.get("mlflow_gateway_authority_dir"):
        yield (
            "mlflow_stack_dask_authority_dir is mlflow_gateway_authority_dir: whoever holds a certificate of that "
            "authority could run code on the workers. Name another directory."
        )
    if not on_swarm and "train" not in values.get("mlflow_stack_services", ["train"]):
        yield "mlflow_stack_dask is on, and mlflow_stack_services lacks train, as which the workers log in; add it."
    needed = _LIMITS | (_JOBS if on_swarm else {})
    limits = values.get("mlflow_stack_memory_limits") or needed
    for service, example in needed.items():
        if service not in limits:
            yield f"mlflow_stack_memory_limits has no entry for {service}; add one, such as {example}."


def _dashboard_problems(values: Mapping[str, Any], is_on: bool) -> Iterator[str]:
    password = values.get("mlflow_stack_dask_dashboard_password") or ""
    # One that is generated is empty here.
    if password and (password_problem(password) or len(password) > _MAX_PASSWORD):
        yield (
            f"mlflow_stack_dask_dashboard_password is no password that browsers can send and nobody guesses; expected "
            f"{MIN_PASSWORD} to {_MAX_PASSWORD} ASCII characters, without a space at an end."
        )
    if not is_true(values.get("mlflow_stack_dask_dashboard", False)):
        return
    if not is_on:
        yield (
            "mlflow_stack_dask_dashboard is on, and mlflow_stack_dask is off, so that there is nothing to look at: "
            "switch mlflow_stack_dask on, or the dashboard off."
        )
    if values.get("mlflow_stack_engine") == "swarm":
        yield (
            "mlflow_stack_dask_dashboard is on, and the gateways of a swarm do not show the dashboard yet: switch it "
            "off, or mlflow_stack_engine back to compose."
        )
    if not values.get("mlflow_gateway_hostname"):
        yield (
            "mlflow_stack_dask_dashboard is on, and mlflow_gateway_hostname is empty: only a gateway shows the "
            "dashboard, which asks nobody who he is by itself. Name the gateway, or switch the dashboard off."
        )
