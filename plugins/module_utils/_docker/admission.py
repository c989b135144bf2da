# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a stack's gateway lets requests through to MLflow, as HAProxy is told in its container."""

from __future__ import annotations

from typing import Literal

# Of the container, as in the configuration that the role mlflow_gateway writes.
PORT = 8405
_SERVER = "mlflow/mlflow1"


def command(state: Literal["maint", "ready"]) -> list[str]:
    """Return the command that tells HAProxy inside the container, which has neither socat nor Python.

    With ``maint``, what comes is told to wait, and what is being answered goes on.
    """
    tell = f"exec 3<>/dev/tcp/127.0.0.1/{PORT}; echo 'set server {_SERVER} state {state}' >&3; cat <&3"
    return ["bash", "-c", tell]
