# SPDX-License-Identifier: Apache-2.0
"""MLflow's database into another one of the other kind: from SQLite to PostgreSQL, and back."""

from mlflow_sftp.operations.database_copy.copying import DatabaseCopy, copy_database
from mlflow_sftp.operations.database_copy.emptying import empty_database
from mlflow_sftp.operations.database_copy.problems import Problem

__all__ = ["DatabaseCopy", "Problem", "copy_database", "empty_database"]
