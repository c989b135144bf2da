# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image sees of a stack's database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.schema import Schema
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import running_program
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack


def schema_of(stack: Stack, image: str) -> Schema | None:
    """Return what the MLflow of an image says of the stack's database; None where there is none yet."""
    with stack.reachable_database() as networks:
        if networks is None:
            return None
        stack.start_tool(stack.planner, (), image=image, networks=networks)
        with running_program(stack.planner, "schema") as program:
            return _schema(stack, program.call("schema"))


def look_with(stack: Stack, image: str) -> tuple[Schema, Mapping[str, int], int]:
    """Return the same, how many runs and so on there are, and the size of the database in bytes."""
    stack.start_tool(stack.planner, (), image=image)
    with running_program(stack.planner, "schema", "info") as program:
        schema = _schema(stack, program.call("schema"))
        found = program.call("info")["database"]
    return schema, found["of_users"], found["bytes"]


def _schema(stack: Stack, answer: Mapping[str, Any]) -> Schema:
    schema = Schema.from_answer(answer)
    # Tables that a login has left, which is off: no server reads or migrates them.
    return schema if stack.has_login else replace(schema, login="none", login_database=())
