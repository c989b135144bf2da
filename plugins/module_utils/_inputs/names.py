# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables that nothing reads: misspelt ones, most of the time."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches

_PREFIXES = (
    "artifact_storage_",
    "docker_swarm_",
    "mlflow_backup_",
    "mlflow_database_move_",
    "mlflow_gateway_",
    "mlflow_rotate_",
    "mlflow_stack_",
    "mlflow_tidy_",
    "mlflow_upgrade_",
    "sftp_",
)
# What the collection's playbooks and roles set for one another; a test compares the list with them.
OWN_NAMES = frozenset(
    {
        "artifact_storage_account_dirs",
        "artifact_storage_audit",
        "artifact_storage_others",
        "artifact_storage_recorded",
        "artifact_storage_uri",
        "mlflow_stack_container_groups",
        "mlflow_stack_containers",
        "mlflow_stack_docker_host",
        "mlflow_stack_images",
        "mlflow_stack_roundtrip_experiment",
        "mlflow_stack_server_authority_file",
        "mlflow_stack_service",
        "sftp_client_host",
        "sftp_client_hosts",
        "sftp_client_key_file",
        "sftp_client_key_name",
        "sftp_client_public_key",
        "sftp_key_hosts",
        "sftp_needed",
        "sftp_ready_hosts",
    }
)


def unknown_names(given: Iterable[str], known: Collection[str]) -> list[str]:
    """Return a sentence for each variable that looks like one of the collection's and is none."""
    expected = sorted({*known, *OWN_NAMES})
    strange = sorted(name for name in given if name.startswith(_PREFIXES) and name not in expected)
    return [_sentence(name, get_close_matches(name, sorted(known), n=1, cutoff=0.7)) for name in strange]


def _sentence(name: str, nearest: list[str]) -> str:
    hint = f"did you mean {nearest[0]}?" if nearest else "no name is like it."
    return f"Nothing reads the variable {name}; {hint}"
