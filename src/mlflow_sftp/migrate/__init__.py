# SPDX-License-Identifier: Apache-2.0
"""Copying of files and trees between this machine and SFTP servers."""

from mlflow_sftp.migrate.engine import CopyReport, OnProgress, Progress, copy
from mlflow_sftp.migrate.manifest import Record, Totals, read_manifest
from mlflow_sftp.migrate.progress_file import ProgressFile

__all__ = [
    "CopyReport",
    "OnProgress",
    "Progress",
    "ProgressFile",
    "Record",
    "Totals",
    "copy",
    "read_manifest",
]
