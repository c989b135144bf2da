# SPDX-License-Identifier: GPL-3.0-or-later
"""Connection failures of the SSH library, given a named cause; what a server answers stays what it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import paramiko
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.transport import (
    ServerEndedError,
    Transport,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.wire import MalformedError

# Whatever may end an exchange with a server, but not a mistake of ours.
BROKEN = (paramiko.SSHException, ServerEndedError, MalformedError, EOFError, OSError)


def is_broken_line(error: Exception) -> bool:
    """Tell a connection that failed from a server that answered "no"; paramiko raises OSError for both."""
    return isinstance(error, TimeoutError | ConnectionError) or str(error) == "Socket is closed"


@contextmanager
def translate_errors(transport: Transport, timeout: float, doing: str) -> Iterator[None]:
    """Give connection failures inside the block a named cause, and end what outlasts the time limit.

    Some waits of paramiko know no limit; closing the connection wakes them up.
    """
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        transport.close()

    watchdog = threading.Timer(timeout, expire)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    except Exception as error:
        if expired.is_set():
            raise _stalled(timeout, doing) from error
        raise_diagnosed(error, timeout, doing, transport)
    finally:
        watchdog.cancel()


def raise_diagnosed(error: Exception, timeout: float, doing: str, transport: Transport) -> NoReturn:
    """Raise the named cause of a broken line; if it is none, the error itself."""
    is_answer = isinstance(error, OSError) and not is_broken_line(error)
    if isinstance(error, DiagnosedError) or is_answer:
        raise error
    if isinstance(error, MalformedError):
        raise DiagnosedError("sftp_malformed", f"while {doing}: {error}") from error
    if isinstance(error, TimeoutError) or "imeout" in str(error):
        raise _stalled(timeout, doing) from error
    # What the library stumbled over on its own thread, it raises again on this one.
    stumbled = not isinstance(error, BROKEN) and not transport.is_active()
    if not stumbled and not isinstance(error, BROKEN):
        raise error
    code = "ssh_malformed" if stumbled or transport.is_malformed else "connection_lost"
    said = (
        f"the server says {transport.goodbye!r}" if transport.goodbye else str(error) or transport.why_ended()
    )
    raise DiagnosedError(code, f"while {doing}: {said}") from error


def _stalled(timeout: float, doing: str) -> DiagnosedError:
    return DiagnosedError("server_stalled", f"no answer within {timeout:g} s while {doing}")
