# SPDX-License-Identifier: GPL-3.0-or-later
"""MLflow's database as the inventory names it. A URI may hold a password: no more is shown than scheme and place."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator

# Where the stack's volume is in the server's container, and the database of the stack's own service.
SQLITE_DIRECTORY = "/var/lib/mlflow"
SERVICE_PLACE = "postgresql://postgres:5432/mlflow"

_KINDS = re.compile(r"(sqlite|postgresql)$|sqlite:///|postgresql([+]psycopg)?://")
_COMPLETE = {
    "postgresql": (
        re.compile(r"[^:]+://([^@/?#\s']+@)?[^@/?#\s']*/[^@/?#\s']+([?][^#\s']*)?$"),
        "names no database, or has characters in its password that a URI needs written as %40 (for @), %2F (for /) and "
        "so on; expected postgresql://user:password@host:5432/database",
    ),
    "sqlite": (
        re.compile(rf"sqlite:///{SQLITE_DIRECTORY}/[^/?#\s']+$"),
        f"its file is not in {SQLITE_DIRECTORY}, where the volume is; expected "
        f"sqlite:///{SQLITE_DIRECTORY}/mlflow.db, or just sqlite",
    ),
}
_PLACE = re.compile(r"(\w+)(?:\+\w+)?://(?:[^@/?#\s']+@)?([^@?#\s']*)(?:\?[^#\s']*)?$")
_UNREADABLE = "a place that cannot be read"


def database_problems(store: str, image: str, limits: Container[str]) -> Iterator[str]:
    """Return a sentence for each thing that is wrong with the database's variables.

    Args:
        store: mlflow_stack_backend_store.
        image: mlflow_stack_postgres_image.
        limits: The services that mlflow_stack_memory_limits names.
    """
    if not _KINDS.match(store):
        beginning = re.split(r"[^\w+]", store)[0]
        yield (
            f"mlflow_stack_backend_store begins with '{beginning}'; expected sqlite, postgresql (a "
            "service of the stack), or the URI of a database, postgresql://user:password@host:5432/database."
        )
        return
    for scheme, (pattern, problem) in _COMPLETE.items():
        if re.match(rf"{scheme}.*:", store) and not pattern.match(store):
            yield f"mlflow_stack_backend_store is a {scheme} URI, but {problem}."
    if image and store != "postgresql":
        yield (
            f"mlflow_stack_postgres_image names {image}, but mlflow_stack_backend_store asks for "
            f"{re.split('[^a-z]', store)[0]} outside the stack's service. Set mlflow_stack_backend_store to "
            "postgresql, or leave mlflow_stack_postgres_image empty."
        )
    if store == "postgresql" and "postgres" not in limits:
        yield "mlflow_stack_memory_limits has no entry for postgres; add one, such as 1g."


def database_place(store: str) -> str:
    """Return scheme and place of a database, which tell databases apart and may be shown.

    `store` is a value of mlflow_stack_backend_store or a URI; empty for none, and so is the answer.
    """
    if store in ("", "postgresql"):
        return store and SERVICE_PLACE
    uri = f"sqlite:///{SQLITE_DIRECTORY}/mlflow.db" if store == "sqlite" else store
    found = _PLACE.match(uri)
    return f"{found[1]}://{found[2]}" if found else _UNREADABLE
