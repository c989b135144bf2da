# SPDX-License-Identifier: Apache-2.0
"""Copying of artifact trees between local directories and SFTP servers."""

from mlflow_sftp.migrate.engine import CopyReport, Progress, copy
from mlflow_sftp.migrate.manifest import Record, Totals, read_manifest

__all__ = ["CopyReport", "Progress", "Record", "Totals", "copy", "read_manifest"]
