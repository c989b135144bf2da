"""Secrets and configs of a swarm, the database's password among them, and what services see of them."""

from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.filter.mlflow_swarm_serving import (
    mlflow_database_apart,
    mlflow_swarm_mounts,
    mlflow_swarm_objects,
)

SETTINGS: dict[str, Any] = {
    "project": "mlflow",
    "directory": "/opt/stack",
    "config_dir": "/etc/mlflow_sftp",
    "key_dir": "/run/secrets/mlflow_sftp_key",
    "gateway_config_dir": "/etc/mlflow_gateway",
    "gateway_tls_dir": "/run/secrets/mlflow_gateway",
    "postgres_config_dir": "/etc/mlflow_postgres",
    "dask_config_dir": "/etc/mlflow_dask",
    "dask_tls_dir": "/run/secrets/mlflow_dask",
    "server_ids": ["10001", 10001],
    "gateway_ids": [10003, 10003],
    "postgres_ids": ["10002", "10002"],
    "storing": ["mlflow"],
}
ALL = ["mlflow", "gateway", "postgres"]
SUM = "0123456789abcdef" * 4


def objects(
    *paths: str, services: list[str] = ALL, checksum: str = SUM, **settings: Any
) -> list[dict[str, Any]]:
    files = [{"path": f"/opt/stack/{path}", "checksum": checksum} for path in paths]
    return mlflow_swarm_objects(files, services, SETTINGS | settings)


@pytest.mark.parametrize(
    ("path", "kind", "service", "filename", "uid", "mode"),
    [
        ("mlflow/ssh_config", "config", "mlflow", "/etc/mlflow_sftp/ssh_config", "0", 0o444),
        ("mlflow/init_ssh_keys.sh", "config", "mlflow", "/etc/mlflow_sftp/init_ssh_keys.sh", "0", 0o555),
        (
            ".secrets/mlflow_sftp_key/id_ed25519", "secret", "mlflow", "/run/secrets/mlflow_sftp_key/id_ed25519",
            "10001", 0o600,
        ),
        (".secrets/pgpass", "secret", "mlflow", "/run/secrets/pgpass", "10001", 0o400),
        ("gateway/haproxy.cfg", "config", "gateway", "/etc/mlflow_gateway/haproxy.cfg", "0", 0o444),
        (
            ".secrets/gateway/certificate.pem", "secret", "gateway", "/run/secrets/mlflow_gateway/certificate.pem",
            "10003", 0o400,
        ),
        ("postgres/start.sh", "config", "postgres", "/etc/mlflow_postgres/start.sh", "0", 0o555),
        ("postgres/pg_hba.conf", "config", "postgres", "/etc/mlflow_postgres/pg_hba.conf", "0", 0o444),
        (".secrets/postgres_password", "secret", "postgres", "/run/secrets/postgres_password", "10002", 0o400),
    ],
)  # fmt: skip
def test_each_file_is_what_its_service_needs(
    path: str, kind: str, service: str, filename: str, uid: str, mode: int
) -> None:
    (found,) = objects(path)
    assert (found["kind"], found["service"], found["filename"]) == (kind, service, filename)
    assert (found["uid"], found["gid"], found["mode"]) == (uid, uid, mode)
    begin, _, digest = found["name"].rpartition("_")
    assert begin == f"mlflow_{filename.rpartition('/')[2]}"
    assert (digest == SUM[:16]) is not filename.endswith("pgpass")
    # What a swarm takes.
    assert len(found["name"]) <= 64


@pytest.mark.parametrize(
    "path",
    [
        ".secrets/pip.conf",
        ".secrets/mlflow_sftp_key/id_ed25519.pub",
        ".secrets/retired_keys",
        ".secrets/mlflow_login_secret",
        "build/Dockerfile",
        ".env",
    ],
)
def test_what_no_container_needs_stays_on_the_home(path: str) -> None:
    assert objects(path) == []


def test_a_certificate_of_the_key_goes_with_the_key() -> None:
    (found,) = objects(".secrets/mlflow_sftp_key/id_ed25519-cert.pub")
    assert (found["kind"], found["filename"]) == (
        "secret",
        "/run/secrets/mlflow_sftp_key/id_ed25519-cert.pub",
    )


@pytest.mark.parametrize(
    ("path", "storing", "seen_by"),
    [
        ("dask/dask.yaml", ["mlflow"], ["dask-scheduler", "dask-worker"]),
        (".secrets/dask/certificate.pem", ["mlflow"], ["dask-scheduler", "dask-worker"]),
        ("mlflow/ssh_config", ["mlflow"], ["mlflow"]),
        ("mlflow/ssh_config", ["mlflow", "dask-worker"], ["dask-worker", "mlflow"]),
        (".secrets/mlflow_sftp_key/id_ed25519", ["mlflow", "dask-worker"], ["dask-worker", "mlflow"]),
        # What the server alone needs, whoever runs code on a worker does not see.
        (".secrets/pgpass", ["mlflow", "dask-worker"], ["mlflow"]),
    ],
)
def test_workers_see_the_key_where_they_write_artifacts_themselves(
    path: str, storing: list[str], seen_by: list[str]
) -> None:
    found = objects(path, services=[*ALL, "dask-scheduler", "dask-worker"], storing=storing)
    assert [each["service"] for each in found] == seen_by
    # One secret or config for all of them.
    assert len({each["name"] for each in found}) == 1
    assert {each["uid"] for each in found} == {"10001" if path.startswith(".secrets") else "0"}


@pytest.mark.parametrize(
    ("file", "seen_by", "filename"),
    [
        ("server.json", ["mlflow"], "/run/secrets/mlflow_login.json"),
        # A task on a worker is part of a training job.
        ("train", ["dask-worker"], "/home/mlflow/.mlflow/credentials"),
        # Who asks from the home, and client hosts, have files.
        ("mlflow", [], ""),
        ("notebook", [], ""),
    ],
)
def test_of_the_login_the_server_has_all_and_a_worker_its_own(
    file: str, seen_by: list[str], filename: str
) -> None:
    found = objects(f".secrets/mlflow_login/{file}", services=[*ALL, "dask-scheduler", "dask-worker"])
    assert [each["service"] for each in found] == seen_by
    for each in found:
        assert (each["kind"], each["filename"]) == ("secret", filename)
        assert (each["uid"], each["gid"], each["mode"]) == ("10001", "10001", 0o400)
        assert each["name"] == f"mlflow_{filename.rpartition('/')[2]}_{SUM[:16]}"


def test_what_services_that_are_not_there_would_see_is_left_out() -> None:
    assert objects("postgres/start.sh", services=["mlflow", "gateway"]) == []


def test_another_content_has_another_name() -> None:
    (one,), (other,) = objects("mlflow/known_hosts"), objects("mlflow/known_hosts", checksum="f" * 64)
    assert one["name"] != other["name"]


def test_a_password_cannot_be_guessed_from_the_name_of_its_secret() -> None:
    def name(key: str, password: str) -> str:
        files = [
            {"path": "/opt/stack/.secrets/mlflow_sftp_key/id_ed25519", "checksum": key},
            {"path": "/opt/stack/.secrets/mlflow_sftp_key/id_ed25519.pub", "checksum": SUM},
            {"path": "/opt/stack/.secrets/pgpass", "checksum": password},
        ]
        return next(
            str(each["name"])
            for each in mlflow_swarm_objects(files, ALL, SETTINGS)
            if "pgpass" in each["name"]
        )

    assert name("a" * 64, SUM) == name("a" * 64, SUM)
    # Another key, as another stack has it, makes another name of the same password.
    assert len({name("a" * 64, SUM), name("b" * 64, SUM), name("a" * 64, "f" * 64)}) == 3


def test_services_see_them_by_id_and_what_check_mode_has_not_made_by_none() -> None:
    found = objects("mlflow/ssh_config", ".secrets/pgpass", "gateway/haproxy.cfg")
    password = next(each["name"] for each in found if each["kind"] == "secret")
    results = [
        {"item": {"name": "mlflow_ssh_config_0123456789abcdef"}, "config_id": "c1"},
        {"item": {"name": "mlflow_haproxy.cfg_0123456789abcdef"}, "config_id": None, "changed": True},
    ]
    assert mlflow_swarm_mounts(found, {password: "s1"}, results)["mlflow"]["secrets"][0]["secret_id"] == "s1"
    mounts = mlflow_swarm_mounts(found, {}, results)
    assert [each["config_id"] for each in mounts["gateway"]["configs"]] == ["unknown"]
    assert mounts["gateway"]["secrets"] == []
    assert [each["config_id"] for each in mounts["mlflow"]["configs"]] == ["c1"]
    assert mounts["mlflow"]["secrets"] == [
        {
            "secret_id": "unknown",
            "secret_name": password,
            "filename": "/run/secrets/pgpass",
            "uid": "10001",
            "gid": "10001",
            "mode": 0o400,
        }
    ]


@pytest.mark.parametrize(
    ("uri", "bare", "password"),
    [
        ("postgresql://u:p@h:5432/d", "postgresql+psycopg://u@h:5432/d?passfile=/run/secrets/pgpass", "p"),
        (
            "postgresql+psycopg://u:a%3Ab%5Cc%40@h/d?sslmode=require",
            "postgresql+psycopg://u@h/d?sslmode=require&passfile=/run/secrets/pgpass",
            "a\\:b\\\\c@",
        ),
        ("postgresql://u@h/d", "postgresql+psycopg://u@h/d", ""),
        (
            "postgresql://h/d?user=u&password=a%20b+c&sslmode=require",
            "postgresql+psycopg://h/d?user=u&sslmode=require&passfile=/run/secrets/pgpass",
            "a b c",
        ),
        # SQLAlchemy takes the query's.
        ("postgresql://u:p@h/d?pass%77ord=q", "postgresql+psycopg://u@h/d?passfile=/run/secrets/pgpass", "q"),
        ("postgresql://h/d", "postgresql+psycopg://h/d", ""),
        ("postgresql://u:p@[fd00::1]/d", "postgresql+psycopg://u@[fd00::1]/d?passfile=/run/secrets/pgpass", "p"),
    ],
)  # fmt: skip
def test_the_password_is_apart_from_the_uri(uri: str, bare: str, password: str) -> None:
    line = f"*:*:*:*:{password}\n" if password else ""
    assert mlflow_database_apart(uri) == {"uri": bare, "passfile": line}
