"""The users that a server with MLflow's own login begins with."""

import configparser
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST

from mlflow_sftp.cli import login_server
from mlflow_sftp.errors import LoginError
from mlflow_sftp.operations import login
from mlflow_sftp.operations.login import Grant, LoginUser, configuration, provide_users, read_login

_GIVEN: dict[str, Any] = {
    "default_permission": "NO_PERMISSIONS",
    "cache_seconds": 60,
    "secret_key": "key",
    "users": [
        {"name": "admin", "password": "p%ssword of admin", "admin": True},
        {
            "name": "service-train",
            "password": "password of train",
            "grants": [{"kind": "experiment", "name": "*", "permission": "EDIT"}],
        },
    ],
}


@dataclass
class _User:
    password: str
    is_admin: bool
    grants: dict[tuple[str, str], str] = field(default_factory=dict)


@dataclass
class _Store:
    """MLflow's store of users, as far as it is used."""

    users: dict[str, _User] = field(default_factory=dict)
    hashed: int = 0
    hidden: bool = False

    def has_user(self, username: str) -> bool:
        return username in self.users and not self.hidden

    def get_user(self, username: str) -> _User:
        return self.users[username]

    def authenticate_user(self, username: str, password: str) -> bool:
        self.hashed += 1
        return self.users[username].password == password

    def create_user(self, username: str, password: str, is_admin: bool = False) -> None:
        if username in self.users:
            raise MlflowException("it exists", RESOURCE_ALREADY_EXISTS)
        self.users[username] = _User(password, is_admin)

    def update_user(self, username: str, password: str | None = None, is_admin: bool | None = None) -> None:
        user = self.users[username]
        user.password = user.password if password is None else password
        user.is_admin = user.is_admin if is_admin is None else is_admin

    def grant_user_permission(
        self, username: str, resource_type: str, resource_pattern: str, permission: str
    ) -> None:
        self.users[username].grants[resource_type, resource_pattern] = permission

    def revoke_user_resource_permission(
        self, username: str, resource_type: str, resource_pattern: str
    ) -> None:
        try:
            del self.users[username].grants[resource_type, resource_pattern]
        except KeyError:
            raise MlflowException("there is none", RESOURCE_DOES_NOT_EXIST) from None


_WANTED = [
    LoginUser("admin", "secret", admin=True),
    LoginUser("train", "secret too", grants=(Grant("experiment", "*", "EDIT"),)),
]
_AFTER = {"admin": _User("secret", True), "train": _User("secret too", False, {("experiment", "*"): "EDIT"})}


@pytest.mark.parametrize(
    "before",
    [
        {},
        {"admin": _User("secret", True), "train": _User("secret too", False)},
        {"admin": _User("another", False), "train": _User("old", True, {("experiment", "*"): "READ"})},
    ],
    ids=["new", "there", "changed"],
)
def test_users_are_as_described(before: dict[str, _User]) -> None:
    store = _Store(before)
    provide_users(store, _WANTED)
    assert store.users == _AFTER


def test_what_is_no_longer_granted_on_all_of_a_kind_is_taken_back() -> None:
    made = {("experiment", "7"): "MANAGE"}
    before = {("registered_model", "*"): "EDIT", ("experiment", "*"): "READ", **made}
    store = _Store({"admin": _User("secret", True), "train": _User("secret too", False, before)})
    provide_users(store, _WANTED)
    assert store.users["train"].grants == {("experiment", "*"): "EDIT", **made}


def test_others_stay() -> None:
    store = _Store({"alice": _User("hers", True)})
    provide_users(store, _WANTED)
    assert store.users["alice"] == _User("hers", True)


def test_another_server_makes_them_at_the_same_time() -> None:
    store = _Store({"admin": _User("old", True)}, hidden=True)
    provide_users(store, _WANTED[:1])
    assert store.users == {"admin": _User("secret", True)}


@pytest.mark.parametrize("option", ["--keep-users", "--users-only", ""])
def test_a_server_beside_another_one_leaves_users_as_they_are_and_a_run_before_it_starts_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, option: str
) -> None:
    """MLflow's module of its login is a stand-in: it needs packages that only the server's image has."""
    store, opened = _Store({"admin": _User("changed in MLflow", False)}), []
    module = ModuleType("mlflow.server.auth.sqlalchemy_store")
    store.init_db, store.engine = opened.append, SimpleNamespace(dispose=lambda: None)  # type: ignore[attr-defined]
    module.SqlAlchemyStore = lambda: store  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow.server.auth", ModuleType("mlflow.server.auth"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in (login.CONFIG_VARIABLE, login.KEY_VARIABLE):
        monkeypatch.setenv(name, "")
    (tmp_path / "login.json").write_text(json.dumps(_GIVEN))
    started: list[tuple[str, ...]] = []
    monkeypatch.setattr(login_server, "serve", started.append)
    keep = option == "--keep-users"
    arguments = [*filter(None, [option]), str(tmp_path / "login.json"), "--port=5000"]
    done = CliRunner().invoke(
        login_server.login_server_command, arguments, env={"MLFLOW_BACKEND_STORE_URI": "sqlite:///a.db"}
    )
    assert done.exit_code == 0, done.output
    assert started == ([] if option == "--users-only" else [("--port=5000",)])
    assert "database_uri = sqlite:///a.db" in Path(os.environ[login.CONFIG_VARIABLE]).read_text()
    assert opened == ([] if keep else ["sqlite:///a.db"])
    assert store.users["admin"] == (
        _User("changed in MLflow", False) if keep else _User("p%ssword of admin", True)
    )


def test_mlflow_reads_the_configuration_back(tmp_path: Path) -> None:
    (tmp_path / "login.json").write_text(json.dumps(_GIVEN))
    uri = "postgresql+psycopg://mlflow:a%40b%%@postgres:5432/mlflow"
    config = configparser.ConfigParser()
    config.read_string(configuration(read_login(tmp_path / "login.json"), uri))
    assert dict(config["mlflow"]) == {
        "default_permission": "NO_PERMISSIONS",
        "database_uri": uri,
        "admin_username": "admin",
        "auth_cache_ttl_seconds": "60",
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        json.dumps(_GIVEN | {"users": []}),
        json.dumps(_GIVEN | {"users": [{"name": "admin"}]}),
        json.dumps(_GIVEN | {"users": [{"name": "alice", "password": "hers"}]}),
        json.dumps(_GIVEN | {"secret_key": ""}),
    ],
)
def test_what_describes_no_login(tmp_path: Path, text: str) -> None:
    (tmp_path / "login.json").write_text(text)
    with pytest.raises(LoginError, match=r"login\.json"):
        read_login(tmp_path / "login.json")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(LoginError, match="No such file"):
        read_login(tmp_path / "login.json")
