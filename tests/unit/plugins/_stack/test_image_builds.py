"""What is told of an image that could not be built."""

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.filter.image_build_failure import image_build_failure
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.image_builds import build_failure

PROBLEM = "Building freegee/mlflow-server:0123 failed"
# Of BuildKit, shortened.
HASHES = """#7 [server-packages 2/2] RUN --mount=type=secret,id=pip_conf pip install --require-hashes
#7 3.204 Collecting alembic==1.17.0
#7 11.30 ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.
#7 ERROR: process "/bin/sh -c pip install --require-hashes" did not complete successfully: exit code: 1
------
 > [server-packages 2/2] RUN --mount=type=secret,id=pip_conf pip install --require-hashes:
11.30 ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.
11.30     alembic==1.17.0 from https://index.example.net/alembic-1.17.0-py3-none-any.whl:
------
Dockerfile:20
--------------------
  20 | >>> RUN --mount=type=secret,id=pip_conf pip install --require-hashes
--------------------
ERROR: failed to solve: process "/bin/sh -c pip install --require-hashes" did not complete successfully: exit code: 1
"""
OTHER = HASHES.replace("THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "No space left")


def test_other_hashes_have_a_remedy() -> None:
    first, *said, remedy = build_failure(PROBLEM, HASHES).splitlines()

    assert first == f"{PROBLEM}:"
    assert said == [
        "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
        "    alembic==1.17.0 from https://index.example.net/alembic-1.17.0-py3-none-any.whl:",
    ]
    assert "mlflow_stack_pip_require_hashes to false" in remedy


def test_other_failures_say_what_the_step_said() -> None:
    assert build_failure(PROBLEM, OTHER).splitlines() == [
        f"{PROBLEM}:",
        "ERROR: No space left",
        "    alembic==1.17.0 from https://index.example.net/alembic-1.17.0-py3-none-any.whl:",
    ]


@pytest.mark.parametrize(
    ("output", "told"),
    [
        pytest.param("", [PROBLEM], id="nothing"),
        pytest.param("\n", [PROBLEM], id="an empty line"),
        pytest.param("docker: no buildx\n", [f"{PROBLEM}:", "docker: no buildx"], id="before the first step"),
    ],
)
def test_what_is_not_of_a_step_is_told_as_it_is(output: str, told: list[str]) -> None:
    assert build_failure(PROBLEM, output).splitlines() == told


def test_a_long_output_is_cut_at_its_beginning() -> None:
    said = build_failure(PROBLEM, "\n".join(map(str, range(100)))).splitlines()

    assert (len(said), said[-1]) == (21, "99")


def test_of_a_loop_the_failed_ones_alone_are_told() -> None:
    done = {"failed": False, "stderr": "fine"}
    failed = {"failed": True, "msg": PROBLEM, "stderr": HASHES}

    assert image_build_failure({"failed": True, "results": [done, failed]}) == build_failure(PROBLEM, HASHES)
    assert image_build_failure(failed) == build_failure(PROBLEM, HASHES)
    assert image_build_failure({"failed": True, "msg": "no buildx"}) == "no buildx"
