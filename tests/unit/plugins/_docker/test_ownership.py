"""What is ours on a Docker host and what is not: a table of what people have, and of what earlier releases left."""

from dataclasses import replace

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.ownership import (
    LABEL,
    Lab,
    Stack,
    Thing,
    declared,
    declared_project,
    is_marked,
    judge,
    judge_directory,
    refusal,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._docker.things import thing_of

DIR = "/opt/mlflow-stack"
# As the template of the release before the label wrote it, shortened.
BEFORE = """# Ansible managed
name: mlflow

services:
  mlflow:
    image: freegee/mlflow-server:0123456789abcdef
    labels:
      freegee.mlflow_sftp.client: "0a1b2c3d4e5f6071"
volumes:
  artifacts:
  database:
  notebooks:

networks:
  default:
    name: mlflow
    driver_opts:
      com.docker.network.driver.mtu: "1500"
"""
NOW = f"""# Ansible managed
# Of the collection freegee.mlflow_sftp.
name: mlflow
volumes:
  artifacts: {{labels: {{{LABEL}: "{DIR}"}}}}
  database:
networks:
  default:
    name: mlflow
    labels: {{{LABEL}: "{DIR}"}}
"""
SOMEBODY_S = "name: mlflow\nservices:\n  mlflow:\n    image: ghcr.io/mlflow/mlflow\nvolumes:\n  database:\n"
ENTRIES = [".env", ".secrets", "build", "compose.yml", "mlflow"]
VARIABLES = {"container": "a", "volume": "a", "network": "b", "directory": "c"}


def container(name: str, directory: str = "", *uses: str, project: str = "mlflow", **labels: str) -> Thing:
    """A container, of a Compose project in a directory where one is given."""
    compose = {"project": project, "project.working_dir": directory, "project.config_files": "c.yml"}
    given = {f"com.docker.compose.{key}": text for key, text in compose.items()} if directory else {}
    return Thing("container", name, given | labels, "image", frozenset(uses))


def of_project(kind: str, key: str, project: str = "mlflow") -> Thing:
    """A volume or network that Compose made."""
    labels = {"com.docker.compose.project": project, f"com.docker.compose.{kind}": key}
    return Thing(kind, f"{project}_{key}", labels)


def labelled(thing: Thing, directory: str = DIR) -> Thing:
    return replace(thing, labels={**thing.labels, LABEL: directory})


FOREIGN = container("mlflow-db-1", "/home/alice", "mlflow_database")
OURS = container("mlflow-mlflow-1", DIR, "mlflow_database")
MAINTENANCE = replace(container("mlflow-maintenance"), labels={"freegee.mlflow_sftp.project": "mlflow"})
TOOL = replace(container("mlflow-storage"), image="freegee/mlflow-server:0123456789abcdef")
DATABASE = of_project("volume", "database")
NETWORK = of_project("network", "default")


@pytest.mark.parametrize(
    ("thing", "compose", "containers", "ours", "adopted"),
    [
        # What bears the label, whatever else there is
        (labelled(OURS), "", [], True, False),
        (labelled(DATABASE), "", [], True, False),
        (labelled(Thing("volume", "mlflow_database")), NOW, [FOREIGN], True, False),
        (labelled(DATABASE, "/opt/other"), NOW, [], False, False),
        (labelled(OURS, "/opt/other"), BEFORE, [], False, False),
        # What the release before the label made
        (OURS, BEFORE, [], True, True),
        (MAINTENANCE, BEFORE, [], True, True),
        (TOOL, BEFORE, [], True, True),
        (DATABASE, BEFORE, [], True, True),
        (DATABASE, BEFORE, [OURS], True, True),
        (
            DATABASE,
            BEFORE,
            [OURS, container("backup", "/srv/backup", "mlflow_database", project="b")],
            True,
            True,
        ),
        (NETWORK, BEFORE, [], True, True),
        # ... and what is declared as taken over since then
        (DATABASE, NOW, [labelled(OURS)], True, True),
        # Somebody's, though the names are ours
        (OURS, "", [], False, False),
        (OURS, SOMEBODY_S, [], False, False),
        (FOREIGN, BEFORE, [], False, False),
        (replace(MAINTENANCE, labels={}), BEFORE, [], False, False),
        (replace(MAINTENANCE, labels={"freegee.mlflow_sftp.project": "other"}), BEFORE, [], False, False),
        (replace(TOOL, image="minio"), BEFORE, [], False, False),
        (TOOL, "", [], False, False),
        (container("mlflow-mlflow-1"), BEFORE, [], False, False),
        (DATABASE, "", [], False, False),
        (DATABASE, SOMEBODY_S, [], False, False),
        (DATABASE, BEFORE, [FOREIGN], False, False),
        (DATABASE, BEFORE.replace("name: mlflow\n\n", "name: other\n\n"), [], False, False),
        (Thing("volume", "mlflow_database"), BEFORE, [], False, False),
        (of_project("volume", "minio"), BEFORE, [], False, False),
        (of_project("volume", "postgres"), BEFORE, [], False, False),
        (of_project("volume", "database", "b"), BEFORE, [], False, False),
        # Declared with the label, so one without it came from elsewhere
        (of_project("volume", "artifacts"), NOW, [], False, False),
        (NETWORK, NOW, [], False, False),
        (Thing("network", "mlflow"), BEFORE, [], False, False),
    ],
)
def test_stack(thing: Thing, compose: str, containers: list[Thing], ours: bool, adopted: bool) -> None:
    (verdict,) = judge([thing], containers, Stack(DIR, "mlflow", compose))
    assert (verdict.ours, verdict.adopted) == (ours, adopted)
    assert bool(verdict.maker) is not ours


LAB_DIR = "/srv/lab"
SERVER = container("sftp", "", f"{LAB_DIR}/ssh_host_ed25519_key", "lab", "lab-sftp")
LAB_NETWORK, LAB_VOLUME = Thing("network", "lab"), Thing("volume", "lab-sftp")


@pytest.mark.parametrize(
    ("thing", "sealed", "containers", "ours"),
    [
        (labelled(LAB_VOLUME, LAB_DIR), False, [], True),
        (labelled(LAB_VOLUME, "/srv/other"), True, [], False),
        # Made before the label
        (SERVER, True, [], True),
        (LAB_VOLUME, True, [], True),
        (LAB_VOLUME, True, [SERVER], True),
        (LAB_NETWORK, True, [SERVER, container("m-mlflow-1", f"{LAB_DIR}/stack", "lab")], True),
        (LAB_NETWORK, True, [SERVER, container("m-mlflow-1", "/opt/stack", "lab")], True),
        # Somebody's
        (SERVER, False, [], False),
        (container("sftp", "/home/alice"), True, [], False),
        (LAB_VOLUME, False, [], False),
        (LAB_NETWORK, True, [SERVER, container("web", "/home/alice", "lab")], False),
        (LAB_NETWORK, True, [container("m-mlflow-1", "/opt/stack-2", "lab")], False),
        (of_project("network", "lab"), True, [], False),
    ],
)
def test_lab(thing: Thing, sealed: bool, containers: list[Thing], ours: bool) -> None:
    (verdict,) = judge([thing], containers, Lab(LAB_DIR, sealed, "/opt/stack"))
    assert verdict.ours is ours


@pytest.mark.parametrize(
    ("entries", "texts", "sealed", "words"),
    [
        ([], {}, False, ""),
        (["lost+found"], {}, False, ""),
        ([".secrets", "compose.yml"], {"compose.yml": BEFORE}, False, ""),
        ([".secrets", "compose.yml"], {"compose.yml": NOW}, True, ""),
        ([".secrets", "mlflow"], {}, True, ""),
        ([".secrets"], {}, False, ""),
        (["compose.yml", "data"], {"compose.yml": SOMEBODY_S}, False, "its compose.yml was not written"),
        ([".secrets", "compose.yml"], {"compose.yml": SOMEBODY_S}, True, "its compose.yml was not written"),
        # Compose would read this one first.
        (["compose.yaml", "compose.yml"], {"compose.yaml": "", "compose.yml": NOW}, True, "its compose.yaml"),
        ([".env", "mlflow"], {}, False, "it holds .env, mlflow, and nothing of this collection"),
        ([".secrets", "photos"], {}, False, "it holds .secrets, photos"),
    ],
)
def test_directory(entries: list[str], texts: dict[str, str], sealed: bool, words: str) -> None:
    directory = judge_directory(entries, ENTRIES, [".secrets"], texts, sealed)
    assert directory.maker.startswith(words)
    assert bool(directory.maker) is bool(words)
    assert set(directory.known + directory.strange) == set(entries) - {"lost+found"}
    assert set(directory.known) <= set(ENTRIES)


def test_compose_files_of_ours_are_read() -> None:
    assert declared(BEFORE, "volumes") == {"artifacts": False, "database": False, "notebooks": False}
    assert declared(NOW, "volumes") == {"artifacts": True, "database": False}
    assert declared(BEFORE, "networks") == {"default": False}
    assert declared(NOW, "networks") == {"default": True}
    assert declared_project(BEFORE) == "mlflow"
    assert is_marked(BEFORE)
    assert is_marked(NOW)
    assert not is_marked(SOMEBODY_S)


def test_refusal_names_what_is_there_who_made_it_and_what_to_change() -> None:
    verdicts = judge([FOREIGN, DATABASE, Thing("network", "mlflow")], [FOREIGN], Stack(DIR, "mlflow"))
    error = refusal(verdicts, judge_directory([], ENTRIES, [], {}, sealed=False), DIR, VARIABLES)
    assert error is not None
    assert error.cause.code == "name_taken"
    assert error.seen == (
        "container mlflow-db-1 (Compose project mlflow in /home/alice by c.yml); "
        "volume mlflow_database (Compose project mlflow in /home/alice by c.yml, used by mlflow-db-1); "
        "network mlflow (not made by Compose)"
    )
    assert "Choose other names with a and b" in error.remedy


def test_refusal_of_a_directory() -> None:
    directory = judge_directory(["compose.yml"], ENTRIES, [], {"compose.yml": SOMEBODY_S}, sealed=False)
    error = refusal([], directory, DIR, VARIABLES)
    assert error is not None
    assert error.cause.code == "directory_taken"
    assert "Set c to" in error.remedy


def test_what_somebody_else_uses_is_ours_but_shared() -> None:
    backup = container("backup", "/srv/backup", "mlflow_database", project="b")
    (verdict,) = judge([labelled(DATABASE)], [labelled(OURS), backup], Stack(DIR, "mlflow"))
    assert (verdict.ours, verdict.sharers) == (True, ("backup",))
    assert str(verdict) == "volume mlflow_database (used by backup)"
    web = container("web", "/home/alice", "lab")
    stack = labelled(container("m-mlflow-1", "/opt/stack", "lab"), "/opt/stack")
    (verdict,) = judge(
        [labelled(LAB_NETWORK, LAB_DIR)], [SERVER, stack, web], Lab(LAB_DIR, True, "/opt/stack")
    )
    assert verdict.sharers == ("web",)


def test_no_refusal_where_all_is_ours() -> None:
    verdicts = judge([labelled(OURS)], [], Stack(DIR, "mlflow"))
    assert refusal(verdicts, judge_directory([], ENTRIES, [], {}, sealed=False), DIR, VARIABLES) is None


def test_the_label_of_a_container_s_image_says_nothing_of_the_container() -> None:
    inherited = replace(OURS, labels={**OURS.labels, LABEL: "base_image"})
    (verdict,) = judge([inherited], [], Stack(DIR, "mlflow", NOW))
    (plain,) = judge([OURS], [], Stack(DIR, "mlflow", NOW))
    assert (verdict.ours, verdict.adopted) == (plain.ours, plain.adopted) == (True, True)


def test_containers_as_docker_shows_them() -> None:
    thing = thing_of(
        "container",
        {
            "Name": "/mlflow-mlflow-1",
            "Config": {"Image": "i", "Labels": {LABEL: "/opt/../opt/x/", "other": "/a/../b"}},
            "Mounts": [{"Type": "volume", "Name": "v"}, {"Type": "bind", "Source": "/a"}],
            "NetworkSettings": {"Networks": {"n": {}}},
            "HostConfig": {
                "PortBindings": {
                    "5000/tcp": [{"HostPort": "5001"}],
                    "1/tcp": None,
                    "2/tcp": [{"HostPort": "0"}],
                }
            },
        },
    )
    assert thing == Thing(
        "container",
        "mlflow-mlflow-1",
        {LABEL: "/opt/x", "other": "/a/../b"},
        "i",
        frozenset({"v", "/a", "n"}),
        frozenset({5001}),
    )


def test_a_volume_without_labels() -> None:
    assert thing_of("volume", {"Name": "v", "Labels": None}) == Thing("volume", "v")
