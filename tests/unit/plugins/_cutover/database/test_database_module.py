"""What a module leaves behind that refuses to undo a cutover."""

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.database.module import carry_out
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    RefusedError,
)


@pytest.mark.parametrize("refused", ["require_way_back", "drain", "require_nothing_lost"])
@pytest.mark.parametrize(
    "error", [RefusedError("it is gone"), CutoverError("no answer")], ids=["refused", "failed"]
)
def test_a_refused_undo_leaves_no_container(refused: str, error: CutoverError) -> None:
    done: list[str] = []

    def deed(name: str) -> Any:
        def do(*_: object) -> None:
            done.append(name)
            if name == refused:
                raise error

        return do

    record = SimpleNamespace(state="done", interrupted=False)
    engine: Any = SimpleNamespace(
        record=record, require_nothing_lost=deed("require_nothing_lost"), undo=deed("undo")
    )
    deeds: Any = SimpleNamespace(**{name: deed(name) for name in ("require_way_back", "drain", "tidy")})
    with pytest.raises(type(error)):
        carry_out(engine, deeds, "undone", lambda _: [])
    assert done[-2:] == [refused, "tidy"]
