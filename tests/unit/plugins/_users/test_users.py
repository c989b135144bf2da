"""Users of MLflow's login: what is wrong with a declaration, what has to be done, and the files of the services."""

import base64
import configparser
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users.decisions import (
    Changes,
    Present,
    Wanted,
    changes,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users.login import (
    DIRECTORY,
    SERVER_FILE,
    DeployedLogin,
    authorization,
    digests,
    login_files,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users.users import (
    SERVICES as ALL_SERVICES,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users.users import (
    Grant,
    grants_of,
    retired_users,
    user_problems,
)

ROLE = Path(__file__).parents[4] / "roles" / "mlflow_stack"
SERVICES = ["mlflow", "notebook", "train"]
GOOD: dict[str, Any] = {"name": "alice", "password": "twelve chars"}
EDIT = {"experiment": "churn", "permission": "EDIT"}
# A declaration, and words of the one sentence.
MISTAKES: dict[str, tuple[list[Any], list[str]]] = {
    "no mapping": (["alice"], ["entry 1 is no mapping"]),
    "no name": ([GOOD | {"name": ""}], ["entry 1 has no name"]),
    "only spaces": ([GOOD | {"name": " "}], ["has no name"]),
    "colon": ([GOOD | {"name": "a:b"}], ["a:b is a name with a colon"]),
    "name too long": ([GOOD | {"name": "a" * 256}], ["256 characters; MLflow takes 255"]),
    "twice": ([GOOD, GOOD], ["alice is declared 2 times"]),
    "the administrator": ([GOOD | {"name": "admin"}], ["admin is a user of the stack itself"]),
    "of a service that is off": (
        [GOOD | {"name": "service-monitor"}],
        ["service-monitor is a user of the stack itself"],
    ),
    "of a service": ([GOOD | {"name": "service-train"}], ["is a user of the stack itself"]),
    "no password": ([{"name": "alice"}], ["alice has no password"]),
    "password no text": ([GOOD | {"password": 123456789012}], ["has no password (text)"]),
    "password too short": (
        [GOOD | {"password": "eleven char"}],
        ["a password of 11 characters", "none below 12"],
    ),
    "password with an end": ([GOOD | {"password": "twelve chars\n"}], ["a control character"]),
    "name beyond ASCII": ([GOOD | {"name": "Zoë"}], ["Zoë is a name that is not all ASCII, with which"]),
    "password beyond ASCII": ([GOOD | {"password": "twelve chärs"}], ["a password that is not all ASCII"]),
    "misspelt key": ([GOOD | {"permission": []}], ["alice has permission; expected admin"]),
    "misspelt state": ([GOOD | {"state": "gone"}], ["state gone; expected present or absent"]),
    "misspelt update": ([GOOD | {"update_password": "no"}], ["expected always or on_create"]),
    "permission unknown": (
        [GOOD | {"permissions": [EDIT | {"permission": "WRITE"}]}],
        ["the permission WRITE on experiment churn; expected one of READ"],
    ),
    "no resource": ([GOOD | {"permissions": [{"permission": "EDIT"}]}], ["not for one resource"]),
    "two resources": ([GOOD | {"permissions": [EDIT | {"registered_model": "m"}]}], ["not for one resource"]),
    "no list": ([GOOD | {"permissions": EDIT}], ["permissions that are no list"]),
    "two permissions": ([GOOD | {"permissions": [EDIT, EDIT]}], ["2 permissions on experiment churn"]),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_one_mistake(case: str) -> None:
    users, words = MISTAKES[case]
    (found,) = user_problems(users, login=True)
    assert [word for word in words if word not in found] == [], found
    assert "twelve" not in found
    assert "eleven" not in found


@pytest.mark.parametrize(
    "users",
    [
        [],
        [GOOD],
        [GOOD | {"permissions": [EDIT, {"registered_model": "*", "permission": "READ"}], "admin": True}],
        [{"name": "alice", "state": "absent"}],
        # Somebody may have made her in MLflow.
        [{"name": "Zoë Müller", "state": "absent"}],
        [GOOD | {"name": "Zoe Mueller", "password": "passwords %s"}],
    ],
)
def test_no_mistake(users: list[Any]) -> None:
    assert list(user_problems(users, login=True)) == []


def test_all_mistakes_at_once() -> None:
    users = [GOOD | {"password": "short", "permissions": [EDIT | {"permission": "ALL"}]}, {"name": ""}, {}]
    assert len(list(user_problems(users, login=True))) == 6


def test_users_without_a_login() -> None:
    (found,) = user_problems([GOOD], login=False)
    assert "Set mlflow_stack_auth to basic" in found


READ, MANAGE = Grant("experiment", "1", "READ"), Grant("experiment", "1", "MANAGE")
NONE = Grant("experiment", "1", "NO_PERMISSIONS")
OTHER = Grant("registered_model", "*", "EDIT")
MANAGE_ALL = Grant("experiment", "*", "MANAGE")


def present(*grants: Grant, admin: bool = False, right: bool = True) -> Present:
    return Present(admin, right, frozenset(grants))


def wanted(*grants: Grant, admin: bool = False, password: str = "declared") -> Wanted:
    return Wanted(password, admin, frozenset(grants))


@pytest.mark.parametrize(
    ("there", "declared", "due"),
    [
        (None, wanted(), Changes(create=True)),
        (None, wanted(READ, admin=True), Changes(create=True, admin=True, grant=(READ,))),
        (None, wanted(NONE), Changes(create=True)),
        (present(), wanted(), Changes()),
        (present(READ, OTHER), wanted(OTHER, READ), Changes()),
        (present(right=False), wanted(), Changes(password=True)),
        (present(right=False), wanted(password=""), Changes()),
        (present(admin=True), wanted(), Changes(admin=False)),
        (present(), wanted(OTHER, READ), Changes(grant=(READ, OTHER))),
        (present(READ, OTHER), wanted(READ), Changes(revoke=(OTHER,))),
        (present(READ), wanted(MANAGE), Changes(revoke=(READ,), grant=(MANAGE,))),
        (present(MANAGE), wanted(READ), Changes(revoke=(MANAGE,), grant=(READ,))),
        (present(MANAGE), wanted(), Changes()),
        (present(MANAGE_ALL, MANAGE), wanted(), Changes(revoke=(MANAGE_ALL,))),
        (present(MANAGE_ALL), wanted(MANAGE_ALL), Changes()),
        (present(MANAGE), wanted(NONE), Changes(revoke=(MANAGE,))),
        (present(), wanted(NONE), Changes()),
    ],
)
def test_what_has_to_be_done(there: Present | None, declared: Wanted, due: Changes) -> None:
    assert changes(there, declared) == due
    assert due.needed == (due != Changes())


def files(secret: str = "secret", password: str = "100% right") -> dict[str, str]:
    return login_files(secret, password, SERVICES, [{"experiment": "*", "permission": "EDIT"}], "READ", 60)


def test_each_service_has_a_user_and_the_server_knows_all(tmp_path: Path) -> None:
    made = files()
    server = json.loads(made.pop(SERVER_FILE))
    read = {}
    for name, text in made.items():
        config = configparser.ConfigParser()
        config.read_string(text)
        read[name] = (
            config["mlflow"]["mlflow_tracking_username"],
            config["mlflow"]["mlflow_tracking_password"],
        )
    assert set(read.values()) == {(user["name"], user["password"]) for user in server["users"]}
    assert read["mlflow"] == ("admin", "100% right")
    assert [user["name"] for user in server["users"] if user.get("admin")] == ["admin"]
    assert len({user["password"] for user in server["users"]} | {server["secret_key"]}) == len(SERVICES) + 1
    assert server["users"][1]["grants"] == [{"kind": "experiment", "name": "*", "permission": "EDIT"}]


def test_an_administrator_without_a_given_password_has_one_of_the_stack_s(tmp_path: Path) -> None:
    server = json.loads(files(password="")[SERVER_FILE])
    passwords = [user["password"] for user in server["users"]]
    assert len(passwords[0]) == 40
    assert len(set(passwords)) == len(passwords)
    assert passwords == [user["password"] for user in json.loads(files(password="")[SERVER_FILE])["users"]]
    other = json.loads(files("another secret", "")[SERVER_FILE])["users"]
    assert passwords[0] != other[0]["password"]


def answered(text: str) -> dict[str, str]:
    """As the module slurp does."""
    return {"content": base64.b64encode(text.encode()).decode()}


def test_what_was_deployed_is_read_as_it_was_written() -> None:
    text = files(password="pässword%")["server.json"]
    found = DeployedLogin.read(answered(text))
    assert found.text == text
    assert found.admin_password == "pässword%"
    assert found.users == ("admin", *(f"service-{name}" for name in SERVICES if name != "mlflow"))
    assert found.problem == ""


@pytest.mark.parametrize("answer", [{}, {"skipped": True, "changed": False}])
def test_no_login_is_deployed_where_there_is_no_file(answer: dict[str, Any]) -> None:
    assert DeployedLogin.read(answer) == DeployedLogin()


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"failed": False, "msg": "File is not readable: /s"}, "(File is not readable: /s)"),
        ({"failed": True}, "(nobody says why)"),
        *(
            (answered(text), "(it does not hold what site.yml writes)")
            for text in ("", "{", "[]", "{}", '{"users": []}', '{"users": [1]}', '{"users": null}')
        ),
        # Nobody is the administrator.
        (
            answered('{"users": [{"name": "admin", "password": "p"}]}'),
            "(it does not hold what site.yml writes)",
        ),
    ],
)
def test_what_cannot_be_read_is_not_a_stack_without_a_login(answer: dict[str, Any], problem: str) -> None:
    found = DeployedLogin.read(answer)
    assert problem in found.problem
    assert ".secrets/mlflow_login/server.json" in found.problem
    assert (found.text, found.admin_password, found.users) == ("", "", ())


def test_a_container_is_made_anew_where_its_own_files_change() -> None:
    before, after = digests(files()), digests(files(password="another one"))
    assert sorted(before) == SERVICES
    assert [name for name in SERVICES if before[name] != after[name]] == ["mlflow"]
    assert not {*before.values()} & {*digests(files("another secret")).values()}


def test_the_header_of_the_server_s_own_user(tmp_path: Path) -> None:
    assert authorization(tmp_path) == {}
    file = tmp_path / DIRECTORY / "mlflow"
    file.parent.mkdir(parents=True)
    file.write_text(files()["mlflow"])
    kind, _, value = authorization(tmp_path)["Authorization"].partition(" ")
    assert (kind, base64.b64decode(value).decode()) == ("Basic", "admin:100% right")


def test_grants_of_a_declaration() -> None:
    given = [{"experiment": "churn", "registered_model": None, "permission": "EDIT"}]
    assert grants_of(given) == (Grant("experiment", "churn", "EDIT"),)


@pytest.mark.parametrize(
    ("services", "retired"),
    [
        (ALL_SERVICES, []),
        (["mlflow", "notebook", "train"], ["service-experiment-service", "service-monitor"]),
        # The administrator is nobody's that could be off.
        (["notebook", "experiment-service", "train"], ["service-monitor"]),
    ],
)
def test_users_of_services_that_are_off(services: list[str], retired: list[str]) -> None:
    assert retired_users(services) == retired


def test_these_are_the_services_of_the_role() -> None:
    specs = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"][
        "options"
    ]
    assert {*specs["mlflow_stack_services"]["choices"], "monitor"} <= set(ALL_SERVICES)
