# SPDX-License-Identifier: Apache-2.0
"""Whether an MLflow server answers, and reaches its database: `python -m mlflow_sftp.monitor.server_check URL`.

Prints `{"stages": [...]}`: `health`, which is a constant of the server, and `api`, a question to its database.
"""

import base64
import configparser
import json
import os
import re
import sys
import time
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

_TIMEOUT = 15.0
_QUESTIONS = {"health": "/health", "api": "/api/2.0/mlflow/experiments/search?max_results=1"}
_CREDENTIALS = Path("~/.mlflow/credentials")
_NAMES = ("mlflow_tracking_username", "mlflow_tracking_password")
_LONGEST = 300
_DATABASE = re.compile(r"OperationalError|sqlalche|psycopg|database", re.IGNORECASE)
_REMEDIES = {
    "mlflow_unreachable": "See that the service mlflow runs and is healthy (docker compose ps).",
    "mlflow_host_refused": "Add the name and port it is asked under to MLFLOW_SERVER_ALLOWED_HOSTS.",
    "mlflow_login_refused": "See that user and password of the monitor are those of an account of MLflow.",
    "mlflow_closed": "A cutover has closed MLflow; if none is running, finish or undo the one that was interrupted.",
    "service_database_unreachable": "See that the database runs, and takes connections from the service mlflow.",
    "mlflow_failed": "The server's log says why: docker compose logs mlflow.",
}


def cause_of(status: int, body: str) -> str:
    """Return the code of what an answer that is no success means."""
    if status == 401:
        return "mlflow_login_refused"
    if status == 403:
        return "mlflow_host_refused"
    # What the maintenance page says.
    if status == 503 and "is being moved" in body:
        return "mlflow_closed"
    return "service_database_unreachable" if _DATABASE.search(body) else "mlflow_failed"


def check_server(url: str, timeout: float = _TIMEOUT) -> list[dict[str, Any]]:
    """Ask a server, and return the stages up to the first that fails."""
    stages: list[dict[str, Any]] = []
    for name, path in _QUESTIONS.items():
        started = time.monotonic()
        cause, seen = _ask(url.rstrip("/") + path, timeout)
        stage = {"name": name, "status": "failed" if cause else "ok", "seconds": time.monotonic() - started}
        stages.append({**stage, "cause": cause, "detail": seen, "remedy": _REMEDIES.get(cause, "")})
        if cause:
            break
    return stages


def _ask(url: str, timeout: float) -> tuple[str, str]:
    request = Request(url, headers=_login())  # noqa: S310
    try:
        with urlopen(request, timeout=timeout) as answer:  # noqa: S310
            return "", f"HTTP {answer.status}"
    except HTTPError as error:
        body = error.read(1 << 16).decode(errors="replace")
        return cause_of(error.code, body), f"HTTP {error.code}: {' '.join(body.split())[:_LONGEST]}"
    except (OSError, HTTPException) as error:
        return "mlflow_unreachable", str(getattr(error, "reason", "") or error or type(error).__name__)


def _login() -> dict[str, str]:
    """The header of a login with user and password from where MLflow's clients take them."""
    # As read_mlflow_creds of MLflow, whose import takes a second of each check.
    file = configparser.ConfigParser()
    file.read(_CREDENTIALS.expanduser())
    written = file["mlflow"] if file.has_section("mlflow") else {}
    user, password = (os.environ.get(name.upper()) or written.get(name, "") for name in _NAMES)
    if not user:
        return {}
    both = f"{user}:{password}"
    return {"Authorization": f"Basic {base64.b64encode(both.encode()).decode()}"}


if __name__ == "__main__":
    print(json.dumps({"stages": check_server(sys.argv[1])}))
