"""A swarm's description of the servers, changed in one respect and in no other."""

from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover import described
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._swarm.objects import Object

DESCRIPTION: dict[str, Any] = {
    "Name": "mlflow_mlflow",
    "Labels": {"freegee.mlflow_sftp.owner": "/opt/mlflow-stack"},
    "TaskTemplate": {
        "ContainerSpec": {
            "Image": "sha256:old",
            "Command": ["/etc/mlflow_sftp/init_ssh_keys.sh"],
            "Args": ["mlflow", "server"],
            "Env": ["MLFLOW_ARTIFACT_URI=sftp://u@h:22/a?b=c", "NO_PROXY="],
            "Secrets": [{"SecretName": "key"}],
        },
        "ForceUpdate": 0,
        "Networks": [{"Target": "n1"}],
    },
    "Mode": {"Replicated": {"Replicas": 3}},
    "UpdateConfig": {"Order": "start-first"},
}


def test_another_image_is_all_that_changes() -> None:
    changed = described.with_image(DESCRIPTION, "sha256:new")
    assert described.image_of(changed) == "sha256:new"
    assert described.with_image(changed, "sha256:old") == DESCRIPTION
    # Not the one that was given, which is the way back.
    assert described.image_of(DESCRIPTION) == "sha256:old"


@pytest.mark.parametrize("replicas", [0, 1, 5])
def test_another_number_is_all_that_changes(replicas: int) -> None:
    changed = described.with_replicas(DESCRIPTION, replicas)
    assert described.replicas_of(changed) == replicas
    assert described.with_replicas(changed, 3) == DESCRIPTION
    assert described.replicas_of(DESCRIPTION) == 3


def test_another_store_is_all_that_changes() -> None:
    before = ["MLFLOW_ARTIFACT_URI=sftp://u@h:22/a?b=c", "NO_PROXY="]
    changed = described.with_store(
        DESCRIPTION,
        ["--default-artifact-root=b", "--no-serve-artifacts"],
        {"MLFLOW_ARTIFACT_URI": "sftp://u@h:22/d=e"},
    )
    container = changed["TaskTemplate"]["ContainerSpec"]
    assert container["Args"] == ["mlflow", "server", "--default-artifact-root=b", "--no-serve-artifacts"]
    assert container["Env"] == ["MLFLOW_ARTIFACT_URI=sftp://u@h:22/d=e", "NO_PROXY="]
    back = described.with_store(changed, [], dict([before[0].split("=", 1)]))
    assert back == DESCRIPTION
    assert DESCRIPTION["TaskTemplate"]["ContainerSpec"]["Env"] == before


def test_other_files_are_all_that_changes() -> None:
    key = Object("secret", "k_1", "/s/k", "mlflow", "/run/k", "10001", "10002", 0o600)
    config = Object("config", "c_1", "/s/c", "mlflow", "/etc/c", "0", "0", 0o444)
    changed = described.with_files(DESCRIPTION, [config, key], {"k_1": "id1", "c_1": "id2", "other": "id3"})
    container = changed["TaskTemplate"]["ContainerSpec"]
    # As ``docker service inspect`` shows them.
    file = {"Name": "/run/k", "UID": "10001", "GID": "10002", "Mode": 0o600}
    assert container.pop("Secrets") == [{"File": file, "SecretID": "id1", "SecretName": "k_1"}]
    (seen,) = container["Configs"]
    assert (seen["ConfigID"], seen["ConfigName"], seen["File"]["Name"]) == ("id2", "c_1", "/etc/c")
    assert described.files_of(described.with_files(DESCRIPTION, [config, key], {"k_1": "1", "c_1": "2"})) == {
        ("secret", "k_1"),
        ("config", "c_1"),
    }
    assert described.files_of(DESCRIPTION) == {("secret", "key")}
    container["Secrets"] = [{"SecretName": "key"}]
    del container["Configs"]
    assert changed == DESCRIPTION


def test_a_container_has_the_servers_program_and_environment() -> None:
    assert described.run_options(DESCRIPTION) == [
        "--env=MLFLOW_ARTIFACT_URI=sftp://u@h:22/a?b=c",
        "--env=NO_PROXY=",
        "--entrypoint=/etc/mlflow_sftp/init_ssh_keys.sh",
    ]
    assert described.arguments(DESCRIPTION) == ["mlflow", "server"]
    assert described.environment_of(DESCRIPTION) == {
        "MLFLOW_ARTIFACT_URI": "sftp://u@h:22/a?b=c",
        "NO_PROXY": "",
    }


def test_a_digest_is_of_what_servers_are_made_of() -> None:
    first = described.digest(DESCRIPTION)
    forced = {**DESCRIPTION, "TaskTemplate": {**DESCRIPTION["TaskTemplate"], "ForceUpdate": 4}}
    assert described.digest(described.with_replicas(forced, 1)) == first
    assert described.digest(described.with_image(DESCRIPTION, "sha256:new")) != first
