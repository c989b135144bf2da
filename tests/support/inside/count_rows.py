"""Prints how many rows each table of the stack's SQLite database has, as JSON."""

import json
import os
import sqlite3
from contextlib import closing

path = os.environ["MLFLOW_BACKEND_STORE_URI"].removeprefix("sqlite:///")
with closing(sqlite3.connect(path)) as connection:
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    counts = {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in tables}
print(json.dumps(counts))
