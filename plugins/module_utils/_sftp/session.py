# SPDX-License-Identifier: GPL-3.0-or-later
"""An open SFTP session: the subsystem on a connection that is logged in, or all the way in one go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import paramiko
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.account import Account
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.client import (
    NO_EXIT_STATUS,
    GarbledError,
    SftpClient,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.connect import (
    greet,
    negotiate,
    resolve,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.failures import (
    raise_diagnosed,
    translate_errors,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.login import authenticate
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.transport import Transport
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.trust import (
    negotiate_trusted,
    trust_rules,
)


def open_sftp(transport: Transport, timeout: float) -> SftpClient:
    """Open the SFTP subsystem.

    Raises:
        DiagnosedError: no_sftp_subsystem, sftp_garbled, login_cut_short, connection_lost, server_stalled.
    """
    with translate_errors(transport, timeout, "opening SFTP"):
        channel = _open_channel(transport, timeout)
        try:
            channel.invoke_subsystem("sftp")
        except paramiko.SSHException as error:
            if _has_ended(transport):
                raise
            raise DiagnosedError("no_sftp_subsystem", "the server refuses the subsystem 'sftp'") from error
        try:
            return SftpClient(channel, timeout)
        except GarbledError as error:
            raise DiagnosedError("sftp_garbled", f"instead of SFTP comes {error}") from None
        except EOFError as error:
            if channel.exit_status == NO_EXIT_STATUS and _has_ended(transport):
                raise
            raise DiagnosedError("no_sftp_subsystem", str(error)) from None


def _open_channel(transport: Transport, timeout: float) -> paramiko.Channel:
    try:
        channel = transport.open_session(timeout=timeout)
    except paramiko.ChannelException as error:
        raise DiagnosedError("no_sftp_subsystem", f"the server opens no session ({error.text})") from error
    except (paramiko.SSHException, EOFError) as error:
        if "imeout" in str(error) or not _has_ended(transport) or transport.is_malformed:
            raise
        raise DiagnosedError("login_cut_short", f"logged in, then: {transport.why_ended()}") from error
    channel.settimeout(timeout)
    return channel


def _has_ended(transport: Transport) -> bool:
    """Tell whether the whole connection is gone; when it breaks, its channels end a moment earlier."""
    transport.join(1)
    return not transport.is_active()


@contextmanager
def sftp_session(account: Account) -> Iterator[SftpClient]:
    """Connect, log in and open SFTP in one go, for modules that then work on files.

    Raises:
        DiagnosedError: for every stage before the session is open, and if it breaks inside the block.
    """
    try:
        with _open_session(account) as sftp:
            yield sftp
    except DiagnosedError as error:
        raise error.with_facts(account.facts) from error


@contextmanager
def _open_session(account: Account) -> Iterator[SftpClient]:
    rules = trust_rules(account)
    addresses = resolve(account.endpoint, account.timeout)
    sock, _ = greet(addresses, account.timeout)
    transport = negotiate(sock, rules.key_algorithms, account.timeout)
    try:
        transport, _ = negotiate_trusted(account, addresses, transport, rules)
        authenticate(transport, account)
        yield open_sftp(transport, account.timeout)
    except Exception as error:
        raise_diagnosed(error, account.timeout, "working on files", transport)
    finally:
        transport.close()
