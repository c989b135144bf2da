"""What tasks of a stack on a swarm refuse, in which order they come, and whose things they take for the stack's."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.described import with_store
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users import login

from tests.support.roles import ROLES, SWARM, on_swarm, value
from tests.support.templates import trusted
from tests.unit.roles.test_compose_file import CLIENTS, written

PLAYBOOKS = ROLES.parent / "playbooks"
TASKS = ROLES / "mlflow_stack/tasks"
HOME: dict[str, Any] = {
    "groups": {"docker_hosts": ["one"], "mlflow_on_swarm": ["one"], "swarm_managers": ["one", "two"]},
    "hostvars": {
        "one": {"mlflow_stack_project": "front", "mlflow_stack_dir": "/opt/front"},
        "two": {"mlflow_stack_project": "other", "mlflow_stack_dir": "/opt/other"},
    },
    "mlflow_stack_project": "front",
}
DEPLOYED = {"deployed": {"database": "postgresql://postgres/mlflow"}, "directory": {"known": []}}


def tasks_of(file: Path) -> list[dict[str, Any]]:
    """Tasks of a file, or of all plays of one; those of blocks as well."""
    entries: list[dict[str, Any]] = yaml.safe_load(file.read_text())
    for entry in entries:
        for part in ("tasks", "block", "rescue", "always"):
            entries += entry.get(part, [])
    return entries


def named(file: Path, name: str) -> dict[str, Any]:
    (found,) = [task for task in tasks_of(file) if task["name"] == name]
    return found


def holds(condition: str, **given: Any) -> bool:
    return bool(value(f"{{{{ {condition} }}}}", **{**SWARM, **HOME, **given}))


def names(file: str) -> list[str]:
    return [task["name"] for task in yaml.safe_load((TASKS / "swarm" / file).read_text())]


@pytest.mark.parametrize(
    ("state", "host", "switch", "passes"),
    [
        ("empty", {"deployed": {"database": ""}}, False, True),
        # PostgreSQL has begun anew, on another node or on one that was built anew.
        ("empty", DEPLOYED, False, False),
        ("empty", DEPLOYED, True, True),
        ("current", DEPLOYED, False, True),
    ],
)
def test_an_empty_database_is_taken_only_where_none_was_deployed(
    state: str, host: dict[str, Any], switch: bool, passes: bool
) -> None:
    task = named(TASKS / "swarm/schema_check.yml", "Require the database that was deployed")
    given: dict[str, Any] = {
        "__mlflow_stack_host": host,
        "mlflow_stack_backend_store_switch": switch,
        "__mlflow_stack_swarm_schema": {"stdout": f'{{"state": "{state}"}}'},
    }
    assert holds(task["ansible.builtin.assert"]["that"], **given) is passes
    assert on_swarm("swarm_begins", **HOME, **given) is (switch or host != DEPLOYED)


def test_who_has_the_volume_of_an_empty_database_is_told() -> None:
    hostvars = {
        "one": {**HOME["hostvars"]["one"], "__mlflow_stack_swarm_holder": {"name": "one", "volume": True}},
        "two": {"__mlflow_stack_swarm_holder": {"name": "two", "volume": False}},
    }
    said = on_swarm("swarm_volume_said", **{**HOME, "hostvars": hostvars})
    assert "The volume front_swarm_postgres was on one before this run" in said
    assert "was on no node that could be asked" in on_swarm("swarm_volume_said", **HOME)


def test_a_stack_counts_as_deployed_once_its_rollout_held() -> None:
    order = names("serve.yml")
    assert order.index("Change the swarm") < order.index("Write the swarm's .env")


def test_a_schema_is_refused_before_anything_that_is_served_is_replaced() -> None:
    order = names("change.yml")
    assert order[0] == "Check the database that is served for the next servers"
    served = {"services": ["front_mlflow", "front_gateway"]}
    for host, expected in ((served, True), ({"services": []}, False), ({"services": None}, False)):
        assert on_swarm("swarm_is_served", **HOME, __docker_swarm_host=host) is expected


@pytest.mark.parametrize(
    ("code", "once", "ends", "fails"),
    [(0, False, True, False), (1, False, False, True), (1, True, True, False)],
)
def test_a_database_that_does_not_answer_is_left_to_whoever_provides_it(
    code: int, once: bool, ends: bool, fails: bool
) -> None:
    task = named(TASKS / "swarm/schema_check.yml", "Compare the database's schema with the servers' image")
    given = {"__mlflow_stack_swarm_schema": {"rc": code}, "__mlflow_stack_swarm_asks_once": once}
    # What is asked again until the end has failed, whatever else is said.
    assert (holds(task["until"], **given), holds(task["failed_when"], **given)) == (ends, fails)


def test_nodes_are_required_to_be_ready_before_services_change() -> None:
    assert "Require nodes that are ready for the services" in names("ready.yml")
    assert named(PLAYBOOKS / "swarm_images.yml", "Require what is to be served on each node")
    for name, change in (
        ("swarm_serving", "Serve MLflow on the swarm"),
        ("upgrade", "Upgrade MLflow"),
    ):
        plays = yaml.safe_load((PLAYBOOKS / f"{name}.yml").read_text())
        brought = [play.get("ansible.builtin.import_playbook") for play in plays].index("swarm_images.yml")
        assert brought < [play["name"] for play in plays].index(change)
    holder = {"name": "one", "node": "n1", "images": True, "volume": False}
    nodes = [
        {
            "id": f"n{number}",
            "hostname": f"h{number}",
            "role": "manager",
            "availability": "active",
            "state": "ready",
        }
        for number in (1, 2)
    ]
    given: dict[str, Any] = {
        **HOME,
        "__docker_swarm_host": {"nodes": nodes, "swarm": {"node": "n1"}},
        "__mlflow_stack_host": DEPLOYED,
        "hostvars": {"one": {"__mlflow_stack_swarm_holder": holder}, "two": {}},
    }
    (finding,) = on_swarm("swarm_unready", **given)
    assert "h2 (n2) is a ready and active node of the swarm" in finding
    nodes[0]["availability"] = "drain"
    _, closed = on_swarm("swarm_unready", **given)
    assert "this is the stack's home" in closed
    # A real run makes a home active that is to be, and check mode asks nothing from there.
    checked = {**given, "ansible_check_mode": True}
    assert len(on_swarm("swarm_unready", **checked)) == 1


@pytest.mark.parametrize("availability", ["active", "drain"])
def test_what_a_home_cannot_ask_is_not_predicted(availability: str) -> None:
    node = {"id": "n1", "hostname": "h1", "role": "manager", "availability": availability, "state": "ready"}
    swarm = {"node": "n1", "cluster": "c"}
    given: dict[str, Any] = {
        **HOME,
        "__docker_swarm_host": {"engine": "answers", "nodes": [node], "swarm": swarm},
        "__mlflow_stack_swarm_objects": [{"service": "mlflow"}, {"service": "gateway"}],
    }
    assert on_swarm("swarm_predictable", **given) is True
    predicted = on_swarm("swarm_predictable", **{**given, "ansible_check_mode": True})
    assert predicted is (availability == "active")


@pytest.mark.parametrize(
    ("host", "switch", "elsewhere", "refused"),
    [
        (DEPLOYED, False, False, True),
        (DEPLOYED, True, True, False),
        ({"deployed": {"database": ""}}, False, False, False),
        # The home was lost, and with it what says that the database was deployed.
        ({"deployed": {"database": ""}}, False, True, True),
        ({"deployed": {"database": ""}}, True, True, False),
    ],
)
def test_the_database_does_not_begin_empty_beside_its_volume(
    host: dict[str, Any], switch: bool, elsewhere: bool, refused: bool
) -> None:
    node = {"role": "manager", "availability": "active", "state": "ready"}
    labels = {"mlflow.database": "true"}
    holders = {
        "one": {"name": "one", "node": "n1", "images": True, "volume": False},
        "two": {"name": "two", "node": "n2", "images": True, "volume": elsewhere},
    }
    given: dict[str, Any] = {
        **HOME,
        "__docker_swarm_host": {
            "nodes": [
                {**node, "id": "n1", "hostname": "h1", "labels": labels},
                {**node, "id": "n2", "hostname": "h2"},
            ],
            "swarm": {"node": "n1"},
        },
        "__mlflow_stack_host": host,
        "hostvars": {name: {"__mlflow_stack_swarm_holder": each} for name, each in holders.items()},
        "mlflow_stack_backend_store_switch": switch,
    }
    # One that is no service of the stack has no volume.
    assert on_swarm("swarm_unready", **given) == []
    findings = on_swarm("swarm_unready", **given, mlflow_stack_backend_store="postgresql")
    assert ["one has the label mlflow.database, and lacks the volume" in each for each in findings] == [
        True
    ] * refused


def test_what_a_swarm_is_refused_for_holds_with_every_tag_that_serves() -> None:
    plays = yaml.safe_load((PLAYBOOKS / "preflight.yml").read_text())
    (play,) = [each for each in plays if each["name"] == "Check the swarm that is to serve the stack"]
    for name in ("swarm_images", "swarm_serving"):
        serving = yaml.safe_load((PLAYBOOKS / f"{name}.yml").read_text())
        tags = {tag for each in serving if "hosts" in each for tag in each["tags"]}
        assert tags
        assert tags <= set(play["tags"])


@pytest.mark.parametrize("file", ["on_swarm.yml", "compose_only.yml"])
def test_an_inventory_without_a_swarm_has_no_task_for_one(file: str) -> None:
    (play,) = yaml.safe_load((PLAYBOOKS / file).read_text())
    assert play["tags"] == ["always"]
    for groups, asked in (
        ({"docker_hosts": ["one"]}, False),
        ({"docker_hosts": ["one"], "swarm_managers": []}, False),
        ({"docker_hosts": ["one"], "swarm_managers": ["one"]}, True),
    ):
        assert value(play["hosts"], groups=groups) == ("docker_hosts" if asked else "docker_hosts:!all")


def test_a_key_that_no_part_of_the_run_provides_is_missed_on_a_swarm_as_well() -> None:
    for file in ("main.yml", "swarm/prepare.yml"):
        included = [
            str(task.get("ansible.builtin.import_tasks", task.get("ansible.builtin.include_tasks")))
            for task in yaml.safe_load((TASKS / file).read_text())
        ]
        assert [path for path in included if path.endswith("credentials.yml")]


@pytest.mark.parametrize(
    ("given", "served_by"),
    [
        ({}, "swarm"),
        ({"mlflow_stack_engine": "compose"}, "compose"),
        ({"mlflow_stack_server_url": "https://mlflow.example.org"}, "compose"),
    ],
)
def test_who_is_to_serve_is_asked_of_what_is_deployed(given: Any, served_by: str) -> None:
    asked = named(TASKS / "read_host.yml", "Read what the Docker host has for the stack")
    options = asked["freegee.mlflow_sftp.mlflow_stack_info"]
    given = {**SWARM, **HOME, "__mlflow_stack_removal": False, **given}
    assert value(options["served_by"], **given) == served_by
    assert value(options["swarm_managers"], **given) == ["one", "two"]
    # Compose's has none, as before.
    line = "MLFLOW_STACK_ENGINE='swarm'\n"
    assert (line in written(name="env", **given)) is (served_by == "swarm")


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({"__mlflow_stack_deployment": True}, True),
        # Of a run with --tags stack.
        ({"__mlflow_stack_keeps": True}, True),
        ({"__mlflow_stack_deployment": True, "__mlflow_stack_comes_back": True}, False),
        ({"__mlflow_stack_deployment": True, "mlflow_stack_engine": "compose"}, False),
        ({}, False),
    ],
)
def test_only_a_deployment_has_to_know_what_the_swarm_serves(given: dict[str, Any], asked: bool) -> None:
    reading = named(TASKS / "read_host.yml", "Read what the Docker host has for the stack")
    options = reading["freegee.mlflow_sftp.mlflow_stack_info"]
    assert value(options["known_services"], **{**SWARM, **HOME, **given}) is asked
    prepared = named(TASKS / "swarm/prepare.yml", "Check the stack before a swarm serves")
    assert prepared["vars"]["__mlflow_stack_keeps"] is True
    # A restore's files come after that, and what follows them is held against them.
    plays = yaml.safe_load((PLAYBOOKS / "restore.yml").read_text())
    passed = {
        play["ansible.builtin.import_playbook"]: play.get("vars", {}) for play in plays if "hosts" not in play
    }
    assert [name for name, each in passed.items() if each.get("preflight_comes_back")] == ["preflight.yml"]
    checked = named(PLAYBOOKS / "preflight.yml", "Check the Docker host before anything is changed")
    comes_back = checked["vars"]["__mlflow_stack_comes_back"]
    assert (value(comes_back), value(comes_back, preflight_comes_back=True)) == (False, True)


def test_a_client_host_of_a_swarm_is_none_of_its_homes() -> None:
    assert on_swarm("on_swarm") is True
    assert on_swarm("on_swarm", mlflow_stack_server_url="https://mlflow.example.org") is False


def test_images_are_fetched_as_who_logs_in_whatever_the_inventory_says() -> None:
    fetching = [
        task
        for task in tasks_of(TASKS / "swarm/images_save.yml")
        if "ansible.builtin.fetch" in task or task.get("register") == "__mlflow_stack_images_home"
    ]
    # The keyword alone loses against a variable, and fetch would read everything into memory.
    assert [task["vars"]["ansible_become"] for task in fetching] == [False, False]


def test_a_swarm_leaves_a_database_the_time_to_recover() -> None:
    database = named(TASKS / "swarm/postgres.yml", "Provide the service of the swarm's PostgreSQL")
    server = named(TASKS / "swarm/services.yml", "Provide the service of the swarm's servers")
    checks = [task["community.docker.docker_swarm_service"]["healthcheck"] for task in (database, server)]
    assert [check["start_period"] for check in checks] == ["1h", "3m"]


def test_the_server_has_the_environment_that_it_has_with_compose() -> None:
    given = {**SWARM, "mlflow_stack_proxy": "http://proxy:3128"}
    compose = yaml.safe_load(written(**{**given, "mlflow_stack_engine": "compose"}))["services"]["mlflow"]
    own = on_swarm("swarm_environment", mlflow_stack_proxy="http://proxy:3128")
    assert set(own) == set(compose["environment"])
    for name, each in compose["environment"].items():
        if "${" not in each:
            assert own[name] == each, name
    for name in ("HTTP_PROXY", "https_proxy"):
        assert own[name] == "http://proxy:3128"


@pytest.mark.parametrize(("store", "asked"), [("postgresql", True), ("postgresql://u:p@h/d", False)])
def test_sessions_of_a_lost_server_end_in_the_swarms_own_database(store: str, asked: bool) -> None:
    own = on_swarm("swarm_environment", **{**HOME, "mlflow_stack_backend_store": store})
    assert ("tcp_keepalives_idle=10" in own.get("PGOPTIONS", "")) is asked


@pytest.mark.parametrize(("access", "stores"), [("direct", True), ("proxied", False)])
def test_a_job_and_a_worker_have_what_they_have_with_compose(access: str, stores: bool) -> None:
    given: dict[str, Any] = {
        "mlflow_stack_dask": True,
        "mlflow_stack_access": access,
        "mlflow_stack_proxy": "http://proxy:3128",
        "mlflow_stack_extra_hosts": {"sftp.example.org": "10.1.2.3"},
    }
    as_compose = {"mlflow_stack_engine": "compose", "mlflow_stack_services": CLIENTS}
    compose = yaml.safe_load(written(**{**SWARM, **given, **as_compose}))["services"]
    job = yaml.safe_load(written(name="jobs.yml", **{**SWARM, **HOME, **given}))
    train = job["services"]["train"]
    assert set(train) - {"networks"} >= set(compose["train"]) - {"build", "depends_on", "networks", "labels"}
    for name, each in compose["train"]["environment"].items():
        if "${" not in each:
            assert train["environment"][name] == each, name
    # Behind a name with several servers, one that is lost has to be given up.
    assert set(train["environment"]) - {"MLFLOW_HTTP_REQUEST_TIMEOUT"} == set(compose["train"]["environment"])
    server = on_swarm("swarm_environment", **given)
    assert int(train["environment"]["MLFLOW_HTTP_REQUEST_TIMEOUT"]) > int(server["MLFLOW_SFTP_RETRY_TIMEOUT"])
    assert on_swarm("swarm_worker_environment", **given) == train["environment"]
    assert ("../.secrets/mlflow_sftp_key" in str(train["volumes"])) is stores
    assert ("entrypoint" in train) is stores
    assert on_swarm("swarm_settings", **given)["storing"] == ["mlflow", *(["dask-worker"] if stores else [])]
    worker = compose["dask-worker"]
    assert on_swarm("swarm_worker_command", **given) == worker["command"]
    asked = named(TASKS / "swarm/dask.yml", "Provide the service of the swarm's workers")
    service = asked["community.docker.docker_swarm_service"]
    assert service["healthcheck"]["test"] == worker["healthcheck"]["test"]
    assert {each["name"] for each in job["networks"].values()} == {"front_swarm", "front_swarm_dask"}
    assert all(each["external"] for each in job["networks"].values())


def test_a_job_and_a_worker_log_in_as_train() -> None:
    given = {"mlflow_stack_dask": True, "mlflow_stack_auth": "basic"}
    train = yaml.safe_load(written(name="jobs.yml", **{**SWARM, **HOME, **given}))["services"]["train"]
    assert "../.secrets/mlflow_login/train:/home/mlflow/.mlflow/credentials:ro,z" in train["volumes"]
    # Whom no service is named for, on a swarm.
    assert sorted(on_swarm("login", **HOME, **given)["files"]) == ["mlflow", "server.json", "train"]
    assert sorted(on_swarm("login", **HOME, mlflow_stack_auth="basic")["files"]) == ["mlflow", "server.json"]
    without = yaml.safe_load(written(name="jobs.yml", **{**SWARM, **HOME, "mlflow_stack_dask": True}))
    assert "mlflow_login" not in str(without)


def test_servers_have_the_command_that_they_have_with_compose() -> None:
    for auth in ("none", "basic"):
        given = {**SWARM, "mlflow_stack_auth": auth, "mlflow_stack_access": "proxied"}
        compose = yaml.safe_load(written(**{**given, "mlflow_stack_engine": "compose"}))["services"]["mlflow"]
        own = on_swarm("swarm_command", mlflow_stack_auth=auth, mlflow_stack_access="proxied")
        assert [word.partition("=")[0] for word in own] == [
            word.partition("=")[0] for word in compose["command"]
        ]
        # Where a container has what the server reads; see plugins/module_utils/_swarm/objects.py.
        assert (login.SERVER in own) is (auth == "basic")
        assert (f":{login.SERVER}:" in str(compose["volumes"])) is (auth == "basic")


def test_only_what_needs_a_login_has_its_files() -> None:
    for auth in ("none", "basic"):
        tool = on_swarm("swarm_tool", mlflow_stack_auth=auth, __mlflow_stack_deployed_login={"users": []})
        assert (
            f"--volume=/opt/mlflow-stack/.secrets/mlflow_login/server.json:{login.SERVER}:ro,z" in tool
        ) is (auth == "basic")
    # As deployed, whatever the inventory says by now.
    for users in ([], ["admin"]):
        volumes = on_swarm("swarm_login_volumes", __mlflow_stack_deployed_login={"users": users})
        assert volumes == [
            f"--volume=/opt/mlflow-stack/.secrets/mlflow_login/mlflow:{login.CREDENTIALS}:ro,z" for _ in users
        ]


_WITH_LOGIN = '["mlflow-sftp", "login-server", "/run/secrets/mlflow_login.json"]'
_WITHOUT_LOGIN = '["mlflow", "server"]'


@pytest.mark.parametrize(
    ("auth", "state", "served", "begins", "makes"),
    [
        ("basic", "none", None, True, True),
        ("basic", "current", _WITH_LOGIN, True, False),
        ("basic", "current", _WITHOUT_LOGIN, True, False),
        # Left by one that was off.
        ("basic", "behind", _WITHOUT_LOGIN, True, True),
        ("basic", "behind", None, True, True),
        ("basic", "behind", _WITH_LOGIN, False, True),
        ("basic", "unknown", _WITHOUT_LOGIN, False, True),
        ("none", "behind", _WITH_LOGIN, True, False),
    ],
)
def test_the_tables_of_the_login_are_made_once_and_migrated_by_an_upgrade(
    auth: str, state: str, served: str | None, begins: bool, makes: bool
) -> None:
    given: dict[str, Any] = {
        "mlflow_stack_auth": auth,
        "__mlflow_stack_swarm_program": {"skipped": True} if served is None else {"stdout": served},
        "__mlflow_stack_swarm_schema": {"stdout": f'{{"login": {{"state": "{state}"}}}}', "rc": 0},
    }
    check = named(
        TASKS / "swarm/schema_check.yml",
        "Require a schema of the login's tables that the servers can begin with",
    )
    assert holds(check["ansible.builtin.assert"]["that"], **given) is begins
    make = named(TASKS / "swarm/schema.yml", "Make tables and first users of the login")
    assert holds(make["when"], **given) is makes


@pytest.mark.parametrize(("auth", "sees"), [("basic", True), ("none", False)])
def test_servers_see_a_login_that_is_there_only_where_they_have_one(auth: str, sees: bool) -> None:
    naming = named(TASKS / "swarm/files.yml", "Name the swarm's secrets and configs")
    paths = [
        f"/opt/mlflow-stack/{each}" for each in ("mlflow/ssh_config", ".secrets/mlflow_login/server.json")
    ]
    objects = value(
        naming["ansible.builtin.set_fact"]["__mlflow_stack_swarm_objects"],
        **SWARM,
        **HOME,
        mlflow_stack_auth=auth,
        __mlflow_stack_swarm_files={"files": [{"path": path, "checksum": "0" * 64} for path in paths]},
    )
    assert {each["path"] for each in objects} == {*paths[:1], *(paths[1:] if sees else [])}


def test_of_each_container_that_comes_and_goes_it_is_asked_whose_it_is() -> None:
    stack: Any = Stack.__new__(Stack)
    stack.project = SimpleNamespace(name="mlflow")
    tools = {
        stack.tool,
        stack.copier,
        stack.planner,
        stack.asker,
        stack.tidier,
        stack.candidate,
        stack.trainer,
    }
    asked = named(TASKS / "read_host.yml", "Read what the Docker host has for the stack")
    containers = value(
        asked["freegee.mlflow_sftp.mlflow_stack_info"]["containers"],
        __mlflow_stack_prefixes=["mlflow-"],
        mlflow_stack_project="mlflow",
    )
    assert tools | {stack.trial, stack.maintenance, on_swarm("swarm_users")} <= set(containers)


@pytest.mark.parametrize(
    "task",
    [
        "Require a schema that the servers can begin with",
        "Require a schema of the login's tables that the servers can begin with",
    ],
)
@pytest.mark.parametrize(
    ("host", "words"),
    [
        (DEPLOYED, "Run playbooks/upgrade.yml: it backs up"),
        # The home was lost, and has its files again: upgrade.yml would name site.yml.
        (
            {"deployed": {"database": ""}},
            "that playbooks/upgrade.yml could bring to it: install the version of this collection",
        ),
    ],
)
def test_another_schema_leads_to_a_playbook_that_can_begin(
    host: dict[str, Any], words: str, task: str
) -> None:
    check = named(TASKS / "swarm/schema_check.yml", task)["ansible.builtin.assert"]
    schema = {"stdout": '{"state": "behind", "login": {"state": "behind"}}'}
    said = value(
        check["fail_msg"],
        **{
            **SWARM,
            "__mlflow_stack_swarm_schema": schema,
            "__mlflow_stack_host": host,
            "mlflow_stack_auth": "basic",
        },
    )
    assert '"behind" to the MLflow of this collection' in said
    assert words in said
    assert "  " not in said
    assert said.endswith("The servers have not been changed.")


@pytest.mark.parametrize(
    ("check", "server", "foretold"),
    [
        (False, {"changed": True}, False),
        (True, {"changed": False}, False),
        (True, {"changed": True}, True),
        (True, {"changed": False, "skipped": True}, True),
        (True, None, True),
    ],
)
def test_check_mode_asks_only_servers_that_stay_as_they_are(
    check: bool, server: dict[str, bool] | None, foretold: bool
) -> None:
    given = {} if server is None else {"__mlflow_stack_swarm_server": server}
    assert on_swarm("users_foretold", **given, ansible_check_mode=check) is foretold


def test_the_first_users_are_there_before_there_are_servers_and_the_others_once_they_answer() -> None:
    order = names("change.yml")
    assert order.index("Provide the schema of the database") < order.index(
        "Provide servers and gateways of the swarm"
    )
    order = names("serve.yml")
    assert order.index("Change the swarm") < order.index("Provide the users that the swarm's servers know")
    # A rollout that the swarm takes back leaves servers with it.
    removal = order.index("Remove the files of a login that the swarm's servers do not have any more")
    assert order.index("Change the swarm") < removal
    # Whatever becomes of the users, it is known what is deployed.
    assert order.index("Write the swarm's .env") == order.index("Change the swarm") + 1


def test_nothing_of_scheduler_and_workers_is_published_or_leads_out() -> None:
    network = named(TASKS / "swarm/dask.yml", "Create the network of the swarm's scheduler and workers")
    assert network["community.docker.docker_network"]["internal"] is True
    for name in ("scheduler", "workers"):
        service = named(TASKS / "swarm/dask.yml", f"Provide the service of the swarm's {name}")
        options = service["community.docker.docker_swarm_service"]
        assert "publish" not in options
        assert len(options["networks"]) == (1 if name == "scheduler" else 2)


@pytest.mark.parametrize(("workers", "mode"), [(3, "replicated"), (0, "global")])
def test_workers_are_so_many_or_one_on_each_node(workers: int, mode: str) -> None:
    asked = named(TASKS / "swarm/dask.yml", "Provide the service of the swarm's workers")
    options = asked["community.docker.docker_swarm_service"]
    given = {**SWARM, **HOME, "mlflow_stack_dask_workers": workers, "omit": "omitted"}
    assert value(options["mode"], **given) == mode
    assert value(options["replicas"], **given) == (workers or "omitted")
    for label, constraints in (("", []), ("jobs", ["node.labels.jobs == true"])):
        assert (
            value(options["placement"]["constraints"], **given, mlflow_stack_dask_label=label) == constraints
        )


def test_what_a_switched_off_scheduler_leaves_is_known_until_all_of_it_is_gone() -> None:
    name = "Remove the swarm's scheduler and workers that are switched off"
    condition = named(TASKS / "swarm/change.yml", name)["when"]
    for dask, known, goes in ((False, ["dask"], True), (True, ["dask"], False), (False, [], False)):
        host = {"directory": {"known": known}}
        assert holds(condition, mlflow_stack_dask=dask, __mlflow_stack_host=host) is goes
    assert tasks_of(TASKS / "swarm/dask_remove.yml")[-1]["loop"][-1] == "dask"


def test_containers_that_run_once_have_the_proxies_and_names_that_servers_have() -> None:
    options = on_swarm("swarm_run_options", mlflow_stack_extra_hosts={"db.example.org": "10.1.2.3"})
    assert "--add-host=db.example.org:10.1.2.3" in options
    environment = on_swarm("swarm_environment")
    assert {option for option in options if option.startswith("--env=")} == {
        f"--env={name}={each}" for name, each in environment.items() if name.upper().endswith("_PROXY")
    }
    assert set(options) <= set(
        on_swarm("swarm_tool", mlflow_stack_extra_hosts={"db.example.org": "10.1.2.3"})
    )


def test_a_node_judges_what_is_the_stacks_by_the_home() -> None:
    # Of a node with other values of its own.
    given = {**HOME, "mlflow_stack_project": "other", "mlflow_stack_dir": "/opt/other"}
    assert on_swarm("swarm_volume", **given) == "front_swarm_postgres"
    assert on_swarm("swarm_filters", **given) == [
        "--filter=label=freegee.mlflow_sftp.owner=/opt/front",
        "--filter=label=freegee.mlflow_sftp.project=front",
    ]


def test_only_the_volume_of_the_swarms_database_is_removed() -> None:
    task = named(TASKS / "swarm/remove_volumes.yml", "Remove the volume of the swarm's database on the node")
    assert task["community.docker.docker_volume"]["name"] == "{{ __mlflow_stack_swarm_volume }}"
    for found, goes in (
        ("front_notebooks", False),
        ("front_postgres", False),
        ("front_swarm_postgres", True),
    ):
        volumes = {"stdout_lines": [found]}
        assert holds(task["when"], __mlflow_stack_swarm_volumes=volumes) is goes


def test_names_of_a_swarm_are_none_of_composes() -> None:
    store = {"mlflow_stack_backend_store": "postgresql", "mlflow_stack_project": "front"}
    compose = yaml.safe_load(written(**store))
    networks = {each.get("name", f"front_{name}") for name, each in compose["networks"].items()}
    assert not networks & {each["name"] for each in on_swarm("swarm_networks", **store)}
    assert on_swarm("swarm_volume", **HOME) not in {f"front_{name}" for name in compose["volumes"]}


@pytest.mark.parametrize(
    ("groups", "reached"),
    [
        ({"mlflow_on_swarm": ["one"]}, True),
        # Check mode, before there is Docker on the home.
        ({"mlflow_on_swarm": ["one"], "engine_pending": ["one", "two"]}, False),
        ({"mlflow_on_swarm": ["one"], "engine_pending": ["two"]}, True),
        ({}, False),
    ],
)
def test_nodes_are_asked_only_where_the_home_has_images(groups: dict[str, list[str]], reached: bool) -> None:
    plays = yaml.safe_load((PLAYBOOKS / "swarm_images.yml").read_text())
    patterns = [play["hosts"] for play in plays if play["hosts"].startswith("swarm_managers")]
    assert len(patterns) == 2
    for pattern in patterns:
        assert (":!all" not in str(value(pattern, groups=groups))) is reached


def test_no_image_is_brought_where_none_is_needed() -> None:
    for play in yaml.safe_load((PLAYBOOKS / "swarm_images.yml").read_text()):
        given: dict[str, Any] = {"groups": {"mlflow_on_swarm": ["one"]}, "swarm_images_needed": False}
        assert ":!all" in str(value(play["hosts"], **given)), play["name"]


@pytest.mark.parametrize(("limit", "left"), [(["one", "two"], []), (["one"], ["two"])])
def test_data_is_removed_only_where_all_nodes_are_asked(limit: list[str], left: list[str]) -> None:
    task = named(PLAYBOOKS / "swarm_removal.yml", "Require all nodes of the swarm where data is to go")
    expression = task["vars"]["swarm_left_out"]
    assert "query('ansible.builtin.inventory_hostnames'" in expression
    begin, _, _ = expression.partition("query(")
    found = value(trusted(f"{begin}{limit}) }}}}"), **{**SWARM, **HOME})
    assert found == left


@pytest.mark.parametrize("name", ["compose.yml", "env"])
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_compose_takes_no_notice_of_what_is_said_of_a_swarm(name: str, store: str) -> None:
    given: dict[str, Any] = {
        "mlflow_stack_backend_store": store,
        "mlflow_gateway_hostname": "mlflow.example.org",
    }
    labels = {f"mlflow_stack_{part}_label": "some" for part in ("database", "gateway", "dask")}
    assert written(name=name, **given, **labels) == written(name=name, **given)


@pytest.mark.parametrize(
    ("replicas", "auth", "options"),
    [
        (1, "none", []),
        (3, "none", ["-c", "max_connections=190"]),
        (4, "none", ["-c", "max_connections=250"]),
        (3, "basic", ["-c", "max_connections=280"]),
    ],
)
def test_postgresql_bears_the_sessions_of_every_server(replicas: int, auth: str, options: list[str]) -> None:
    service = named(TASKS / "swarm/postgres.yml", "Provide the service of the swarm's PostgreSQL")
    command = service["community.docker.docker_swarm_service"]["command"]
    given = {"mlflow_stack_replicas": replicas, "mlflow_stack_auth": auth}
    assert value(command, **{**SWARM, **given})[1:] == options


@pytest.mark.parametrize("access", ["direct", "proxied"])
def test_a_cutover_tells_servers_of_a_store_what_a_deployment_tells(access: str) -> None:
    task = named(TASKS / "swarm/store.yml", "Write what the swarm's next servers are told of the store")
    given: dict[str, Any] = {
        "mlflow_stack_access": access,
        "artifact_storage_uri": "sftp://u@other:22/b",
        "artifact_storage_others": ["sftp://u@h:22"],
    }
    told = {
        name: value(each, **SWARM, **HOME, **given)
        for name, each in task["vars"]["__mlflow_stack_swarm_stored"].items()
    }
    server = named(TASKS / "swarm/services.yml", "Provide the service of the swarm's servers")
    service = server["community.docker.docker_swarm_service"]
    begun = {"TaskTemplate": {"ContainerSpec": {"Args": value(service["args"], **SWARM, **HOME)}}}
    following = with_store(begun, told["arguments"], told["environment"])
    assert following["TaskTemplate"]["ContainerSpec"]["Args"] == value(
        service["args"], **SWARM, **HOME, **given
    )
    deployed = value(service["env"], **SWARM, **HOME, **given)
    other = value(service["env"], **SWARM, **HOME, mlflow_stack_access="other")
    # All that another store changes.
    differing = {name for name in deployed if deployed[name] != other[name]}
    assert differing <= set(told["environment"])
    assert {name: deployed[name] for name in told["environment"]} == told["environment"]
    assert told["environment"]["MLFLOW_ALLOWED_HOST_ADDRESSED_ARTIFACT_SCHEMES"] == "sftp"
