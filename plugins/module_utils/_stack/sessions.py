# SPDX-License-Identifier: GPL-3.0-or-later
"""How many sessions a stack's PostgreSQL has to bear."""

from __future__ import annotations

# PostgreSQL's own limit.
DEFAULT = 100
# SQLAlchemy's pool, as MLflow leaves it: five sessions that stay and ten more at most.
_POOL = 15
# PostgreSQL keeps three for a superuser; backups, verification and people have the others.
_OTHERS = 10


def database_sessions(servers: int, workers: int, login: bool) -> int:
    """Return the limit of sessions with which no server is refused one.

    Each worker of a server has a pool for runs and one for registered models, and with a login one for users.

    Args:
        servers: Servers of MLflow on the database.
        workers: Processes of each of them.
        login: Whether MLflow's own login is on, with its users in the same PostgreSQL.
    """
    pools = servers * workers * (3 if login else 2)
    return max(DEFAULT, pools * _POOL + _OTHERS)
