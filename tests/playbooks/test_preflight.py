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


def test_good_input_passes(preflight: Preflight) -> None:
    outcome = preflight()
    assert not outcome.failed, outcome.output


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"sftp_host_key_fingerprints": []}, ["No pin for the host key", "[tajo.host.ch]:2121"]),
        ({"sftp_host_key_fingerprints": ["SHA256:short"]}, ["SHA256:short", "no SHA256 fingerprint"]),
        ({"sftp_client_generate_key": False}, ["No key", "sftp_private_key_file"]),
        ({"artifact_storage": "s3"}, ["value of artifact_storage must be one of: local, sftp, got: s3"]),
        ({"sftp_path": "relative/path"}, ["sftp_path is 'relative/path'", "absolute"]),
        ({"sftp_path": "/"}, ["sftp_path is '/'"]),
        ({"mlflow_stack_min_free_mb": 10**9}, ["MiB free", "mlflow_stack_min_free_mb"]),
        (
            {"mlflow_stack_uid": 1, "mlflow_stack_gid": 1},
            ["docker-host: daemon on this host has the id", "sftp_client_uid"],
        ),
        ({"mlflow_stack_access": "both"}, ["mlflow_stack_access must be one of: direct, proxied"]),
        ({"sftp_port": "ssh"}, ["sftp_port"]),
        ({"mlflow_stack_backend_store": "mysql://db/mlflow"}, ["mlflow_stack_backend_store", "'mysql'"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_variable(preflight: Preflight, variables: dict[str, object], words: list[str]) -> None:
    refuses(preflight(**variables), *words)


def test_three_mistakes_are_read_at_once(preflight: Preflight) -> None:
    outcome = preflight(
        mlflow_stack_access="proxi",
        mlflow_stack_bind="localhost",
        sftp_path="/a/",
        mlflow_stack_acess="direct",
    )
    words = [
        "Did you mean proxied?",
        "expected an address of the Docker host",
        "write it as '/a'",
        "Nothing has been changed",
    ]
    refuses(
        outcome, *words, "Nothing reads the variable mlflow_stack_acess; did you mean mlflow_stack_access?"
    )


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


def key_file(path: Path, *options: str) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-f", str(path), "-N", "", *options], check=True)
    return path


@pytest.mark.parametrize("key_type", ["ed25519", "ecdsa", "rsa"])
def test_key_types(preflight: Preflight, tmp_path: Path, key_type: str) -> None:
    key = key_file(tmp_path / "key", "-t", key_type)
    outcome = preflight(sftp_client_generate_key=False, sftp_private_key_file=str(key))
    assert not outcome.failed, outcome.output


def test_key_from_a_vault_is_not_printed(preflight: Preflight, tmp_path: Path) -> None:
    text = key_file(tmp_path / "key").read_text()
    outcome = preflight("-vvv", "--diff", sftp_client_generate_key=False, sftp_private_key=text)
    assert not outcome.failed, outcome.output
    assert not any(line in outcome.output for line in text.splitlines()[1:-1])


def test_key_file_missing(preflight: Preflight, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    refuses(preflight(sftp_client_generate_key=False, sftp_private_key_file=missing), "No key", missing)


def test_key_readable_by_others(preflight: Preflight, tmp_path: Path) -> None:
    key = key_file(tmp_path / "key")
    key.chmod(0o644)
    refuses(
        preflight(sftp_client_generate_key=False, sftp_private_key_file=str(key)), "0644", f"chmod 600 {key}"
    )


def test_key_with_passphrase(preflight: Preflight, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-f", str(key), "-N", "secret"], check=True)
    refuses(preflight(sftp_client_generate_key=False, sftp_private_key_file=str(key)), "passphrase")


def test_key_that_is_none(preflight: Preflight, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("ssh-ed25519 AAAA this is the public half\n")
    key.chmod(0o600)
    outcome = preflight(sftp_client_generate_key=False, sftp_private_key_file=str(key))
    refuses(outcome, f"The private key in {key} is a public key")
    assert "this is the public half" not in outcome.output


def test_two_sources_of_the_key(preflight: Preflight, tmp_path: Path) -> None:
    key = key_file(tmp_path / "key")
    refuses(preflight(sftp_private_key_file=str(key)), "More than one key")
