# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of MLflow's login: what the server reads, and with what each service logs in."""

from __future__ import annotations

import base64
import configparser
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users.users import (
    ADMIN,
    Grant,
    grants_of,
    service_user,
)

# Below the stack's directory.
DIRECTORY = ".secrets/mlflow_login"
# Where a container has MLflow's own file of user and password.
CREDENTIALS = "/home/mlflow/.mlflow/credentials"
SERVER_FILE = "server.json"
# Where the server's container has that.
SERVER = "/run/secrets/mlflow_login.json"


@dataclass(frozen=True)
class DeployedLogin:
    """What the server of a stack reads of its login: of the server that runs, also after a way back.

    Attributes:
        text: Of the file; empty where no login is deployed.
        admin_password: Of the administrator.
        users: Names of those that the server begins with, the administrator's first.
        problem: Why nobody knows, for people; empty where it is known.
    """

    text: str = ""
    admin_password: str = ""
    users: tuple[str, ...] = ()
    problem: str = ""

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> DeployedLogin:
        """Return what the module slurp has answered, asked only where the file is there.

        An answer of a task that was skipped, or none, is a stack without a login.
        """
        if "content" in answer:
            return cls.parse(base64.b64decode(answer["content"]).decode(errors="replace"))
        if not answer or answer.get("skipped"):
            return cls()
        return cls(problem=_unreadable(str(answer.get("msg", "nobody says why"))))

    @classmethod
    def parse(cls, text: str) -> DeployedLogin:
        """Return what a text says that `login_files` has made."""
        try:
            users = json.loads(text)["users"]
            admin, *_ = (user["password"] for user in users if user.get("admin"))
            return cls(text, str(admin), tuple(str(user["name"]) for user in users))
        except (ValueError, LookupError, TypeError, AttributeError):
            return cls(problem=_unreadable("it does not hold what site.yml writes"))


def _unreadable(reason: str) -> str:
    return (
        f"{DIRECTORY}/{SERVER_FILE} of the stack, which the server reads, cannot be used ({reason}). Run site.yml "
        "first, which writes it anew."
    )


def login_files(
    secret: str,
    admin_password: str,
    services: Sequence[str],
    permissions: Sequence[Mapping[str, Any]],
    default_permission: str,
    cache_seconds: int,
) -> dict[str, str]:
    """Return the files of the login by name, each with its text.

    Args:
        secret: Random text that the services' passwords and the server's key are derived from.
        admin_password: Of the administrator, as whom the server's own container logs in; empty for one of the stack's
            own. It stands nowhere but in these files, which a way back gives back together.
        services: Services of the stack; each has a file of its own name, and the server one more.
        permissions: Of the services' users.
        default_permission: Of users on what nobody has granted them.
        cache_seconds: How long a password that was right is not compared again.
    """
    passwords = {name: derived(secret, f"service {name}") for name in services}
    passwords["mlflow"] = admin_password or derived(secret, "administrator")
    server = {
        "default_permission": default_permission,
        "cache_seconds": cache_seconds,
        "secret_key": derived(secret, "server"),
        "users": [
            _user(name, passwords[name], grants_of(permissions)) for name in ("mlflow", *_clients(services))
        ],
    }
    files = {name: credentials(service_user(name), password) for name, password in passwords.items()}
    return files | {SERVER_FILE: json.dumps(server, indent=2) + "\n"}


def digests(files: Mapping[str, str]) -> dict[str, str]:
    """Return a digest by service of the files that it has: a container is made anew where one changes."""
    texts = {name: text for name, text in files.items() if name != SERVER_FILE}
    texts["mlflow"] = texts.get("mlflow", "") + files[SERVER_FILE]
    return {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in texts.items()}


def derived(secret: str, purpose: str) -> str:
    """Return 40 characters that tell neither the secret nor what it gives for another purpose."""
    return hmac.new(secret.encode(), purpose.encode(), hashlib.sha256).hexdigest()[:40]


def credentials(user: str, password: str) -> str:
    """Return the text of MLflow's file of user and password."""
    escaped = password.replace("%", "%%")
    return f"[mlflow]\nmlflow_tracking_username = {user}\nmlflow_tracking_password = {escaped}\n"


def authorization(stack: Path) -> dict[str, str]:
    """Return the header with which the server's own user logs in; empty where the stack has no login.

    Raises:
        OSError: The file cannot be read.
    """
    file = stack / DIRECTORY / "mlflow"
    if not file.exists():
        return {}
    config = configparser.ConfigParser()
    config.read_string(file.read_text(encoding="utf-8"))
    given = config["mlflow"]
    return basic(given["mlflow_tracking_username"], given["mlflow_tracking_password"])


def basic(user: str, password: str) -> dict[str, str]:
    """Return the header of a login."""
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


def _clients(services: Sequence[str]) -> list[str]:
    return [name for name in services if name != "mlflow"]


def _user(service: str, password: str, grants: Sequence[Grant]) -> dict[str, Any]:
    name = service_user(service)
    if name == ADMIN:
        return {"name": name, "password": password, "admin": True}
    return {"name": name, "password": password, "grants": [asdict(grant) for grant in grants]}
