# SPDX-License-Identifier: Apache-2.0
"""MLflow, imported in half the time by those who only need its client and its store."""

import importlib
import sys
from contextlib import suppress
from typing import Any, cast

# MLflow imports it wherever it is installed, for data sets and model signatures, and does without where it is not.
_HEAVY = "pandas"


def import_mlflow() -> None:
    """Import MLflow without pandas; where that is not possible, leave the import to whoever needs it.

    What MLflow offers for data frames is missing in this process then. Whoever imports pandas later gets it.
    """
    modules = cast("dict[str, Any]", sys.modules)
    if "mlflow" in modules or _HEAVY in modules:
        return
    modules[_HEAVY] = None
    try:
        with suppress(ImportError):
            importlib.import_module("mlflow")
            return
        for name in [name for name in modules if name.partition(".")[0] == "mlflow"]:
            del modules[name]
    finally:
        del modules[_HEAVY]
