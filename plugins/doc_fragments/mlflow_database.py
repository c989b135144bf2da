# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the options that name MLflow's database."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of the modules that read the database; module_utils/_mlflow/database.py reads them."""

    DOCUMENTATION = r"""
options:
  database:
    description:
      - SQLAlchemy URI of MLflow's database, SQLite or PostgreSQL, without a password.
      - By default, what E(MLFLOW_BACKEND_STORE_URI) says where the module runs, as it does in the server's
        container. That may hold a password, which is never shown.
    type: str
  database_password:
    description:
      - Password for the database.
    type: str
"""
