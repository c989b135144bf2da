# SPDX-License-Identifier: GPL-3.0-or-later
"""The database's password apart from its URI: whoever may see a service sees its environment, but no secret."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit, urlunsplit

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
    if not colon:
        return Apart(urlunsplit(parts._replace(scheme=scheme)), "")
    query = "&".join(filter(None, (parts.query, f"passfile={PATH}")))
    text = unquote(password).replace("\\", "\\\\").replace(":", "\\:")
    bare = parts._replace(scheme=scheme, netloc=f"{user}{at}{place}", query=query)
    # Whichever way the one database is written that the file is for.
    return Apart(urlunsplit(bare), f"*:*:*:*:{text}\n")
