"""What an image's view of a database counts for, with a login and without."""

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database import look

ANSWER = {
    "mlflow": "3.17.2",
    "state": "current",
    "database": ["ccc"],
    "heads": ["ccc"],
    "steps": 0,
    "left_over": [],
    "login": {"state": "behind", "database": ["eee"]},
}


@pytest.mark.parametrize(("has_login", "counts"), [(True, ("behind", ("eee",))), (False, ("none", ()))])
def test_tables_that_a_login_has_left_do_not_count(
    has_login: bool, counts: tuple[str, tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def program(*_: str) -> Iterator[Any]:
        yield SimpleNamespace(call=lambda _: ANSWER)

    monkeypatch.setattr(look, "running_program", program)
    stack: Any = SimpleNamespace(
        has_login=has_login,
        planner="planner",
        start_tool=lambda *_, **__: None,
        reachable_database=lambda: contextlib.nullcontext(()),
    )
    found = look.schema_of(stack, "image")
    assert found is not None
    assert (found.login, found.login_database) == counts
