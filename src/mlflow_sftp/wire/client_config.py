# SPDX-License-Identifier: Apache-2.0
"""The OpenSSH client configuration as `ssh` reads it, for asyncssh, whose reader knows less.

What asyncssh reads, it reads; what it stumbles over, the installed `ssh` resolves (`ssh -G`), which takes a process and
so is not asked first. Files that are listed and not there are left out, as `ssh` leaves them out.
"""

import contextlib
import getpass
import os
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
from asyncssh import config as reader
from asyncssh.pattern import WildcardPatternList

from mlflow_sftp.settings import Settings
from mlflow_sftp.uri import Endpoint

_SSH_SECONDS = 10.0
# What `ssh -G` tells that matters here. It names all algorithms, and to asyncssh those that it lacks are errors.
_KEPT = (
    *("hostname", "port", "user", "identityfile", "certificatefile", "identityagent", "identitiesonly"),
    *("userknownhostsfile", "globalknownhostsfile", "hostkeyalias", "proxycommand", "proxyjump"),
    *("compression", "addressfamily", "bindaddress"),
)
_SIOCGIFADDR = 0x8915


def connection_options(
    endpoint: Endpoint, settings: Settings, **given: Any
) -> asyncssh.SSHClientConnectionOptions:
    """Make asyncssh's options from the configuration and what is `given`; asyncssh.ConfigParseError."""
    if endpoint.port:
        given["port"] = endpoint.port
    if endpoint.user:
        given["username"] = endpoint.user
    default = Path("~", ".ssh", "config").expanduser()
    path = settings.ssh_config or (default if os.access(default, os.R_OK) else None)
    try:
        return _options(endpoint, path, given)
    except asyncssh.ConfigParseError:
        resolved = _ask_ssh(endpoint, settings.ssh_config)
        if resolved is None:
            raise
    with tempfile.NamedTemporaryFile("w", prefix="mlflow-sftp-") as file:
        file.write(resolved)
        file.flush()
        options = _options(endpoint, Path(file.name), given)
    # What is made of these options later must not look for the file again.
    options.kwargs["config"] = []
    return options


def _options(
    endpoint: Endpoint, path: Path | None, given: dict[str, Any]
) -> asyncssh.SSHClientConnectionOptions:
    listed = _listed_files(_read(endpoint, path))
    config = [str(path)] if path else []
    return asyncssh.SSHClientConnectionOptions(host=endpoint.host, config=config, **{**given, **listed})


def _read(endpoint: Endpoint, path: Path | None) -> reader.SSHClientConfig:
    given = endpoint.user or (), endpoint.host, endpoint.port or ()
    try:
        local_user = getpass.getuser()
    except (KeyError, OSError):
        local_user = ""  # asyncssh says what is wrong with that.
    paths = [str(path)] if path else []
    found = reader.SSHClientConfig.load(None, paths, False, False, False, local_user, *given)
    assert isinstance(found, reader.SSHClientConfig)
    return found


def _listed_files(found: reader.SSHClientConfig) -> dict[str, Any]:
    """The keys and known hosts among those listed that can be read, where some cannot be, but some can."""
    given: dict[str, Any] = {}
    keys = _strings(found.get("IdentityFile"))
    if usable := _usable(keys, len(keys)):
        given["client_keys"], given["ignore_encrypted"] = usable, True
    own = [_expand(found, name) for name in _strings(found.get("UserKnownHostsFile"))]
    hosts = own + _strings(found.get("GlobalKnownHostsFile"))
    expanded = own != _strings(found.get("UserKnownHostsFile"))
    if own and (usable := _usable(hosts, len(hosts) + expanded)):
        given["known_hosts"] = usable
    return given


def _usable(names: list[str], unless: int) -> list[str]:
    """Those that can be read; none where these are as many as `unless`."""
    usable = [name for name in names if os.access(os.path.expanduser(name), os.R_OK)]
    return usable if len(usable) != unless else []


def _strings(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list | tuple) else []


def _expand(found: reader.SSHClientConfig, name: str) -> str:
    """Replace tokens, which asyncssh does not in names of known hosts."""
    try:
        return found._expand_val(name)
    except (AttributeError, asyncssh.ConfigParseError):
        return name


def _ask_ssh(endpoint: Endpoint, path: Path | None) -> str | None:
    """Return the configuration for a host as the installed `ssh` resolves it; None where it cannot either."""
    command = ["ssh", "-G", *(["-F", str(path)] if path else [])]
    command += ["-p", str(endpoint.port)] if endpoint.port else []
    command += ["-l", endpoint.user] if endpoint.user else []
    try:
        told = subprocess.run(
            [*command, "--", endpoint.host],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SSH_SECONDS,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    lines = [line for line in told.stdout.splitlines() if line.partition(" ")[0] in _KEPT]
    return "\n".join(lines) + "\n" if told.returncode == 0 and lines else None


def _match_host(config: Any, _: str, patterns: list[str]) -> None:
    """`Host` for asyncssh: the host of a URI is in lower case, whatever it and the pattern were spelled like."""
    host, spelled = str(config._orig_host), ",".join(patterns)
    config._matching = bool(
        WildcardPatternList(spelled).matches(host)
        or WildcardPatternList(spelled.lower()).matches(host.lower())
    )
    patterns.clear()


def _local_addresses() -> Iterator[str]:
    """The addresses of this machine, for `Match localnetwork`: asyncssh wants a further package for them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):
                import fcntl

                request = struct.pack("256s", name.encode()[:15])
                yield socket.inet_ntoa(fcntl.ioctl(any_socket.fileno(), _SIOCGIFADDR, request)[20:24])
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/if_inet6").read_text(encoding="ascii").splitlines():
            yield socket.inet_ntop(socket.AF_INET6, bytes.fromhex(line.split()[0]))


def _teach_reader() -> None:
    """Mend what asyncssh's reader does otherwise than `ssh`; with one whose insides differ this has no effect."""
    handlers = getattr(reader.SSHClientConfig, "_handlers", {})
    if "host" in handlers:
        handlers["host"] = ("Host", _match_host)
    if not getattr(reader, "_ifaddr_available", True) and hasattr(reader, "_get_local_ips"):
        reader._get_local_ips = _local_addresses
        reader._ifaddr_available = True


_teach_reader()
