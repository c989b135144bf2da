"""What the cutover sees of containers that are not as they should be."""

import subprocess
from collections.abc import Iterator

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import docker
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.errors import (
    CutoverError,
    LateError,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.program import Program

from tests.support.docker import base_image, unused_name

pytestmark = pytest.mark.docker

# In place of the package's program: noise, an answer, then whatever each line asks for.
_PROGRAM = """
mkdir -p /opt/venv/bin
cat > /opt/venv/bin/python <<'END'
#!/bin/sh
echo "a warning of some library" >&2
echo '{"ready": true}'
while read -r line; do
  case $line in
    *fail*) echo '{"exit": 1, "result": {"error": {"seen": "the disk is full", "remedy": "Make room"}}, "errors": ""}';;
    *silent*) sleep 60;;
    *end*) echo "Killed"; exit 137;;
    *) echo '[1]'; echo '{"exit": 0, "result": {"files": 1}, "errors": ""}';;
  esac
done
END
chmod +x /opt/venv/bin/python
exec sleep 60
"""


@pytest.fixture
def name() -> Iterator[str]:
    name = unused_name()
    yield name
    subprocess.run(["docker", "rm", "--force", name], check=False, capture_output=True)


def start(name: str, script: str) -> None:
    docker.run("container", "run", "--detach", "--init", f"--name={name}", "--env=JUPYTER_TOKEN=secret",
               base_image(), "sh", "-c", script)  # fmt: skip


def test_a_container_that_ended_is_named_with_its_last_words_and_no_secret(name: str) -> None:
    start(name, "echo 'token: secret'; exit 3")
    with pytest.raises(CutoverError) as failed:
        docker.wait_until_healthy(name, 5)
    assert f"{name} is exited, exit code 3" in str(failed.value)
    assert "token: ***" in str(failed.value)
    assert "secret" not in str(failed.value)
    docker.remove(name, unused_name())
    assert docker.inspect(name) is None


def test_a_command_that_fails_says_why(name: str) -> None:
    with pytest.raises(
        CutoverError, match=r"docker container ended with exit code 1: .*[Nn]o such container"
    ):
        docker.run("container", "start", name)


def test_answers_of_a_program(name: str) -> None:
    start(name, _PROGRAM)
    program = Program(name, ["copy"])
    assert program.call("info") == {"files": 1}
    with pytest.raises(CutoverError, match=r"the disk is full\. Make room"):
        program.call("fail")
    with pytest.raises(CutoverError, match=f"the program in the container {name} ended: Killed"):
        program.call("end")
    program.end()


def test_a_program_that_does_not_answer_in_time_is_ended(name: str) -> None:
    start(name, _PROGRAM)
    program = Program(name, [])
    with pytest.raises(LateError, match=r"did not answer within 0\.5 s, and was stopped"):
        program.call("silent", seconds=0.5)
    program.end()
