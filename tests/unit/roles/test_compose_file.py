"""The Compose file that the role of the stack writes: of the server's host, and of hosts that use its server."""

import json
from typing import Any

import pytest
import yaml

from tests.support.roles import ROLES, SWARM, on_swarm, value

CLIENTS = ["notebook", "experiment-service", "train"]
GPU = {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
URL = "https://mlflow.example.org:8443"


def written(name: str = "compose.yml", **given: Any) -> str:
    """Return a file of the role as a host with the given variables gets it."""
    return str(value((ROLES / f"mlflow_stack/templates/{name}.j2").read_text(), **given))


def client(**given: Any) -> str:
    return written(**{"mlflow_stack_server_url": URL, "mlflow_stack_services": CLIENTS, **given})


@pytest.mark.parametrize("access", ["direct", "proxied"])
@pytest.mark.parametrize("storage", ["sftp", "local"])
def test_the_servers_host_does_not_notice_its_client_hosts(storage: str, access: str) -> None:
    given: dict[str, Any] = {
        "artifact_storage": storage,
        "mlflow_stack_access": access,
        "mlflow_stack_auth": "basic",
        "mlflow_gateway_hostname": "mlflow.example.org",
        "mlflow_stack_backend_store": "postgresql",
        "mlflow_stack_monitor": True,
    }
    alone = written(**given)
    assert written(**given, groups={"docker_hosts": ["server"], "mlflow_clients": ["gpu"]}) == alone
    assert not {"extra_hosts", "deploy", "server_ca"} & set(alone.replace(":", " ").split())


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({}, []),
        ({"sftp_target_quota_bytes": 0}, []),
        ({"sftp_target_quota_bytes": 10**12}, ["--quota=1000000000000"]),
        ({"sftp_target_quota_bytes": 10**12, "artifact_storage": "local"}, []),
    ],
)
def test_the_monitor_knows_the_quota_of_the_account(given: dict[str, Any], options: list[str]) -> None:
    command = yaml.safe_load(written(mlflow_stack_monitor=True, **given))["services"]["monitor"]["command"]
    assert [option for option in command if "quota" in option] == options


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ({}, None),
        ({"mlflow_stack_auth": "basic"}, None),
        ({"mlflow_stack_workers": 4}, ["-c", "max_connections=130"]),
        # Servers of a swarm, which this is not.
        ({"mlflow_stack_replicas": 4}, None),
    ],
)
def test_postgresql_bears_the_sessions_of_every_worker(
    given: dict[str, Any], command: list[str] | None
) -> None:
    found = yaml.safe_load(written(mlflow_stack_backend_store="postgresql", **given))
    assert found["services"]["postgres"].get("command") == command


def test_a_client_host_has_services_and_nothing_of_the_server() -> None:
    found = yaml.safe_load(client(mlflow_gateway_hostname="mlflow.example.org"))
    assert list(found["services"]) == CLIENTS
    assert list(found["volumes"]) == ["notebooks"]
    for service in found["services"].values():
        assert service["environment"]["MLFLOW_TRACKING_URI"] == URL
        assert service["environment"]["MLFLOW_UI_URL"] == URL
        assert "MLFLOW_TRACKING_SERVER_CERT_PATH" not in service["environment"]
        assert "depends_on" not in service
        assert service["image"] == "freegee/mlflow-client:tag"
    # Only a gateway of the same host shows the notebook below a path.
    assert not any("base_url" in word for word in found["services"]["notebook"]["command"])


@pytest.mark.parametrize("store", ["postgresql", "postgresql://u:secret@db/mlflow", "sqlite"])
def test_a_client_host_is_not_told_of_the_database(store: str) -> None:
    for file in ("compose.yml", "env"):
        text = client(name=file, mlflow_stack_backend_store=store)
        assert "BACKEND_STORE" not in text
        assert "secret@" not in text
        assert "postgres:" not in text
        assert "ALLOWED_HOSTS" not in text


@pytest.mark.parametrize(
    ("storage", "access", "holds_key"),
    [("sftp", "direct", True), ("sftp", "proxied", False), ("local", "proxied", False)],
)
def test_credentials_of_the_account_only_where_access_is_direct(
    storage: str, access: str, holds_key: bool
) -> None:
    text = client(artifact_storage=storage, mlflow_stack_access=access)
    for service in yaml.safe_load(text)["services"].values():
        mounted = [volume.partition(":")[0] for volume in service.get("volumes", [])]
        assert ("./.secrets/mlflow_sftp_key" in mounted) is holds_key
        assert ("./mlflow" in mounted) is holds_key
        assert "artifacts" not in mounted
        assert "init_ssh_keys.sh" not in str(service.get("entrypoint")) or holds_key


def test_services_of_a_client_host_log_in_as_themselves() -> None:
    for name, service in yaml.safe_load(client(mlflow_stack_auth="basic"))["services"].items():
        secrets = [volume for volume in service["volumes"] if "login" in volume]
        assert secrets == [f"./.secrets/mlflow_login/{name}:/home/mlflow/.mlflow/credentials:ro,z"]


def test_their_passwords_are_those_that_the_server_knows() -> None:
    groups = {"docker_hosts": ["server"], "mlflow_clients": ["gpu"]}
    given = {"mlflow_stack_auth": "basic", "groups": groups}
    # A server without services beside it has users for those of its client hosts.
    server = value("{{ __mlflow_stack_login }}", **given, mlflow_stack_services=["mlflow"])
    users = [user["name"] for user in json.loads(server["files"]["server.json"])["users"]]
    assert users == ["admin", *(f"service-{name}" for name in CLIENTS)]
    for name, service in yaml.safe_load(client(**given))["services"].items():
        assert service["labels"]["freegee.mlflow_sftp.login"] == server["digests"][name]


def test_a_client_host_gets_the_login_of_its_own_services_alone() -> None:
    asked = "{{ __mlflow_stack_login_files }}"
    there = {"mlflow_stack_server_url": URL, "mlflow_stack_services": ["train"], "mlflow_stack_auth": "basic"}
    assert value(asked, **there) == ["train"]
    assert "server.json" in value(asked, mlflow_stack_auth="basic")


def test_containers_trust_the_authority_of_the_front_door() -> None:
    first, second = (
        yaml.safe_load(
            client(mlflow_stack_server_authority_file="/ca.crt", __mlflow_stack_server_authority_text=text)
        )["services"]
        for text in ("one", "another")
    )
    for name in CLIENTS:
        path = first[name]["environment"]["MLFLOW_TRACKING_SERVER_CERT_PATH"]
        assert f"./.secrets/server_ca.pem:{path}:ro,z" in first[name]["volumes"]
        labels = [each[name]["labels"]["freegee.mlflow_sftp.server_ca"] for each in (first, second)]
        # A container keeps the file that it was started with.
        assert labels[0] != labels[1]


@pytest.mark.parametrize("on_client", [True, False])
def test_devices_are_passed_to_the_services_that_compute(on_client: bool) -> None:
    devices = [GPU, {"driver": "cdi", "device_ids": ["vendor.com/gpu=$0"], "capabilities": ["gpu"]}]
    text = (client if on_client else written)(mlflow_stack_devices=devices)
    services = yaml.safe_load(text)["services"]
    for name in CLIENTS:
        reserved = services[name]["deploy"]["resources"]["reservations"]["devices"]
        # Compose would take the dollar for a variable.
        assert reserved == [GPU, devices[1] | {"device_ids": ["vendor.com/gpu=$$0"]}]
    assert "deploy" not in services.get("mlflow", {})


def test_names_that_no_dns_knows() -> None:
    found = yaml.safe_load(client(mlflow_stack_extra_hosts={"mlflow.example.org": "10.1.2.3"}))
    for name in CLIENTS:
        assert found["services"][name]["extra_hosts"] == {"mlflow.example.org": "10.1.2.3"}


def test_without_dask_nothing_is_told_of_it() -> None:
    assert "dask" not in written().lower()
    assert "dask" not in client(mlflow_stack_dask=True).lower()


def test_scheduler_and_workers_are_reached_by_the_services_that_begin_jobs_alone() -> None:
    found = yaml.safe_load(
        written(mlflow_stack_dask=True, mlflow_stack_backend_store="postgresql", mlflow_stack_monitor=True)
    )
    assert found["networks"]["dask"]["internal"] is True
    inside = [name for name, each in found["services"].items() if "dask" in each.get("networks", [])]
    assert sorted(inside) == sorted([*CLIENTS, "dask-scheduler", "dask-worker"])
    secrets = [
        name for name, each in found["services"].items() if "/.secrets/dask" in str(each.get("volumes"))
    ]
    assert sorted(secrets) == sorted(inside)
    for name in ("dask-scheduler", "dask-worker"):
        assert "ports" not in found["services"][name]
        assert found["services"][name]["labels"]["freegee.mlflow_sftp.dask"] == "dask digest"
    # No way out, no key and no login: it passes on what it does not look at.
    scheduler = found["services"]["dask-scheduler"]
    assert scheduler["networks"] == ["dask"]
    assert [volume.partition(":")[0] for volume in scheduler["volumes"]] == ["./dask", "./.secrets/dask"]


SHOWN = {
    "mlflow_stack_dask": True,
    "mlflow_stack_dask_dashboard": True,
    "mlflow_gateway_hostname": "mlflow.example.org",
    "mlflow_gateway_https_port": 8443,
}


def test_a_dashboard_that_nobody_asks_for_changes_nothing() -> None:
    given: dict[str, Any] = SHOWN | {"mlflow_stack_dask_dashboard": False}
    for name in ("compose.yml", "dask.yaml"):
        assert "dashboard:" not in written(name, **given)
    assert "https://" not in str(yaml.safe_load(written(**given))["services"]["dask-scheduler"])
    assert "dask_users" not in written(**given)
    # Client hosts of a server that has one.
    assert "dask" not in client(mlflow_stack_dask_dashboard=True).lower()


@pytest.mark.parametrize(("place", "below"), [("/dask", "/dask"), ("dask.example.org", "")])
def test_the_dashboard_is_between_scheduler_and_gateway(place: str, below: str) -> None:
    found = yaml.safe_load(written(**SHOWN, mlflow_gateway_dask=place))
    inside = [name for name, each in found["services"].items() if "dashboard" in each.get("networks", [])]
    assert sorted(inside) == ["dask-scheduler", "gateway"]
    assert found["networks"]["dashboard"]["internal"] is True
    scheduler, gateway = (found["services"][name] for name in ("dask-scheduler", "gateway"))
    assert "ports" not in scheduler
    assert gateway["networks"] == ["default", "dashboard"]
    # What lets its holder run code is not the gateway's.
    assert "/.secrets/dask:" not in str(gateway["volumes"])
    assert gateway["command"][-2:] == ["-f", "/run/secrets/mlflow_gateway/dask_users.cfg"]
    options = [word for word in scheduler["command"] if "prefix" in word]
    assert options == ([f"--dashboard-prefix={below}"] if below else [])
    for name, host, path in (
        ("dask-scheduler", "localhost", "health"),
        ("dask-worker", "dask-scheduler", "info/main/workers.html"),
    ):
        code = found["services"][name]["healthcheck"]["test"][-1]
        assert f"urlopen('https://{host}:8787{below}/{path}', timeout=5, context=" in code
        compile(code, name, "exec")


@pytest.mark.parametrize(
    ("given", "pages"),
    [
        ({}, "mlflow.example.org:8443"),
        ({"mlflow_gateway_https_port": 443}, "mlflow.example.org"),
        ({"mlflow_gateway_dask": "dask.example.org"}, "dask.example.org:8443"),
    ],
)
def test_the_scheduler_shows_what_changes_nothing_to_pages_of_the_gateway(
    given: dict[str, Any], pages: str
) -> None:
    found = yaml.safe_load(written("dask.yaml", **{**SHOWN, **given}))["distributed"]
    assert found["scheduler"]["http"]["routes"] == [
        f"distributed.http.{name}" for name in ("scheduler.info", "health", "statics")
    ]
    shown = found["scheduler"]["dashboard"]
    assert shown["bokeh-application"] == {"allow_websocket_origin": [pages]}
    assert set(shown["tls"]) == {"cert", "key"}
    assert shown["tls"]["cert"] == found["comm"]["tls"]["scheduler"]["cert"]


@pytest.mark.parametrize("count", [1, 64])
def test_as_many_workers_as_are_asked_for(count: int) -> None:
    found = yaml.safe_load(
        written(mlflow_stack_dask=True, mlflow_stack_dask_workers=count, mlflow_stack_devices=[GPU])
    )
    worker = found["services"]["dask-worker"]
    assert worker["scale"] == count
    assert worker["deploy"]["resources"]["reservations"]["devices"] == [GPU]
    assert "dask-scheduler" in worker["environment"]["NO_PROXY"].split(",")
    # By itself dask divides what the container may take by the host's processors.
    assert "--memory-limit=1" in worker["command"]


@pytest.mark.parametrize(("access", "holds_key"), [("direct", True), ("proxied", False)])
@pytest.mark.parametrize("login", ["none", "basic"])
def test_a_worker_holds_what_a_training_job_holds(access: str, holds_key: bool, login: str) -> None:
    services = yaml.safe_load(
        written(mlflow_stack_dask=True, mlflow_stack_access=access, mlflow_stack_auth=login)
    )["services"]
    worker, train = services["dask-worker"], services["train"]
    assert worker["volumes"] == train["volumes"]
    assert worker.get("entrypoint") == train.get("entrypoint")
    assert ("./.secrets/mlflow_sftp_key" in str(worker["volumes"])) is holds_key
    assert worker["labels"].items() >= train["labels"].items()


def test_a_swarm_is_not_told_the_password_of_the_database() -> None:
    uri = "postgresql+psycopg://mlflow@db.example.org/mlflow?passfile=/run/secrets/pgpass"
    assert on_swarm("swarm_environment")["MLFLOW_BACKEND_STORE_URI"] == uri
    assert on_swarm("swarm_database")["passfile"] == "*:*:*:*:secret\n"
    text = written(name="env", **SWARM)
    assert f"MLFLOW_BACKEND_STORE_URI='{uri}'\n" in text
    assert "secret@" not in text
    # Everything that a service's environment holds has to be text.
    assert all(isinstance(each, str) for each in on_swarm("swarm_environment").values())


@pytest.mark.parametrize(
    ("store", "networks", "services"),
    [
        ("postgresql", ["mlflow_swarm", "mlflow_swarm_database"], ["mlflow", "gateway", "postgres"]),
        ("postgresql://u:p@h/d", ["mlflow_swarm"], ["mlflow", "gateway"]),
    ],
)
def test_the_database_of_a_swarm_has_a_network_where_it_is_a_service(
    store: str, networks: list[str], services: list[str]
) -> None:
    assert [each["name"] for each in on_swarm("swarm_networks", mlflow_stack_backend_store=store)] == networks
    assert [
        each["aliases"] for each in on_swarm("swarm_server_networks", mlflow_stack_backend_store=store)
    ] == [["mlflow"] for _ in networks]
    assert on_swarm("swarm_services", mlflow_stack_backend_store=store) == services


def test_a_swarm_has_the_image_of_clients_where_jobs_run() -> None:
    for dask in (False, True):
        given = {"mlflow_stack_dask": dask, "mlflow_stack_dir": "/opt/mlflow-stack"}
        names = on_swarm("swarm_image_names", **given)
        targets = {each["target"] for each in on_swarm("swarm_targets", **given)}
        assert ("client" in names) is ("client" in targets) is dask
        assert ("dask-worker" in on_swarm("swarm_services", **given)) is dask


@pytest.mark.parametrize(
    ("port", "published"), [(80, [(443, 8443), (80, 8080)]), (0, [(443, 8443)])], ids=["both", "https"]
)
def test_a_swarm_publishes_the_gateway_on_the_nodes_themselves(
    port: int, published: list[tuple[int, int]]
) -> None:
    ports = on_swarm("swarm_ports", mlflow_gateway_http_port=port)
    assert [(each["published_port"], each["target_port"]) for each in ports] == published
    assert {each["mode"] for each in ports} == {"host"}
    # A node's port is the swarm's to take.
    assert on_swarm("ports") == {}
    assert on_swarm("further_ports") == {}


def test_networks_of_a_swarm_take_what_every_node_takes() -> None:
    nodes = {name: {"__docker_swarm_host": {"mtu": mtu}} for name, mtu in (("one", 1500), ("two", 1400))}
    groups = {"docker_hosts": ["one"], "swarm_managers": ["one"], "swarm_workers": ["two", "three"]}
    assert on_swarm("swarm_mtu", groups=groups, hostvars={**nodes, "three": {}}) == "1400"


@pytest.mark.parametrize(
    ("given", "predictable"),
    [
        ({"ansible_check_mode": False}, True),
        ({}, False),
        ({"__docker_swarm_host": {"engine": "answers", "swarm": {"cluster": ""}}}, False),
        ({"__docker_swarm_host": {"engine": "answers", "swarm": {"cluster": "c"}}}, False),
        (
            {
                "__docker_swarm_host": {"engine": "answers", "swarm": {"cluster": "c"}, "nodes": []},
                "__mlflow_stack_swarm_objects": [{"service": "mlflow"}, {"service": "gateway"}],
            },
            True,
        ),
    ],
)
def test_check_mode_asks_a_swarm_only_where_all_is_there(given: dict[str, Any], predictable: bool) -> None:
    assert on_swarm("swarm_predictable", **{"ansible_check_mode": True, **given}) is predictable
