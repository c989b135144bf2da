# SPDX-License-Identifier: GPL-3.0-or-later
"""From a negotiated connection to an open SFTP session: trust in the host key, login, subsystem."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

import paramiko
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys import (
    host_certificate as certificates,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.known_hosts import (
    KnownKey,
    read_known_hosts,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.private_key import load_private_key
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import KEY_TYPES, PublicKey
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.account import Target
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.connect import (
    SocketAddress,
    connect,
    negotiate,
    read_banner,
    resolve,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.trust import (
    scan,
    signature_algorithms,
)
from paramiko.sftp import CMD_EXTENDED


@dataclass(frozen=True)
class FileSystem:
    """What statvfs tells: bytes and inodes free for this user, and whether it is mounted read-only."""

    free: int
    free_inodes: int
    read_only: bool


_NO_EXIT_STATUS = -1


class SftpClient(paramiko.SFTPClient):
    """paramiko's client and one extension of OpenSSH's server that it does not know."""

    _request: Callable[..., tuple[int, paramiko.Message]]

    @property
    def server_banner(self) -> str:
        """The server's greeting, which names its software."""
        channel = self.get_channel()
        return channel.get_transport().remote_version if channel else ""

    def statvfs(self, path: str) -> FileSystem:
        """Ask about the file system that holds `path`; OSError where the server cannot tell."""
        _, reply = self._request(CMD_EXTENDED, "statvfs@openssh.com", path)
        _, fragment, _, _, free, _, _, free_inodes, _, flags, _ = (reply.get_int64() for _ in range(11))
        return FileSystem(free * fragment, free_inodes, bool(flags & 1))


@dataclass(frozen=True)
class ServerKey:
    """The host key of a negotiated connection; the server proved that it holds it.

    Attributes:
        key: The key.
        certificate: Type and blob of the certificate that came with it, if one did.
    """

    key: PublicKey
    certificate: tuple[str, bytes] | None


@dataclass(frozen=True)
class TrustRules:
    """Which host keys count as the server's: the lines of known_hosts, the pinned fingerprints, or both.

    Attributes:
        host: The server's name without a port, which a certificate must name.
        known: Lines of known_hosts that apply.
        fingerprints: Pins.
        checks_files: Whether known_hosts counts at all.
    """

    host: str
    known: list[KnownKey]
    fingerprints: tuple[str, ...]
    checks_files: bool

    @property
    def _authorities(self) -> list[PublicKey]:
        return [known.key for known in self.known if known.marker == "@cert-authority"]

    @property
    def key_algorithms(self) -> list[str]:
        """Algorithms to ask for, certificates and those of known keys first, as OpenSSH does."""
        types = [known.key.type for known in self.known if not known.marker]
        ordered = sorted(KEY_TYPES, key=lambda key_type: key_type not in types)
        plain = [algorithm for key_type in ordered for algorithm in signature_algorithms(key_type)]
        if not (self._authorities and certificates.SUPPORTED):
            return plain
        return [f"{algorithm}{certificates.SUFFIX}" for algorithm in plain] + plain

    def check(self, shown: ServerKey) -> str:
        """Return why a key is trusted.

        Raises:
            DiagnosedError: host_key_revoked, host_key_unknown, host_key_changed, host_key_other_algorithm,
                host_certificate_invalid.
        """
        key = shown.key
        reasons = []
        if self.checks_files:
            reasons.append(self._check_files(shown))
        if self.fingerprints:
            if key.fingerprint not in self.fingerprints:
                seen = f"the server shows {key}; pinned: {', '.join(self.fingerprints)}"
                raise DiagnosedError("host_key_changed", seen)
            reasons.append("pinned")
        return f"{key}, {' and '.join(reasons)}"

    def _check_files(self, shown: ServerKey) -> str:
        key = shown.key
        trusted = [known for known in self.known if not known.marker]
        for known in self.known:
            if known.key.blob == key.blob and known.marker == "@revoked":
                raise DiagnosedError("host_key_revoked", f"{key}, revoked in {known.source}")
        for known in trusted:
            if known.key.blob == key.blob:
                return f"listed in {known.source}"
        if shown.certificate is not None:
            return certificates.check_certificate(*shown.certificate, self.host, self._authorities)
        if not trusted:
            raise DiagnosedError("host_key_unknown", f"the server shows {key}; no key of it is listed")
        listed = ", ".join(f"{known.key} ({known.source})" for known in trusted)
        same_type = any(known.key.type == key.type for known in trusted)
        code = "host_key_changed" if same_type else "host_key_other_algorithm"
        raise DiagnosedError(code, f"the server shows {key}; listed: {listed}")


def trust_rules(target: Target) -> TrustRules:
    """Read what the target trusts.

    Raises:
        DiagnosedError: known_hosts_unreadable.
    """
    files = target.known_hosts_files
    known = read_known_hosts(files, target.endpoint.known_hosts_name) if files else []
    return TrustRules(target.endpoint.host, known, target.fingerprints, bool(files))


def negotiate_trusted(
    target: Target, addresses: Sequence[SocketAddress], transport: paramiko.Transport, rules: TrustRules
) -> tuple[paramiko.Transport, str]:
    """Return a connection whose host key is trusted, and why it is.

    A pin says nothing about its key's type: where the key negotiated is not pinned, but another of the same
    server is, a new connection with that one takes the place of `transport`.

    Raises:
        DiagnosedError: as `TrustRules.check`.
    """
    key = server_key(transport)
    try:
        return transport, rules.check(key)
    except DiagnosedError as error:
        transport.close()
        if rules.checks_files or error.cause.code != "host_key_changed":
            raise
        offered = scan(target.endpoint, KEY_TYPES, target.timeout)
        pinned = [other for other in offered if other.fingerprint in rules.fingerprints]
        if not pinned:
            shown = ", ".join(map(str, offered))
            seen = f"the server shows {shown}; pinned: {', '.join(rules.fingerprints)}"
            raise DiagnosedError("host_key_changed", seen) from None
    sock = connect(addresses, target.timeout)
    read_banner(sock, target.timeout)
    transport = negotiate(sock, signature_algorithms(pinned[0].type), target.timeout)
    return transport, rules.check(server_key(transport))


def server_key(transport: paramiko.Transport) -> ServerKey:
    """Return the host key of a negotiated connection."""
    key = transport.get_remote_server_key()
    blob = key.public_blob
    certificate = (blob.key_type, blob.key_blob) if blob is not None else None
    return ServerKey(PublicKey(key.get_name(), key.get_base64()), certificate)


def authenticate(transport: paramiko.Transport, target: Target) -> str:
    """Log in and return how.

    Raises:
        DiagnosedError: key_*, auth_refused, auth_method_refused, auth_incomplete, connection_lost,
            server_stalled.
    """
    keys = _load_keys(target)
    with translated_errors(transport, target.timeout, "logging in"):
        methods = _methods_offered(transport, target.user)
        if methods is None:
            return "the server asks for no proof"
        offered = f"the server offers {', '.join(methods) or 'nothing'}"
        tried = []
        if "publickey" in methods:
            for file, key in keys:
                name = f"key {file} ({PublicKey(key.get_name(), key.get_base64())})"
                if _accepted(transport, target.user, offered, key=key):
                    return name
                tried.append(name)
        if target.password and {"password", "keyboard-interactive"} & set(methods):
            if _accepted(transport, target.user, offered, password=target.password):
                return "password"
            tried.append("a password")
    if not tried:
        have = " and ".join((["publickey"] if keys else []) + (["password"] if target.password else []))
        raise DiagnosedError("auth_method_refused", f"{offered}; this login has {have}")
    raise DiagnosedError("auth_refused", f"refused for user {target.user}: {'; '.join(tried)}; {offered}")


def _load_keys(target: Target) -> list[tuple[str, paramiko.PKey]]:
    """Load what can be loaded of several keys; the first one's problem counts if none can."""
    keys = []
    problems = []
    for file in target.key_files:
        try:
            keys.append((file, load_private_key(file, target.passphrase)))
        except DiagnosedError as error:
            problems.append(error)
    if problems and not keys:
        raise problems[0]
    return keys


def login_keys(target: Target) -> set[str]:
    """Return the base64 blobs of the public keys that the target may log in with."""
    if not target.key_files:
        return set()
    return {key.get_base64() for _, key in _load_keys(target)}


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


def is_broken_line(error: OSError) -> bool:
    """Tell a connection that failed from a server that answered "no"; paramiko raises OSError for both."""
    return isinstance(error, TimeoutError | ConnectionError) or str(error) == "Socket is closed"


@contextmanager
def translated_errors(transport: paramiko.Transport, timeout: float, doing: str) -> Iterator[None]:
    """Give connection failures inside the block a named cause, and end what outlasts the time limit.

    Some waits of paramiko know no limit; closing the connection wakes them up.
    """
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        transport.close()

    watchdog = threading.Timer(timeout, expire)
    watchdog.start()
    try:
        yield
    except (paramiko.SSHException, EOFError, OSError) as error:
        if expired.is_set():
            raise _stalled(timeout, doing) from error
        _raise_diagnosed(error, timeout, doing)
    finally:
        watchdog.cancel()


def _raise_diagnosed(error: Exception, timeout: float, doing: str) -> NoReturn:
    """Raise the named cause of a broken line, or the error itself if it is the server's answer."""
    if isinstance(error, OSError) and not is_broken_line(error):
        raise error
    if isinstance(error, TimeoutError) or "imeout" in str(error):
        raise _stalled(timeout, doing) from error
    raise DiagnosedError("connection_lost", f"while {doing}: {error or 'end of file'}") from error


def _stalled(timeout: float, doing: str) -> DiagnosedError:
    return DiagnosedError("server_stalled", f"no answer within {timeout:g} s while {doing}")


def open_sftp(transport: paramiko.Transport, timeout: float) -> SftpClient:
    """Open the SFTP subsystem.

    Raises:
        DiagnosedError: no_sftp_subsystem, sftp_garbled, connection_lost, server_stalled.
    """
    with translated_errors(transport, timeout, "opening SFTP"):
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


def _has_ended(transport: paramiko.Transport) -> bool:
    """Tell whether the whole connection is gone; when it breaks, its channels end a moment earlier."""
    transport.join(1)
    return not transport.is_active()


def _first_output(transport: paramiko.Transport, timeout: float) -> str:
    """Return the beginning of what the subsystem prints, for evidence."""
    channel = transport.open_session(timeout=timeout)
    channel.settimeout(timeout)
    channel.invoke_subsystem("sftp")
    return channel.recv(200).decode("utf-8", "replace").strip()


@contextmanager
def sftp_session(target: Target) -> Iterator[SftpClient]:
    """Connect, log in and open SFTP in one go, for modules that then work on files.

    Raises:
        DiagnosedError: for every stage before the session is open, and if it breaks inside the block.
    """
    try:
        with _open_session(target) as sftp:
            yield sftp
    except DiagnosedError as error:
        raise error.with_facts(target.facts) from error


@contextmanager
def _open_session(target: Target) -> Iterator[SftpClient]:
    rules = trust_rules(target)
    addresses = resolve(target.endpoint, target.timeout)
    sock = connect(addresses, target.timeout)
    read_banner(sock, target.timeout)
    transport = negotiate(sock, rules.key_algorithms, target.timeout)
    try:
        transport, _ = negotiate_trusted(target, addresses, transport, rules)
        authenticate(transport, target)
        yield open_sftp(transport, target.timeout)
    except (paramiko.SSHException, EOFError, OSError) as error:
        _raise_diagnosed(error, target.timeout, "working on files")
    finally:
        transport.close()
