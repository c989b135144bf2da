# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a stack's gateway lets requests through to MLflow, as HAProxy is told in its container."""

from __future__ import annotations

from typing import Literal

# Of the container, as in the configuration that the role mlflow_gateway writes.
PORT = 8405
_SERVER = "mlflow/mlflow1"
# What is told to wait waits no longer than this, though nobody is left to say that the time is over.
_AT_MOST_SECONDS = 60
# HAProxy answers what it cannot do with a sentence, and what it has done with an empty line.
_TELL = f"""
tell() (
  exec 3<>/dev/tcp/127.0.0.1/{PORT} && echo "set server {_SERVER} state $1" >&3 &&
    read -r -t 5 said <&3 && [ -z "$said" ] || {{ echo "HAProxy: ${{said:-no answer}}" >&2; exit 1; }}
)
"""


def command(state: Literal["maint", "ready"]) -> list[str]:
    """Return the command that tells HAProxy inside the container, which has neither socat nor Python.

    With ``maint``, what comes is told to wait, and what is being answered goes on; for a minute at most, after which
    the health check alone says whether MLflow answers. It ends with 1 where HAProxy did not do as it was told.
    """
    until = f" && {{ (sleep {_AT_MOST_SECONDS}; tell ready) </dev/null >/dev/null 2>&1 & }}"
    return ["bash", "-c", f"{_TELL}tell {state}{until if state == 'maint' else ''}"]
