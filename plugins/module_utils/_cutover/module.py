# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules of cutovers share: the options of a stack, and errors as messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.lock import holder
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.record import Record
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.records import interrupted
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import (
    Settings,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._mlflow.execute import Module

STACK_OPTIONS: dict[str, dict[str, Any]] = {
    "directory": {"type": "path", "required": True},
    "local_root": {"type": "path", "default": "/mlruns"},
    "config_dir": {"type": "path", "default": "/etc/mlflow_sftp"},
    "key_dir": {"type": "path", "default": "/run/secrets/mlflow_sftp_key"},
    "uid": {"type": "int", "default": 10001},
    "gid": {"type": "int", "default": 10001},
}
# Of a module that carries a cutover out, and of one that decides about it.
CUTOVER_OPTIONS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["done", "undone"], "default": "done"},
    "record": {"type": "dict", "required": True},
    "experiment": {"type": "str", "default": "mlflow-sftp-verify"},
    "verify_runs": {"type": "str", "default": "10"},
    "stop_jobs": {"type": "bool", "default": False},
    "wait_timeout": {"type": "int", "default": 180},
}
CHOICE_OPTIONS: dict[str, dict[str, Any]] = {
    "resume": {"type": "str", "choices": ["", "finish", "undo"], "default": ""},
    "undo": {"type": "bool", "default": False},
}
# Those of a cutover that say how it works on the stack.
CUTOVER_SETTINGS = ("experiment", "verify_runs", "stop_jobs", "wait_timeout")


def settings_of(options: Mapping[str, Any], *further: str) -> Settings:
    """Return the stack that a module's options mean; `further` names those that are settings too."""
    given = {name: options[name] for name in (*STACK_OPTIONS, *further)}
    return Settings(**{**given, "directory": Path(options["directory"])})


def require_nobody(settings: Settings, records: list[Record]) -> None:
    """Refuse to call a cutover interrupted that somebody carries out.

    Raises:
        RefusedError: Somebody does.
    """
    held_by = holder(settings.switches) if interrupted(records) is not None else ""
    if held_by:
        raise RefusedError(held_by, "Wait until it has ended")


def _remedy(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "Set become for this host."
    return "Mend it and run this again: what was done until then is kept."


def end(module: Module, action: Callable[[], dict[str, Any]]) -> NoReturn:
    """End the module with what `action` returns, or with what stopped it."""
    try:
        result = action()
    except CutoverError as error:
        record = getattr(error, "record", None)
        steps = {"record": record.as_dict()} if record is not None else {}
        module.fail_json(msg=str(error), seen=error.seen, remedy=error.remedy, **steps)
    except OSError as error:
        module.fail_json(msg=f"{error.filename or 'A file'} on this host: {error.strerror}. {_remedy(error)}")
    module.exit_json(**result)
