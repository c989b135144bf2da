"""The collection's tarball: what is in it, and that it works where nothing else of the project is."""

import json
import re
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.packaging.conftest import ROOT, run_in_site
from tests.support.sshd import SshServer

PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))
# What galaxy.yml leaves out on purpose, and what the wheel stands for.
DEVELOPMENT = (
    "bin/",
    "execution-environment/",
    "experiments/",
    "molecule/",
    "pyproject.toml",
    "requirements/",
    "src/",
    "tests/",
)
# What the images are built from.
IMAGE = "roles/mlflow_stack/files/image"
# What of a collection Ansible itself reads.
READ_BY_ANSIBLE = {"meta", "playbooks", "plugins", "roles"}
SECRET_NAME = re.compile(
    r"(^|/)(\.env|\.secrets|\.lab.*|id_(rsa|ecdsa|ed25519)|.*vault.*|.*\.(pem|key))(/|$)"
)
SECRET_TEXT = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/=]{32}|^\$ANSIBLE_VAULT;", re.MULTILINE
)


@pytest.fixture(scope="module")
def names(tarball: Path) -> list[str]:
    """Files in the tarball."""
    with tarfile.open(tarball) as archive:
        return [member.name for member in archive if not member.isdir()]


@pytest.fixture(scope="module")
def site(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty directory with the collection installed below it."""
    directory = tmp_path_factory.mktemp("site")
    run_in_site(
        directory, "ansible-galaxy", "collection", "install", "--no-deps", "-p", "collections", str(tarball)
    )
    return directory


def test_holds_what_a_site_needs(names: list[str]) -> None:
    needed = {
        "README.md",
        "LICENSE",
        "LICENSES/Apache-2.0.txt",
        "LICENSES/GPL-3.0-or-later.txt",
        "REUSE.toml",
        "CHANGELOG.md",
        "MANIFEST.json",
        "meta/runtime.yml",
        "meta/execution-environment.yml",
        f"{IMAGE}/requirements/client.txt",
        f"{IMAGE}/requirements/dashboard.txt",
        f"{IMAGE}/requirements/server.txt",
        f"{IMAGE}/experiments/image_scoring/entrypoint.py",
        *(f"playbooks/{name}.yml" for name in PLAYBOOKS),
    }

    assert needed <= set(names)


def test_holds_nothing_for_development(names: list[str]) -> None:
    assert [name for name in names if name.startswith((".", *DEVELOPMENT))] == []


def test_working_tree_adds_nothing(source_files: list[str], tmp_path: Path) -> None:
    """Virtual environments, caches, the lab's keys and test results lie in the tree, not in the tarball."""
    run_in_site(ROOT, "ansible-galaxy", "collection", "build", "--output-path", str(tmp_path))
    (tarball,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(tarball) as archive:
        files = {member.name for member in archive if not member.isdir()}

    assert files - set(source_files) == {"MANIFEST.json", "FILES.json"}


def test_images_are_built_from_the_wheel_that_is_published(
    tarball: Path, wheel: Path, names: list[str]
) -> None:
    assert [name for name in names if name.endswith(".whl")] == [f"{IMAGE}/{wheel.name}"]
    with tarfile.open(tarball) as archive:
        held = archive.extractfile(f"{IMAGE}/{wheel.name}")
        assert held is not None
        assert held.read() == wheel.read_bytes()


def test_wheel_has_the_version_of_the_collection(tarball: Path, wheel: Path) -> None:
    with tarfile.open(tarball) as archive:
        manifest = archive.extractfile("MANIFEST.json")
        assert manifest is not None
        version = json.load(manifest)["collection_info"]["version"]
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        said = archive.read(metadata).decode()

    assert tarball.name == f"freegee-mlflow_sftp-{version}.tar.gz"
    assert f"\nVersion: {version}\n" in said


def test_holds_no_secret(tarball: Path, names: list[str], tmp_path: Path) -> None:
    with tarfile.open(tarball) as archive:
        archive.extractall(tmp_path, filter="data")

    assert [name for name in names if SECRET_NAME.search(name)] == []
    assert [name for name in names if SECRET_TEXT.search((tmp_path / name).read_bytes())] == []


def test_installed_files_are_whole(site: Path) -> None:
    run_in_site(
        site,
        "ansible-galaxy",
        "collection",
        "verify",
        "--offline",
        "-p",
        "collections",
        "freegee.mlflow_sftp",
    )


def test_playbooks_by_name(site: Path) -> None:
    inventory = site / "collections/ansible_collections/freegee/mlflow_sftp/inventories/lab"
    playbooks = [f"freegee.mlflow_sftp.{name}" for name in PLAYBOOKS]

    run_in_site(site, "ansible-playbook", "-i", str(inventory), "--syntax-check", *playbooks)


def test_works_with_nothing_but_what_ansible_reads(site: Path, tmp_path: Path) -> None:
    """A packager may leave out all else: the playbooks are read, and the role finds what it builds images from."""
    place = Path("collections/ansible_collections/freegee/mlflow_sftp")
    for name in READ_BY_ANSIBLE:
        shutil.copytree(site / place / name, tmp_path / place / name)
    role = tmp_path / place / "roles/mlflow_stack"
    shown = f"{{{{ '{role}' | freegee.mlflow_sftp.image_sources | to_json }}}}"
    play = {
        "name": "Look for the sources of the images",
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [
            {"name": "Look", "ansible.builtin.copy": {"content": shown, "dest": str(tmp_path / "found")}}
        ],
    }
    (tmp_path / "look.yml").write_text(json.dumps([play]))
    playbooks = [f"freegee.mlflow_sftp.{name}" for name in PLAYBOOKS]

    run_in_site(tmp_path, "ansible-playbook", "-i", "localhost,", "--syntax-check", *playbooks)
    run_in_site(tmp_path, "ansible-playbook", "look.yml")

    found = json.loads((tmp_path / "found").read_text())
    assert (found["kind"], found["root"], found["findings"]) == ("wheel", str(role / "files/image"), [])
    assert {"requirements/client.txt", found["package"]} < found["files"].keys()


@pytest.mark.sshd
def test_plugins_by_name(site: Path, sshd: SshServer) -> None:
    playbook: list[dict[str, Any]] = [
        {
            "name": "Use the collection",
            "hosts": "localhost",
            "gather_facts": False,
            "tasks": [
                {
                    "name": "A filter",
                    "ansible.builtin.assert": {
                        "that": "'h' | freegee.mlflow_sftp.sftp_uri(path='/a b', user='u', port=2121)"
                        " == 'sftp://u@h:2121/a%20b'"
                    },
                },
                {
                    "name": "A module",
                    "freegee.mlflow_sftp.sftp_host_key_info": {
                        "host": sshd.host,
                        "port": sshd.port,
                        "fingerprints": [sshd.host_key_fingerprint],
                    },
                    "register": "found",
                },
                {"name": "Its answer", "ansible.builtin.assert": {"that": "found.trusted"}},
            ],
        }
    ]
    (site / "use.yml").write_text(json.dumps(playbook))

    assert "failed=0" in run_in_site(site, "ansible-playbook", "use.yml")
