# SPDX-License-Identifier: GPL-3.0-or-later
"""Logging in on a connection whose host key is trusted: keys, password, and why a server refuses them.

A key is refused only where the server said so about this key. A line that broke, a server that hung up, and one that
says nothing have causes of their own.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.private_key import (
    load_private_key,
    parse_private_key,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import (
    PublicKey,
    signature_algorithms,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.user_certificate import (
    certificate_problem,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.account import Account
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.failures import translate_errors
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.transport import (
    LoginHandler,
    Refusal,
    ServerEndedError,
    Transport,
    algorithms_for,
)

# How a key is called in messages that is in no file.
_GIVEN = "private_key"


def authenticate(transport: Transport, account: Account) -> str:
    """Log in and return how.

    Raises:
        DiagnosedError: key_*, auth_refused, user_certificate_invalid, auth_method_refused, auth_incomplete,
            auth_attempts_used_up, signature_refused, connection_lost, server_stalled.
    """
    keys = _load_keys(account)
    # Each answer has its own limit: a server may well take seconds for each key that it refuses.
    with translate_errors(transport, account.timeout * (3 + 2 * len(keys)), "logging in"):
        return _Login(transport, account).run(keys)


@dataclass
class _Attempt:
    """One way to log in: how to name it, and how to try it."""

    name: str
    method: str
    act: Callable[[], Refusal | None]


class _Login:
    def __init__(self, transport: Transport, account: Account) -> None:
        self._transport = transport
        self._account = account
        self._handler = LoginHandler(transport, account.user)
        self._refused: list[str] = []

    def run(self, keys: list[tuple[str, paramiko.PKey]]) -> str:
        refusal = self._handler.without_proof()
        if refusal is None:
            return "the server asks for no proof"
        methods = refusal.methods
        offered = f"the server offers {', '.join(methods) or 'nothing'}"
        attempts = self._attempts(keys, methods)
        if not attempts:
            raise self._nothing_to_try(keys, methods, offered)
        while attempts:
            attempt = attempts.pop(0)
            refusal = self._try(attempt)
            if refusal is None:
                return attempt.name
            if refusal.partial:
                attempts = [other for other in attempts if other.method in refusal.methods]
                if not attempts:
                    seen = f"accepted, but the server still wants {', '.join(refusal.methods)} ({offered})"
                    raise DiagnosedError("auth_incomplete", seen)
            else:
                self._refused.append(attempt.name)
        seen = f"refused for user {self._account.user}: {'; '.join(self._refused)}; {offered}"
        for file, key in keys:
            if problem := _certificate_problem(key, self._account.user):
                certificate = f"{file}-cert.pub"
                raise DiagnosedError(
                    "user_certificate_invalid", f"{certificate} {problem}; {seen}", certificate=certificate
                )
        raise DiagnosedError("auth_refused", seen)

    def _attempts(self, keys: list[tuple[str, paramiko.PKey]], methods: tuple[str, ...]) -> list[_Attempt]:
        attempts = []
        if "publickey" in methods:
            for file, key in keys:
                attempts += self._with_key(file, key)
        password = self._account.password
        if password is None:
            return attempts
        if "password" in methods:
            attempts.append(_Attempt("password", "password", lambda: self._handler.with_password(password)))
        elif "keyboard-interactive" in methods:
            attempts.append(
                _Attempt("password", "keyboard-interactive", lambda: self._handler.with_prompt(password))
            )
        return attempts

    def _with_key(self, file: str, key: paramiko.PKey) -> list[_Attempt]:
        shown = f"key {file} ({PublicKey(key.get_name(), key.get_base64())})"
        algorithms = algorithms_for(key, self._transport.signature_algorithms)

        def attempt(algorithm: str) -> _Attempt:
            name = f"{shown} as {algorithm}" if len(algorithms) > 1 else shown
            return _Attempt(name, "publickey", lambda: self._handler.with_key(key, algorithm))

        return [attempt(algorithm) for algorithm in algorithms]

    def _try(self, attempt: _Attempt) -> Refusal | None:
        try:
            return attempt.act()
        except ServerEndedError as error:
            if "authentication failures" in str(error).lower() and self._refused:
                seen = f"{error} at {attempt.name}, after {'; '.join(self._refused)}"
                raise DiagnosedError("auth_attempts_used_up", seen) from error
            seen = f"{error}, before it answered about {attempt.name}"
            code = "ssh_malformed" if self._transport.is_malformed else "connection_lost"
            raise DiagnosedError(code, f"while logging in: {seen}") from error
        except TimeoutError as error:
            seen = f"no answer within {self._account.timeout:g} s about {attempt.name}"
            raise DiagnosedError("server_stalled", seen) from error

    def _nothing_to_try(
        self, keys: list[tuple[str, paramiko.PKey]], methods: tuple[str, ...], offered: str
    ) -> DiagnosedError:
        if keys and "publickey" in methods:
            taken = ", ".join(self._transport.signature_algorithms)
            return DiagnosedError(
                "signature_refused", f"{keys[0][0]} is an RSA key; the server takes {taken}"
            )
        have = (["publickey"] if keys else []) + (["password"] if self._account.password else [])
        return DiagnosedError("auth_method_refused", f"{offered}; this login has {' and '.join(have)}")


def _certificate_problem(key: paramiko.PKey, user: str) -> str:
    if key.public_blob is None:
        return ""
    blob = base64.b64encode(key.public_blob.key_blob).decode()
    public = PublicKey(key.get_name(), key.get_base64())
    return certificate_problem(f"{key.public_blob.key_type} {blob}", user, public)


def ask_about_keys(transport: Transport, account: Account, keys: Sequence[PublicKey]) -> str:
    """Ask whether the server would let public keys log in, where their private halves are elsewhere.

    The server looks at everything but the signature and what it checks after that, such as PAM's account rules.

    Raises:
        DiagnosedError: auth_refused, connection_lost, server_stalled.
    """
    with translate_errors(transport, account.timeout * (2 + len(keys)), "asking about keys"):
        handler = LoginHandler(transport, account.user)
        try:
            handler.without_proof()
            refused = [key for key in keys if not _is_accepted(handler, key)]
        except ServerEndedError as error:
            raise DiagnosedError("connection_lost", f"while asking about keys: {error}") from error
    if refused:
        seen = f"refused for user {account.user}: {', '.join(map(str, refused))}"
        raise DiagnosedError("auth_refused", seen, key=", ".join(map(str, refused)))
    return f"would accept {', '.join(map(str, keys))}; nobody logged in: the private keys are elsewhere"


def _is_accepted(handler: LoginHandler, key: PublicKey) -> bool:
    return any(
        handler.would_accept(name, base64.b64decode(key.blob)) for name in signature_algorithms(key.type)
    )


def login_keys(account: Account) -> set[str]:
    """Return the base64 blobs of the public keys that the account may log in with."""
    if not account.key_files and not account.key_text:
        return set()
    return {key.get_base64() for _, key in _load_keys(account)}


def _load_keys(account: Account) -> list[tuple[str, paramiko.PKey]]:
    """Load what can be loaded of several keys; the first one's problem counts if none can."""
    if account.key_text:
        # Some formats are read only with the end of their last line.
        text = f"{account.key_text.rstrip()}\n".encode()
        return [(_GIVEN, parse_private_key(text, account.passphrase, Path(_GIVEN)))]
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
