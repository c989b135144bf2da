# SPDX-License-Identifier: Apache-2.0
"""Telling somebody: a webhook, and mail; what was told is kept in a file, so that a restart does not tell it again.

Addresses hold secrets: no message of this file has more of them than a host's name.
"""

import json
import logging
import smtplib
import ssl
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from mlflow_sftp.database.durable_file import replaced_file
from mlflow_sftp.errors import StorageError
from mlflow_sftp.monitor.alerts import Change, Finding, Told, after_telling, changes, stamp

_log = logging.getLogger(__name__)
_TIMEOUT = 15.0
_PORTS = {"smtp": 25, "smtps": 465}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Addressees:
    """Whom to tell.

    Attributes:
        url: Of a webhook; empty for none.
        smtp_url: ``smtp://[user:password@]host[:port]``, which takes TLS where it is offered, or ``smtps://``.
        mail_from: Who the mail is from.
        mail_to: Who gets it; empty for nobody.
    """

    url: str = ""
    smtp_url: str = ""
    mail_from: str = ""
    mail_to: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "Addressees":
        """Read whom to tell; raises AddresseesError."""
        try:
            told = json.loads(path.read_text())
            return cls(
                url=str(told.get("url") or ""),
                smtp_url=str(told.get("smtp_url") or ""),
                mail_from=str(told.get("mail_from") or ""),
                mail_to=tuple(told.get("mail_to") or ()),
            )
        except (OSError, ValueError, AttributeError, TypeError) as error:
            # What it holds may be secret.
            raise AddresseesError(f"{path} cannot be read ({type(error).__name__})") from None


class AddresseesError(Exception):
    """Nobody knows whom to tell; the message has no secret."""


class DeliveryError(Exception):
    """Nobody was told; the message has no secret."""


Send = Callable[[Sequence[Change]], None]


class Messenger:
    """Tells each addressee of each change once, and again until it has arrived.

    Args:
        stack: What the stack is called.
        addressees: File that says whom to tell, read anew each time; None where nobody is to be told.
        state: File that keeps what was told.
        patience: Seconds for which another state than was told has to last.
        watched: Subjects that there may be findings of: of others, what was told is forgotten; None for all.

    Attributes:
        watched_since: When the stack was watched first, in seconds since 1970.
        untold: How many changes somebody could not be told of.
        readable: Whether it is known whom to tell; None where nobody is to be told.
    """

    def __init__(
        self,
        stack: str,
        addressees: Path | None,
        state: Path,
        patience: float = 0.0,
        watched: Collection[str] | None = None,
    ) -> None:
        self._stack = stack
        self._addressees = addressees
        self._state = state
        self._patience = patience
        self._told, since = _read_state(state)
        self.watched_since = time.time() if since is None else since
        self.untold = 0
        self.readable: bool | None = None
        if self._forget(watched) or since is None:
            self._keep()

    def tell(self, found: Sequence[Finding], now: float) -> None:
        """Tell of what is otherwise than told before, each addressee for itself; what fails stays to be told."""
        untold = 0
        for name, send in self._senders().items():
            news, known = changes(found, self._told.get(name, {}), now, self._patience)
            self._told[name] = known
            if not news:
                continue
            try:
                send(news)
            except DeliveryError as error:
                untold += len(news)
                _log.error("%s was not told of %s: %s", name, ", ".join(each.subject for each in news), error)
                continue
            _log.info("%s was told: %s", name, "; ".join(map(str, news)))
            self._told[name] = after_telling(known, news)
            self._keep()
        # At the end: who asks meanwhile gets the last known number.
        self.untold = untold

    def _forget(self, watched: Collection[str] | None) -> set[str]:
        """Forget what nobody watches any more, as nobody would ever find that it is well again."""
        gone = {subject for each in self._told.values() for subject in each if watched is not None} - set(
            watched or ()
        )
        if gone:
            _log.info("no longer watched: %s", ", ".join(sorted(gone)))
        self._told = {
            name: {subject: told for subject, told in each.items() if subject not in gone}
            for name, each in self._told.items()
        }
        return gone

    def _senders(self) -> dict[str, Send]:
        who = self._who()
        senders: dict[str, Send] = {}
        if who.url:
            senders["webhook"] = lambda news: post(who.url, body(self._stack, news))
        if who.smtp_url and who.mail_to:
            senders["mail"] = lambda news: mail(who, self._stack, news)
        return senders

    def _who(self) -> Addressees:
        """Whom to tell; nobody where the file does not say, which the log has once until it does again."""
        if self._addressees is None:
            return Addressees()
        was_readable, self.readable = self.readable, False
        try:
            who = Addressees.read(self._addressees)
        except AddresseesError as error:
            if was_readable is not False:
                _log.error("%s: nobody is told of anything", error)
            return Addressees()
        self.readable = True
        return who

    def _keep(self) -> None:
        told = {
            name: {subject: each.cause for subject, each in told.items()}
            for name, told in self._told.items()
            if told
        }
        kept = {"contract": 1, "watched_since": self.watched_since, "told": told}
        try:
            with replaced_file(self._state) as temporary:
                temporary.write_text(json.dumps(kept, indent=2) + "\n")
        except StorageError as error:
            _log.error("what was told cannot be kept, and a restart will tell it again: %s", error)


def body(stack: str, news: Sequence[Change]) -> dict[str, Any]:
    """Return what a webhook gets; `text` is what chat programs show."""
    return {
        "contract": 1,
        "stack": stack,
        "status": "failed" if any(each.status == "failed" for each in news) else "recovered",
        "text": "\n".join(f"{stack}: {each}" for each in news),
        "changes": [each.as_dict() for each in news],
    }


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Take an answer that leads elsewhere for a failure: what is posted would be lost."""


def post(url: str, told: Mapping[str, Any], timeout: float = _TIMEOUT) -> None:
    """Post JSON; raises DeliveryError."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise ValueError
        host = parts.hostname
        request = Request(url, json.dumps(told).encode(), {"Content-Type": "application/json"})  # noqa: S310
        with build_opener(_NoRedirect()).open(request, timeout=timeout):
            return
    except HTTPError as error:
        raise DeliveryError(f"{host} answered HTTP {error.code}") from None
    except OSError as error:
        # Of the host alone: what was asked for may hold the token.
        raise DeliveryError(f"{host} was not reached: {_reason(error)}") from None
    except (ValueError, HTTPException) as error:
        raise DeliveryError(f"the address of the webhook cannot be used ({type(error).__name__})") from None


def mail(who: Addressees, stack: str, news: Sequence[Change], timeout: float = _TIMEOUT) -> None:
    """Send mail; raises DeliveryError."""
    host = "the mail server"
    try:
        parts = urlsplit(who.smtp_url)
        host = parts.hostname or "localhost"
        message = _message(who, stack, news)
        with _connect(parts.scheme, host, parts.port or _PORTS[parts.scheme], timeout) as server:
            if parts.username:
                _require_privacy(server, host)
                server.login(unquote(parts.username), unquote(parts.password or ""))
            server.send_message(message)
    except smtplib.SMTPResponseException as error:
        raise DeliveryError(f"{host} answered {error.smtp_code}") from None
    except (OSError, smtplib.SMTPException) as error:
        raise DeliveryError(f"{host} did not take the mail: {_reason(error)}") from None
    except (ValueError, KeyError):
        raise DeliveryError("an address of the mail or of its server cannot be used") from None


def _message(who: Addressees, stack: str, news: Sequence[Change]) -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = f"{stack}: " + ", ".join(
        f"{each.subject} {each.cause or 'is well again'}" for each in news
    )
    message["From"], message["To"] = who.mail_from, ", ".join(who.mail_to)
    message["Date"] = formatdate()
    message.set_content("\n".join(f"{stamp(each.since)} {each}" for each in news) + "\n")
    return message


def _require_privacy(server: smtplib.SMTP, host: str) -> None:
    """Refuse to tell a password to whoever listens; on this machine nobody does."""
    if isinstance(server.sock, ssl.SSLSocket) or host in _LOOPBACK:
        return
    raise DeliveryError(f"{host} offers no TLS, and would be told the password in clear")


def _connect(scheme: str, host: str, port: int, timeout: float) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if scheme == "smtps":
        return smtplib.SMTP_SSL(host, port, timeout=timeout, context=context)
    server = smtplib.SMTP(host, port, timeout=timeout)
    server.ehlo()
    if server.has_extn("starttls"):
        server.starttls(context=context)
    return server


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return str(getattr(reason, "strerror", "") or type(reason).__name__)


def _read_state(state: Path) -> tuple[dict[str, dict[str, Told]], float | None]:
    """Return what was told, and since when the stack is watched; None where nobody knows."""
    try:
        kept = json.loads(state.read_text())
        since = kept.get("watched_since")
        told = {
            str(name): {str(key): Told(str(value)) for key, value in each.items()}
            for name, each in kept["told"].items()
        }
        return told, None if since is None else float(since)
    except FileNotFoundError:
        return {}, None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _log.warning("%s cannot be read (%s): what is wrong now is told again", state, type(error).__name__)
        return {}, None
