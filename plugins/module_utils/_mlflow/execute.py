# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs what a module does with the package mlflow_sftp; what goes wrong becomes a message."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn, Protocol


class Module(Protocol):
    """What is needed of an AnsibleModule."""

    def fail_json(self, msg: str, **result: Any) -> NoReturn:
        """End the module as failed."""

    def exit_json(self, **result: Any) -> NoReturn:
        """End the module with its result."""


def execute(
    module: Module, action: Callable[[], dict[str, Any]], failure: str, reassurance: str = ""
) -> NoReturn:
    """End the module with what `action` returns, or with what it raised.

    Args:
        module: The module.
        action: Imports what it needs of mlflow_sftp, and returns the module's result. Raises StorageError.
        failure: What it means if it fails, the beginning of the message.
        reassurance: What is true all the same, the end of the message.
    """
    try:
        from mlflow_sftp.errors import StorageError

        try:
            result = action()
        except StorageError as error:
            module.fail_json(msg=f"{failure}: {error}{reassurance}")
    except ImportError as error:
        module.fail_json(msg=_describe(error), exception=traceback.format_exc())
    module.exit_json(**result)


def _describe(error: ImportError) -> str:
    package = (error.name or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and error.name == package:
        return (
            f"The Python package {package} is not there for {sys.executable}: install it where this module runs, or "
            "run the module in a container of the stack, which has it"
        )
    return (
        f"The Python package {package} of {sys.executable} is of another version than this collection ({error}): "
        "rebuild the images with site.yml, or install the version that the collection came with"
    )
