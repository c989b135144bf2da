# SPDX-License-Identifier: Apache-2.0
"""Errors of the storage commands. Importing them must not import MLflow, which costs seconds."""


class StorageError(Exception):
    """An operation on stored artifacts or their locations was refused or failed; nothing was half done."""


class LocationError(StorageError, ValueError):
    """A location cannot be read, or cannot be spelled under another root."""


class DatabaseError(StorageError):
    """The database cannot be used, or does not hold what the operation expects."""


class BackupUnavailableError(StorageError):
    """No backup of the database can be made from here."""


class JournalError(StorageError):
    """The journal is missing, cut short, or belongs to something else."""


class BlockedError(StorageError):
    """Rows under the old root cannot take their new value."""
