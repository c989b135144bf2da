"""Bad input is refused by the preflight with a clear error, before anything is changed."""

import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.ansible import REPOSITORY, Outcome, run_playbook

Preflight = Callable[..., Outcome]


@pytest.fixture
def preflight(tmp_path: Path) -> Preflight:
    """Run the preflight on a lab that must not come into being."""
    lab = tmp_path / "lab"

    def run(*options: str, **variables: object) -> Outcome:
        given = {"lab_dir": str(lab), "mlflow_stack_port": 0, "mlflow_stack_notebook_port": 0} | variables
        outcome = run_playbook(
            REPOSITORY / "playbooks/preflight.yml", *options, "--extra-vars", json.dumps(given)
        )
        assert not lab.exists(), "the preflight changed something"
        return outcome

    return run


def refuses(outcome: Outcome, *words: str) -> None:
    output = " ".join(outcome.output.split())
    assert outcome.failed, output
    assert "changed=0" in output
    for word in words:
        assert word in output
    assert "Traceback" not in output


def key_file(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-f", str(path), "-N", ""], check=True)
    return path


def test_all_mistakes_are_read_at_once(preflight: Preflight, tmp_path: Path) -> None:
    """The table of mistakes is in tests/unit/plugins/_inputs/test_values.py."""
    public = key_file(tmp_path / "key").with_suffix(".pub")
    outcome = preflight(
        mlflow_stack_access="proxi",
        mlflow_stack_bind="localhost",
        mlflow_stack_acess="direct",
        sftp_path="/a/",
        sftp_port="ssh",
        sftp_host_key_fingerprints=["SHA256:short"],
        sftp_client_generate_key=False,
        sftp_private_key_file=str(public),
    )
    refuses(
        outcome,
        "Did you mean proxied?",
        "expected an address of the Docker host",
        "write it as '/a'",
        "sftp_port is 'ssh'; expected a number",
        "SHA256:short",
        f"The private key in {public} is a public key",
        "Nothing has been changed",
        "Nothing reads the variable mlflow_stack_acess; did you mean mlflow_stack_access?",
    )
    assert public.read_text().split()[1] not in outcome.output


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"mlflow_stack_min_free_mb": 10**9}, ["MiB free", "mlflow_stack_min_free_mb"]),
        (
            {"mlflow_stack_uid": 1, "mlflow_stack_gid": 1},
            ["docker-host: daemon on this host has the id", "sftp_client_uid"],
        ),
        ({"mlflow_stack_backend_store": "mysql://db/mlflow"}, ["mlflow_stack_backend_store", "'mysql'"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_the_host_or_the_stack_cannot_take(
    preflight: Preflight, variables: dict[str, object], words: list[str]
) -> None:
    refuses(preflight(**variables), *words)


def test_booleans_from_the_command_line_are_text(preflight: Preflight, tmp_path: Path) -> None:
    key = key_file(tmp_path / "key")
    given = ["-e", "sftp_client_generate_key=no", "-e", "mlflow_stack_backend_store_switch=true"]
    outcome = preflight(*given, "-e", f"sftp_private_key_file={key}", "-e", "artifact_storage_switch=true")
    assert not outcome.failed, outcome.output


def test_port_taken(preflight: Preflight) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refuses(
            preflight(mlflow_stack_port=port),
            f"Port {port} on 127.0.0.1 is taken",
            "mlflow_stack_port",
            f"process {os.getpid()}",
        )


def test_key_from_a_vault_is_not_printed(preflight: Preflight, tmp_path: Path) -> None:
    text = key_file(tmp_path / "key").read_text()
    outcome = preflight("-vvv", "--diff", sftp_client_generate_key=False, sftp_private_key=text)
    assert not outcome.failed, outcome.output
    assert not any(line in outcome.output for line in text.splitlines()[1:-1])
