# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: an sftp:// URI from its parts."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from ansible.errors import AnsibleFilterError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.addresses import bracketed


def sftp_uri(host: str, path: str, user: str | None = None, port: int | str | None = None) -> str:
    """Build ``sftp://[user@]host[:port]/path`` with every part escaped; `path` is absolute."""
    if not host or any(char in host for char in "/@?# "):
        raise AnsibleFilterError(f"sftp_uri: '{host}' is no host name")
    if not path.startswith("/"):
        raise AnsibleFilterError(f"sftp_uri: the path must be absolute, as SFTP shows it, not '{path}'")
    try:
        number = None if port is None else int(port)
    except ValueError:
        raise AnsibleFilterError(f"sftp_uri: the port must be a number, not '{port}'") from None
    login = f"{quote(user, safe='')}@" if user else ""
    return f"sftp://{login}{bracketed(host)}{f':{number}' if number else ''}{quote(path)}"


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., str]]:
        return {"sftp_uri": sftp_uri}
