# SPDX-License-Identifier: GPL-3.0-or-later
"""The users of an MLflow server with its own login, over its HTTP API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users.decisions import (
    Changes,
    Present,
    Wanted,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users.login import basic
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users.users import KINDS, Grant

_SECONDS = 60
_REFUSED, _UNKNOWN = 401, 404


class UsersError(Exception):
    """A question that MLflow did not answer, with what to do; no password is in it."""

    def __init__(self, seen: str, remedy: str) -> None:
        super().__init__(f"{seen}. {remedy}.")
        self.seen = seen
        self.remedy = remedy


class Users:
    """The users of one server; every method raises `UsersError`."""

    def __init__(self, url: str, admin: str, password: str) -> None:
        self._url = url.rstrip("/")
        self._admin = admin
        self._header = basic(admin, password)
        # A server of this host, or one that the host reaches itself.
        self._opener = build_opener(ProxyHandler({}))

    def logs_in(self, name: str, password: str) -> bool:
        """Return whether this is somebody's password."""
        status, _ = self._send("GET", "2.0", "users/current", header=basic(name, password))
        return status != _REFUSED

    def present(self, name: str, password: str) -> Present | None:
        """Return a user as he is, None where there is none; without a password, none is tried."""
        status, found = self._send("GET", "2.0", "users/get", {"username": name})
        if status == _UNKNOWN:
            return None
        admin = bool(self._require(status, found, f"look for the user {name}")["user"]["is_admin"])
        return Present(admin, not password or self.logs_in(name, password), self._grants(name))

    def experiment_id(self, name: str) -> str:
        """Return the id of an experiment by its name; empty where there is none."""
        query = {"experiment_name": name}
        status, found = self._send("GET", "2.0", "experiments/get-by-name", query)
        if status == _UNKNOWN:
            return ""
        answer = self._require(status, found, f"look for the experiment {name}")
        return str(answer["experiment"]["experiment_id"])

    def change(self, name: str, wanted: Wanted, changes: Changes) -> None:
        """Carry changes out; what is done stays where a later one fails, and the next call goes on."""
        user: dict[str, object] = {"username": name}
        if changes.create:
            self._do(
                "POST", "2.0", "users/create", {**user, "password": wanted.password}, f"make the user {name}"
            )
        if changes.password:
            deed = f"give {name} another password"
            self._do("PATCH", "2.0", "users/update-password", {**user, "password": wanted.password}, deed)
        if changes.admin is not None:
            deed = f"{'make' if changes.admin else 'no longer let'} {name} an administrator"
            self._do("PATCH", "2.0", "users/update-admin", {**user, "is_admin": changes.admin}, deed)
        for verb, grants in (("revoke", changes.revoke), ("grant", changes.grant)):
            for grant in grants:
                resource = {"resource_type": grant.kind, "resource_id": grant.name}
                given = {"permission": grant.permission} if verb == "grant" else {}
                path = f"users/permissions/{verb}"
                self._do("POST", "3.0", path, {**user, **resource, **given}, f"{verb} {name} {grant}")

    def remove(self, name: str) -> None:
        """Delete a user; the experiments and models that he made stay."""
        self._do("DELETE", "2.0", "users/delete", {"username": name}, f"delete the user {name}")

    def _grants(self, name: str) -> frozenset[Grant]:
        status, found = self._send("GET", "3.0", "users/permissions/list", {"username": name})
        rows = self._require(status, found, f"read the permissions of {name}")["permissions"]
        return frozenset(
            Grant(row["resource_type"], row["resource_pattern"], row["permission"])
            for row in rows
            # What others have by a role of several users is not the user's own.
            if row["resource_type"] in KINDS and row["role_name"].startswith("__user_")
        )

    def _do(self, method: str, version: str, path: str, body: Mapping[str, object], deed: str) -> None:
        status, found = self._send(method, version, path, body=body)
        self._require(status, found, deed)

    def _require(self, status: int, found: Mapping[str, Any], deed: str) -> Mapping[str, Any]:
        if status == _REFUSED:
            raise UsersError(
                f"{self._url} does not accept the password of its administrator {self._admin}",
                "Give the one that it has; where somebody has changed it in MLflow, restart the stack's server, "
                "which gives it the inventory's",
            )
        if status >= 400:
            said = str(found.get("message", "")).partition("\n")[0]
            raise UsersError(
                f"{self._url} refused to {deed}: HTTP {status} {said}".rstrip(), "See the server's log"
            )
        return found

    def _send(
        self,
        method: str,
        version: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
        header: Mapping[str, str] | None = None,
    ) -> tuple[int, Mapping[str, Any]]:
        url = f"{self._url}/api/{version}/mlflow/{path}{'?' + urlencode(query) if query else ''}"
        data = json.dumps(body).encode() if body is not None else None
        headers = {**(header or self._header), **({"Content-Type": "application/json"} if data else {})}
        try:
            request = Request(url, data, headers, method=method)  # noqa: S310  # As the options say.
            with self._opener.open(request, timeout=_SECONDS) as answer:
                return int(answer.status), _object(answer.read())
        except HTTPError as error:
            with error:
                return error.code, _object(error.read())
        except OSError as error:
            seen = f"No MLflow answers at {self._url}: {getattr(error, 'reason', None) or error}"
            raise UsersError(seen, "Start the stack, or name its address") from error


def _object(text: bytes) -> Mapping[str, Any]:
    """What an answer says, if it is an object of JSON."""
    try:
        found = json.loads(text or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
