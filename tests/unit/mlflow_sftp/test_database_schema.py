"""Which state a database is in, by what it holds and what an MLflow knows."""

import pytest

from mlflow_sftp.operations.database_schema import History, Schema, Seen, State, compare, installed_history

# a <- b <- c <- d, as MLflow's are.
LINE = {"a": (), "b": ("a",), "c": ("b",), "d": ("c",)}
# Two that follow b, joined again by e.
JOINED = {**LINE, "x": ("b",), "e": ("d", "x")}
MLFLOW = frozenset({"alembic_version", "experiments", "runs"})


def found(
    *revisions: str, tables: frozenset[str] = MLFLOW, known: dict[str, tuple[str, ...]] = LINE
) -> Schema:
    return compare(Seen(revisions, tables), History("3.17.2", known))


@pytest.mark.parametrize(
    ("schema", "state", "steps"),
    [
        pytest.param(found(tables=frozenset()), "empty", None, id="no table"),
        pytest.param(found(tables=frozenset({"alembic_version"})), "empty", None, id="nothing migrated"),
        pytest.param(found("d"), "current", 0, id="head"),
        pytest.param(found("c"), "behind", 1, id="one behind"),
        pytest.param(found("a"), "behind", 3, id="the first of all"),
        pytest.param(found("b", known=JOINED), "behind", 4, id="both sides of a join"),
        pytest.param(found("x", known=JOINED), "behind", 3, id="one side of a join"),
        pytest.param(found("z"), "unknown", None, id="newer"),
        pytest.param(found(tables=MLFLOW), "unknown", None, id="tables without a revision"),
        pytest.param(found(tables=frozenset({"films"})), "unknown", None, id="of something else"),
        pytest.param(
            found("d", tables=frozenset({"alembic_version", "films"})), "unknown", None, id="not MLflow's"
        ),
        pytest.param(
            found("d", tables=frozenset({"alembic_version"})), "unknown", None, id="revision without tables"
        ),
        pytest.param(found("c", "z"), "several", None, id="two revisions"),
        pytest.param(found("c", known={**LINE, "x": ("b",)}), "several", None, id="two heads"),
        pytest.param(found("c", tables=MLFLOW | {"_alembic_tmp_runs"}), "broken", None, id="left over"),
        pytest.param(
            found("z", tables=MLFLOW | {"_alembic_tmp_runs"}), "broken", None, id="left over of a newer one"
        ),
        pytest.param(found(tables=frozenset({"_alembic_tmp_runs"})), "broken", None, id="nothing but that"),
    ],
)
def test_state(schema: Schema, state: State, steps: int | None) -> None:
    assert (schema.state, schema.steps) == (state, steps)


def test_what_is_printed() -> None:
    tables = MLFLOW | {"_alembic_tmp_runs", "_alembic_tmp_metrics"}
    assert found("c", tables=tables).as_dict() == {
        "mlflow": "3.17.2",
        "state": "broken",
        "database": ["c"],
        "heads": ["d"],
        "steps": None,
        "left_over": ["_alembic_tmp_metrics", "_alembic_tmp_runs"],
    }


def test_the_installed_mlflow_has_one_head_and_knows_its_elders() -> None:
    history = installed_history()
    (head,) = history.heads
    # Of MLflow 1.0, 3.10 and 3.13.
    steps = [history.steps(revision, head) for revision in ("181f10493468", "1b5f0d9ad7c1", "da6fb0208061")]
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] > 0
