# SPDX-License-Identifier: GPL-3.0-or-later
"""The database's password apart from its URI: whoever may see a service sees its environment, but no secret."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, unquote_plus, urlsplit, urlunsplit

PATH = "/run/secrets/pgpass"
_PLAIN, _SCHEME = "postgresql", "postgresql+psycopg"


@dataclass(frozen=True)
class Apart:
    """A database's URI without its password.

    Attributes:
        uri: As MLflow takes it; names the passfile where there was a password.
        passfile: Text of the file, as libpq reads it; empty for no password.
    """

    uri: str
    passfile: str


def apart(uri: str) -> Apart:
    """Take the password out of the URI of a PostgreSQL database."""
    parts = urlsplit(uri)
    # The driver that the images have.
    scheme = _SCHEME if parts.scheme == _PLAIN else parts.scheme
    account, at, place = parts.netloc.rpartition("@")
    user, colon, password = account.partition(":")
    pairs = [pair for pair in parts.query.split("&") if pair]
    given = [value for pair in pairs if (value := _value(pair, "password")) is not None]
    if not colon and not given:
        return Apart(urlunsplit(parts._replace(scheme=scheme)), "")
    others = [pair for pair in pairs if _value(pair, "password") is None]
    # SQLAlchemy lets the query win.
    plain = given[-1] if given else unquote(password)
    text = plain.replace("\\", "\\\\").replace(":", "\\:")
    query = "&".join([*others, f"passfile={PATH}"])
    bare = parts._replace(scheme=scheme, netloc=f"{user}{at}{place}", query=query)
    # Whichever way the one database is written that the file is for.
    return Apart(urlunsplit(bare), f"*:*:*:*:{text}\n")


def secrets_left(uri: str) -> bool:
    """Whether a URI has a secret that no passfile can hold."""
    return any(_value(pair, "sslpassword") is not None for pair in urlsplit(uri).query.split("&"))


def _value(pair: str, name: str) -> str | None:
    """Return the value of a parameter of a query; None for another one's."""
    key, _, value = pair.partition("=")
    return unquote_plus(value) if unquote_plus(key) == name else None
