"""What the images are built with, as the inventory and the collection have it."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from packaging.requirements import Requirement

from tests.support.templates import variables_of

ROLE = Path(__file__).parents[3] / "roles/mlflow_stack"
WHEEL = "mlflow_sftp-1.2.0-py3-none-any.whl"


def steps(kind: str = "sources", package: str = "", **given: Any) -> list[str]:
    """Return the instructions of the Dockerfile, each as one line, for where the package comes from."""
    variables = variables_of(ROLE) | {
        "ansible_managed": "Ansible managed",
        "base_image_name": "freegee/base:tag",
        "__mlflow_stack_image_sources": {"kind": kind, "package": package},
        **given,
    }
    template = (ROLE / "templates/Dockerfile.j2").read_text()
    text = Templar(loader=DataLoader(), variables=variables).template(trust_as_template(template))
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return [" ".join(step.split()) for step in "\n".join(lines).replace("\\\n", " ").splitlines()]


def installed(found: list[str]) -> list[str]:
    return [
        step.partition("pip install ")[2].partition(" && python")[0]
        for step in found
        if "pip install" in step
    ]


def test_every_stage_is_there() -> None:
    names = [step.rpartition(" AS ")[2] for step in steps() if step.startswith("FROM")]

    assert names == ["python", "server-packages", "client-packages", "server", "client"]


def test_what_is_downloaded_has_its_hashes() -> None:
    assert installed(steps())[:2] == [
        "--no-cache-dir --require-hashes --requirement /opt/requirements/server.txt",
        "--no-cache-dir --require-hashes --requirement /opt/requirements/client.txt",
    ]


def test_an_index_of_packages_that_were_built_anew() -> None:
    found = steps(mlflow_stack_pip_require_hashes=False)

    assert installed(found)[:2] == ["--no-cache-dir --requirement /dev/stdin"] * 2
    assert not any("--require-hashes" in step for step in found)


def test_clients_have_what_shows_a_dashboard_where_one_is_asked_for() -> None:
    found = installed(steps(mlflow_stack_dask=True, mlflow_stack_dask_dashboard=True))
    assert [step.rpartition("/")[2] for step in found[:3]] == ["server.txt", "client.txt", "dashboard.txt"]
    assert not any("dashboard" in step for step in steps(mlflow_stack_dask=True))


@pytest.mark.parametrize("lock", ["server.txt", "client.txt"])
def test_the_pins_are_left_where_the_hashes_are_taken_away(lock: str) -> None:
    (step,) = (
        step for step in steps(mlflow_stack_pip_require_hashes=False) if f"/{lock} | pip install" in step
    )
    taking = step[step.index("sed ") : step.index(" | pip")].replace("/opt/", f"{ROLE.parents[1]}/")
    left = subprocess.run(taking, shell=True, check=True, capture_output=True, text=True).stdout

    pins = [line for line in left.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert len(pins) > 30
    assert all("==" in str(Requirement(pin.partition(" #")[0]).specifier) for pin in pins)


def test_what_a_site_adds_comes_after_the_pins() -> None:
    found = installed(steps(mlflow_stack_packages=["torch==2.*", "a b"]))

    assert (
        found[2]
        == "--no-cache-dir --constraint /tmp/installed.txt 'torch==2.*' 'a b' && rm /tmp/installed.txt"
    )


@pytest.mark.parametrize(
    ("kind", "package", "copied", "called", "asks_an_index"),
    [
        (
            "sources",
            "",
            [
                "pyproject.toml /opt/mlflow_sftp/",
                "LICENSES /opt/mlflow_sftp/LICENSES",
                "src /opt/mlflow_sftp/src",
            ],
            "--no-cache-dir --no-index --no-deps --no-build-isolation /opt/mlflow_sftp",
            False,
        ),
        (
            "wheel",
            WHEEL,
            [f"{WHEEL} /opt/mlflow_sftp/"],
            f"--no-cache-dir --no-index --no-deps /opt/mlflow_sftp/{WHEEL}",
            False,
        ),
        ("index", "mlflow-sftp==1.2.0", [], "--no-cache-dir --no-deps mlflow-sftp==1.2.0", True),
    ],
)
def test_where_the_package_comes_from(
    kind: str, package: str, copied: list[str], called: str, asks_an_index: bool
) -> None:
    found = steps(kind, package)

    assert [step for step in found if "mlflow_sftp" in step and step.startswith("COPY")] == [
        f"COPY {each}" for each in copied * 2
    ]
    own = [step for step in found if "pip install" in step][-2:]
    assert installed(own) == [called, called]
    assert all(("pip_conf" in step) == asks_an_index for step in own)
