# SPDX-License-Identifier: Apache-2.0
"""MLflow's own login ("basic-auth"): its configuration, and the users that a server begins with.

The login's tables lie in MLflow's own database, so that a backup, a restore or a move takes them along.
"""

import configparser
import io
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mlflow.exceptions import MlflowException
from sqlalchemy.exc import DBAPIError

from mlflow_sftp.errors import LoginError

# What MLflow reads, in this process and in the workers that it starts.
CONFIG_VARIABLE = "MLFLOW_AUTH_CONFIG_PATH"
KEY_VARIABLE = "MLFLOW_FLASK_SERVER_SECRET_KEY"
# Memory: the configuration may hold the database's password.
_MEMORY = Path("/dev/shm")  # noqa: S108  # A directory of its own is made in it.
_EXISTS, _MISSING = "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"
_KINDS, _ALL = ("experiment", "registered_model"), "*"


@dataclass(frozen=True)
class Grant:
    """What a user may do with a resource: `kind` as ``experiment``, `name` an id, a name or ``*`` for all."""

    kind: str
    name: str
    permission: str


@dataclass(frozen=True)
class LoginUser:
    """A user that is there, with this password, whenever the server starts.

    Further grants of his on single things stay, such as those of whoever makes one; on all of a kind, none does.
    """

    name: str
    password: str
    admin: bool = False
    grants: tuple[Grant, ...] = ()


@dataclass(frozen=True)
class Login:
    """The login of a server.

    Attributes:
        default_permission: Of users on whatever nobody has granted them.
        cache_seconds: How long a password that was right is not compared again.
        secret_key: With which the server signs its forms.
        users: The first is the administrator whom MLflow itself asks for.
    """

    default_permission: str
    cache_seconds: int
    secret_key: str
    users: tuple[LoginUser, ...]


class UserStore(Protocol):
    """What is used of MLflow's store of users."""

    def has_user(self, username: str) -> bool:
        """Whether there is such a user."""

    def get_user(self, username: str) -> Any:
        """The user, with `is_admin`."""

    def authenticate_user(self, username: str, password: str) -> bool:
        """Whether this is the password."""

    def create_user(self, username: str, password: str, is_admin: bool = False) -> Any:
        """Make a user."""

    def update_user(self, username: str, password: str | None = None, is_admin: bool | None = None) -> Any:
        """Change a user."""

    def grant_user_permission(
        self, username: str, resource_type: str, resource_pattern: str, permission: str
    ) -> None:
        """Grant a permission, or change it."""

    def revoke_user_resource_permission(
        self, username: str, resource_type: str, resource_pattern: str
    ) -> None:
        """Take a permission back; raises MlflowException where there is none."""


def read_login(file: Path) -> Login:
    """Return what a file says, JSON of the form of `Login`; raises LoginError where it cannot be used."""
    try:
        given = json.loads(file.read_text())
        users = tuple(_user(each) for each in given["users"])
        login = Login(
            str(given["default_permission"]), int(given["cache_seconds"]), str(given["secret_key"]), users
        )
    except OSError as error:
        raise LoginError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        # Not chained: the text holds passwords.
        raise LoginError(f"{file} does not describe a login ({type(error).__name__})") from None
    if not login.users or not login.users[0].admin or not login.secret_key:
        raise LoginError(f"{file} names no administrator, or no secret key")
    return login


def _user(given: Mapping[str, Any]) -> LoginUser:
    grants = tuple(Grant(each["kind"], each["name"], each["permission"]) for each in given.get("grants", ()))
    return LoginUser(str(given["name"]), str(given["password"]), bool(given.get("admin", False)), grants)


def configuration(login: Login, database_uri: str) -> str:
    """Return MLflow's configuration of its login, which has its tables in the database of `database_uri`."""
    config = configparser.ConfigParser()
    values = {
        "default_permission": login.default_permission,
        "database_uri": database_uri,
        "admin_username": login.users[0].name,
        "auth_cache_ttl_seconds": str(login.cache_seconds),
    }
    # The parser takes a single % for the beginning of a reference.
    config["mlflow"] = {name: value.replace("%", "%%") for name, value in values.items()}
    text = io.StringIO()
    config.write(text)
    return text.getvalue()


def prepare(login: Login, database_uri: str, *, keep_users: bool = False) -> None:
    """Let MLflow's server, started in this process afterwards, have this login; raises LoginError.

    With `keep_users`, nothing is written to the database: another server of this MLflow has provided them before.
    """
    directory = tempfile.mkdtemp(prefix="mlflow-login-", dir=_MEMORY if _MEMORY.is_dir() else None)
    file = Path(directory) / "login.ini"
    file.touch(mode=0o600)
    file.write_text(configuration(login, database_uri))
    os.environ[CONFIG_VARIABLE] = str(file)
    os.environ[KEY_VARIABLE] = login.secret_key
    if not keep_users:
        _provide_tables_and_users(login, database_uri)


def _provide_tables_and_users(login: Login, database_uri: str) -> None:
    try:
        # Reads the configuration as soon as it is imported.
        from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

        try:
            _provide(SqlAlchemyStore(), database_uri, login.users)
        except (MlflowException, DBAPIError):
            # Another server may have begun at the same time, and is further now.
            _provide(SqlAlchemyStore(), database_uri, login.users)
    except ImportError as error:
        raise LoginError(
            f"MLflow's login does not work here: {error}", "pip install 'mlflow[auth]'"
        ) from error
    except MlflowException as error:
        raise LoginError(f"MLflow refuses a user: {error.message}") from error
    except DBAPIError as error:
        raise LoginError(f"the database does not take the login's tables: {error.orig}") from error


def _provide(store: Any, database_uri: str, users: Sequence[LoginUser]) -> None:
    store.init_db(database_uri)
    try:
        provide_users(store, users)
    finally:
        store.engine.dispose()


def serve(arguments: Sequence[str]) -> None:
    """Run MLflow's server, for which `prepare` was called, with further options of its own; exits with it."""
    from mlflow.cli import cli

    cli.main(["server", "--app-name=basic-auth", *arguments], prog_name="mlflow")


def provide_users(store: UserStore, users: Sequence[LoginUser]) -> None:
    """Make users who are missing, and give the others the password, the right and the grants that they should have."""
    for user in users:
        if not _made(store, user):
            if not store.authenticate_user(user.name, user.password):
                store.update_user(user.name, password=user.password)
            if store.get_user(user.name).is_admin != user.admin:
                store.update_user(user.name, is_admin=user.admin)
        for grant in user.grants:
            store.grant_user_permission(user.name, grant.kind, grant.name, grant.permission)
        general = {grant.kind for grant in user.grants if grant.name == _ALL}
        for kind in _KINDS:
            if kind not in general:
                _revoke(store, user.name, kind)


def _revoke(store: UserStore, user: str, kind: str) -> None:
    """Take back what a user may do with all of a kind, if anything."""
    try:
        store.revoke_user_resource_permission(user, kind, _ALL)
    except MlflowException as error:
        if error.error_code != _MISSING:
            raise


def _made(store: UserStore, user: LoginUser) -> bool:
    if store.has_user(user.name):
        return False
    try:
        store.create_user(user.name, user.password, is_admin=user.admin)
    except MlflowException as error:
        # By another server that starts at the same time.
        if error.error_code != _EXISTS:
            raise
        return False
    return True
