# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of every module that logs in; documented in doc_fragments/connection.py, read by account.py."""

from __future__ import annotations

from typing import Any

CONNECTION_OPTIONS: dict[str, dict[str, Any]] = {
    "host": {"type": "str", "required": True},
    "port": {"type": "int"},
    "address": {"type": "str"},
    "user": {"type": "str"},
    "private_key_file": {"type": "path"},
    "private_key": {"type": "str", "no_log": True},
    "private_key_passphrase": {"type": "str", "no_log": True},
    "password": {"type": "str", "no_log": True},
    "known_hosts_file": {"type": "path"},
    "host_key_fingerprints": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "host_key_types": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "ssh_config_file": {"type": "path"},
    "connect_timeout": {"type": "float", "default": 10},
}
