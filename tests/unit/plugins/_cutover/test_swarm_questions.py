"""Who a cutover of a swarm asks MLflow as, in a container beside the servers."""

from pathlib import Path

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import swarm_driver
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users import login

QUESTIONS = {"servers": swarm_driver._ASK, "once": swarm_driver._ASK_ONCE}


@pytest.mark.parametrize("password", ["", "a-password-1", "with %, : and %%"])
def test_a_question_has_the_login_that_the_container_has(tmp_path: Path, password: str) -> None:
    file = tmp_path / "credentials"
    if password:
        file.write_text(login.credentials("admin", password))
    told: dict[str, object] = {}
    exec(swarm_driver._LOGIN.replace(login.CREDENTIALS, str(file)), told)
    assert told["headers"] == (login.basic("admin", password) if password else {})


@pytest.mark.parametrize("script", QUESTIONS.values(), ids=QUESTIONS.keys())
def test_each_question_has_it(script: str) -> None:
    compile(script, "question", "exec")
    assert script.startswith(swarm_driver._LOGIN)
    lines = [line for line in script.splitlines() if ".request(" in line]
    assert lines
    assert all("headers" in line for line in lines)
