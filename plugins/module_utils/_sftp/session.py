# SPDX-License-Identifier: GPL-3.0-or-later
"""An open SFTP session: the subsystem on a connection that is logged in, or all the way in one go."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import paramiko
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.account import Account
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.connect import (
    connect,
    negotiate,
    read_banner,
    resolve,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.failures import (
    is_broken_line,
    raise_diagnosed,
    translate_errors,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.login import authenticate
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.transport import Transport
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.trust import (
    negotiate_trusted,
    trust_rules,
)
from paramiko.sftp import CMD_EXTENDED, CMD_EXTENDED_REPLY


@dataclass(frozen=True)
class FileSystem:
    """What statvfs tells: bytes and inodes free for this user, and whether it is mounted read-only."""

    free: int
    free_inodes: int
    read_only: bool


_NO_EXIT_STATUS = -1
_STATVFS = struct.Struct(">11Q")


class SftpClient(paramiko.SFTPClient):
    """paramiko's client and one extension of OpenSSH's server that it does not know."""

    _request: Callable[..., tuple[int, paramiko.Message]]

    @property
    def server_banner(self) -> str:
        """The server's greeting, which names its software."""
        channel = self.get_channel()
        return channel.get_transport().remote_version if channel else ""

    def statvfs(self, path: str) -> FileSystem | None:
        """Ask about the file system that holds `path`.

        Returns:
            None where the server cannot tell, also one that says it can: some refuse, some answer with no numbers.

        Raises:
            OSError, EOFError, paramiko.SSHException: The connection broke.
        """
        try:
            kind, reply = self._request(CMD_EXTENDED, "statvfs@openssh.com", path)
        except (OSError, EOFError) as error:
            # The status "end of file" is an EOFError too, and no less a refusal.
            if is_broken_line(error) or self.sock.closed:
                raise
            return None
        numbers = reply.get_remainder()
        if kind != CMD_EXTENDED_REPLY or len(numbers) < _STATVFS.size:
            return None
        _, fragment, _, _, free, _, _, free_inodes, _, flags, _ = _STATVFS.unpack_from(numbers)
        return FileSystem(free * fragment, free_inodes, bool(flags & 1))


def open_sftp(transport: Transport, timeout: float) -> SftpClient:
    """Open the SFTP subsystem.

    Raises:
        DiagnosedError: no_sftp_subsystem, sftp_garbled, connection_lost, server_stalled.
    """
    with translate_errors(transport, timeout, "opening SFTP"):
        channel = transport.open_session(timeout=timeout)
        channel.settimeout(timeout)
        try:
            channel.invoke_subsystem("sftp")
        except paramiko.SSHException as error:
            if not transport.is_active():
                raise
            raise DiagnosedError("no_sftp_subsystem", "the server refuses the subsystem 'sftp'") from error
        try:
            return SftpClient(channel)
        except paramiko.SFTPError:
            seen = f"instead of SFTP comes {_first_output(transport, timeout)!r}"
            raise DiagnosedError("sftp_garbled", seen) from None
        except (EOFError, paramiko.SSHException):
            status = channel.recv_exit_status()
            if status == _NO_EXIT_STATUS and _has_ended(transport):
                raise
            seen = f"the subsystem ends at once with exit status {status}"
            raise DiagnosedError("no_sftp_subsystem", seen) from None


def _has_ended(transport: Transport) -> bool:
    """Tell whether the whole connection is gone; when it breaks, its channels end a moment earlier."""
    transport.join(1)
    return not transport.is_active()


def _first_output(transport: Transport, timeout: float) -> str:
    """Return the beginning of what the subsystem prints, for evidence."""
    channel = transport.open_session(timeout=timeout)
    channel.settimeout(timeout)
    channel.invoke_subsystem("sftp")
    return channel.recv(200).decode("utf-8", "replace").strip()


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
    sock = connect(addresses, account.timeout)
    read_banner(sock, account.timeout)
    transport = negotiate(sock, rules.key_algorithms, account.timeout)
    try:
        transport, _ = negotiate_trusted(account, addresses, transport, rules)
        authenticate(transport, account)
        yield open_sftp(transport, account.timeout)
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise_diagnosed(error, account.timeout, "working on files", transport)
    finally:
        transport.close()
