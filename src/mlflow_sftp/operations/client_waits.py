# SPDX-License-Identifier: Apache-2.0
"""How long MLflow's client waits for those who check: training may be patient, who checks wants to know now."""

import os
from collections.abc import MutableMapping


def shorten_waits(
    *, sftp: int, http: int | None = None, environment: MutableMapping[str, str] = os.environ
) -> None:
    """Let MLflow's client and its SFTP store give up early; what the environment says already stays.

    Args:
        sftp: Seconds to retry an SFTP server that does not answer.
        http: Seconds to wait for an answer of the tracking server; None for MLflow's own limit.
        environment: What MLflow reads.
    """
    environment.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    environment.setdefault("MLFLOW_SFTP_RETRY_TIMEOUT", str(sftp))
    environment.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    if http is not None:
        environment.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(http))
