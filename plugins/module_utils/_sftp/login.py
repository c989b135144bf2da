# SPDX-License-Identifier: GPL-3.0-or-later
"""Logging in on a connection whose host key is trusted: keys, password, and why a server refuses them."""

from __future__ import annotations

import paramiko
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.private_key import load_private_key
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import PublicKey
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.account import Account
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.failures import translate_errors


def authenticate(transport: paramiko.Transport, account: Account) -> str:
    """Log in and return how.

    Raises:
        DiagnosedError: key_*, auth_refused, auth_method_refused, auth_incomplete, connection_lost,
            server_stalled.
    """
    keys = _load_keys(account)
    with translate_errors(transport, account.timeout, "logging in"):
        methods = _methods_offered(transport, account.user)
        if methods is None:
            return "the server asks for no proof"
        offered = f"the server offers {', '.join(methods) or 'nothing'}"
        tried = []
        if "publickey" in methods:
            for file, key in keys:
                name = f"key {file} ({PublicKey(key.get_name(), key.get_base64())})"
                if _accepted(transport, account.user, offered, key=key):
                    return name
                tried.append(name)
        if account.password and {"password", "keyboard-interactive"} & set(methods):
            if _accepted(transport, account.user, offered, password=account.password):
                return "password"
            tried.append("a password")
    if not tried:
        have = " and ".join((["publickey"] if keys else []) + (["password"] if account.password else []))
        raise DiagnosedError("auth_method_refused", f"{offered}; this login has {have}")
    raise DiagnosedError("auth_refused", f"refused for user {account.user}: {'; '.join(tried)}; {offered}")


def login_keys(account: Account) -> set[str]:
    """Return the base64 blobs of the public keys that the account may log in with."""
    if not account.key_files:
        return set()
    return {key.get_base64() for _, key in _load_keys(account)}


def _load_keys(account: Account) -> list[tuple[str, paramiko.PKey]]:
    """Load what can be loaded of several keys; the first one's problem counts if none can."""
    keys = []
    problems = []
    for file in account.key_files:
        try:
            keys.append((file, load_private_key(file, account.passphrase)))
        except DiagnosedError as error:
            problems.append(error)
    if problems and not keys:
        raise problems[0]
    return keys


def _methods_offered(transport: paramiko.Transport, user: str) -> list[str] | None:
    try:
        transport.auth_none(user)
    except paramiko.BadAuthenticationType as error:
        return list(error.allowed_types)
    return None


def _accepted(
    transport: paramiko.Transport,
    user: str,
    offered: str,
    *,
    key: paramiko.PKey | None = None,
    password: str | None = None,
) -> bool:
    try:
        if key is not None:
            missing = transport.auth_publickey(user, key)
        else:
            missing = transport.auth_password(user, password or "")
    except paramiko.BadAuthenticationType as error:
        seen = f"the server now offers only {', '.join(error.allowed_types)}"
        raise DiagnosedError("auth_method_refused", seen) from error
    except paramiko.AuthenticationException as error:
        if "timeout" in str(error).lower():
            raise TimeoutError from error
        return False
    if missing:
        seen = f"accepted, but the server still wants {', '.join(missing)} ({offered})"
        raise DiagnosedError("auth_incomplete", seen)
    return True
