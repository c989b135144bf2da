"""Where the images' mlflow-sftp comes from: a clone's sources, the wheel of the tarball, an index, or nowhere."""

from pathlib import Path

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.filter.image_sources import image_sources as from_disk
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._stack.image_sources import (
    DASHBOARD_PINS,
    PINS,
    ImageSources,
    image_sources,
    version_problem,
)

ROOT = Path(__file__).parents[4]
EXPERIMENT = "experiments/a/entrypoint.py"
PACKAGE = {
    "LICENSES/Apache-2.0.txt",
    "pyproject.toml",
    "src/mlflow_sftp/py.typed",
    "src/mlflow_sftp/cli/main.py",
}
STRAY = {"LICENSES/GPL-3.0-or-later.txt", "experiments/a/data.csv", "requirements/lock", "src/README.md"}
STRAY |= {"src/mlflow_sftp/cli/__pycache__/main.cpython-313.pyc", "roles/mlflow_stack/tasks/main.yml"}
CLONE = {*PINS, EXPERIMENT, *PACKAGE, *STRAY}
WHEEL = "mlflow_sftp-1.2.0-py3-none-any.whl"
BUILT = {*PINS, EXPERIMENT, WHEEL}
ALWAYS = tuple(sorted({*PINS, EXPERIMENT}))
LACKING = "lacks requirements/client.txt and requirements/server.txt"


@pytest.mark.parametrize(
    ("clone", "built", "version", "expected"),
    [
        pytest.param(
            CLONE,
            set(),
            "",
            ImageSources("checkout", tuple(sorted({*PINS, EXPERIMENT, *PACKAGE})), "sources"),
            id="a clone",
        ),
        pytest.param(
            CLONE,
            BUILT,
            "",
            ImageSources("checkout", tuple(sorted({*PINS, EXPERIMENT, *PACKAGE})), "sources"),
            id="a clone in which a build left a wheel",
        ),
        pytest.param(
            set(), BUILT, "", ImageSources("role", tuple(sorted(BUILT)), "wheel", WHEEL), id="the tarball"
        ),
        pytest.param(
            STRAY,
            BUILT,
            "",
            ImageSources("role", tuple(sorted(BUILT)), "wheel", WHEEL),
            id="documents beside it",
        ),
        pytest.param(
            CLONE,
            set(),
            "1.3.0",
            ImageSources("checkout", ALWAYS, "index", "mlflow-sftp==1.3.0"),
            id="a clone and the index",
        ),
        pytest.param(
            set(),
            BUILT,
            "1.3.0",
            ImageSources("role", ALWAYS, "index", "mlflow-sftp==1.3.0"),
            id="the tarball and the index",
        ),
        pytest.param(
            set(),
            {*PINS, EXPERIMENT},
            "1.3.0",
            ImageSources("role", ALWAYS, "index", "mlflow-sftp==1.3.0"),
            id="no wheel, the index",
        ),
    ],
)
def test_choice(clone: set[str], built: set[str], version: str, expected: ImageSources) -> None:
    assert image_sources(clone, built, version) == expected


@pytest.mark.parametrize(
    ("clone", "built", "version", "said"),
    [
        pytest.param(set(), set(), "", LACKING, id="nothing"),
        pytest.param(set(), {WHEEL}, "", LACKING, id="no pins"),
        pytest.param(set(), BUILT - {PINS[1]}, "", LACKING, id="pins of one image"),
        pytest.param(set(), set(), "1.3.0", LACKING, id="no pins, the index"),
        pytest.param(set(), set(PINS), "", "neither sources nor wheel", id="no wheel"),
        pytest.param(
            {*PINS, *STRAY}, BUILT, "", "neither sources nor wheel", id="a clone without the package"
        ),
        pytest.param(
            set(),
            BUILT | {"mlflow_sftp-1.1.0-py3-none-any.whl"},
            "",
            "several wheels",
            id="an older wheel, too",
        ),
    ],
)
def test_refusal(clone: set[str], built: set[str], version: str, said: str) -> None:
    found = image_sources(clone, built, version)

    assert (found.place, found.files, found.kind, found.package) == ("", (), "", "")
    (finding,) = found.findings
    assert said in finding
    assert "Install the tarball that bin/build makes" in finding


@pytest.mark.parametrize(
    ("package", "collection"),
    [
        pytest.param("1.2.0", "1.2.0", id="the same"),
        pytest.param("1.2", "1.2.0", id="written shorter"),
        pytest.param("1.2.0rc1", "1.2.0rc1", id="the same candidate"),
        pytest.param("1.2.0+site.1", "1.2.0", id="built by the site"),
        pytest.param("1.2.0.post1", "1.2.0", id="packaged again"),
        pytest.param("1.2.0", "", id="nobody knows the collection's"),
        pytest.param("1.0 --index-url=x", "1.2.0", id="no version at all, of which another finding tells"),
    ],
)
def test_package_that_serves_the_collection(package: str, collection: str) -> None:
    assert version_problem(package, collection) == ""


@pytest.mark.parametrize(
    ("package", "collection"),
    [
        pytest.param("1.2.1", "1.2.0", id="newer"),
        pytest.param("1.1.9", "1.2.0", id="older"),
        pytest.param("1.20", "1.2.0", id="a digit more"),
        pytest.param("1.2.0rc1", "1.2.0", id="a candidate"),
        pytest.param("1.2.0.dev3", "1.2.0", id="in the making"),
        pytest.param("1.3.0+site.1", "1.2.0", id="another one, built by the site"),
    ],
)
def test_package_of_another_release(package: str, collection: str) -> None:
    found = image_sources(CLONE, set(), package, collection)

    assert (found.kind, found.package) == ("index", f"mlflow-sftp=={package}")
    (finding,) = found.findings
    assert finding.startswith(f"mlflow_stack_package_version is {package}, ")
    assert f"Set mlflow_stack_package_version to {collection}" in finding


def test_this_clone() -> None:
    found = from_disk(str(ROOT / "roles/mlflow_stack"))

    assert (found["kind"], found["root"], found["findings"]) == ("sources", str(ROOT), [])
    assert {*PINS, "pyproject.toml", "src/mlflow_sftp/py.typed"} < found["files"].keys()
    assert not any("__pycache__" in name for name in found["files"])


def test_checksums_are_of_bytes(tmp_path: Path) -> None:
    """A wheel is no text."""
    files = tmp_path / "roles/mlflow_stack/files/image"
    (files / "requirements").mkdir(parents=True)
    for name in PINS:
        (files / name).write_text("")
    (files / WHEEL).write_bytes(b"PK\xff\x00")

    found = from_disk(str(tmp_path / "roles/mlflow_stack"))

    assert found["root"] == str(files)
    assert found["files"] == {
        **dict.fromkeys(PINS, "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        WHEEL: "e63a7ae7f00e063844b739931d49d319d9e24821",
    }


def test_what_shows_a_dashboard_is_taken_where_one_is_asked_for() -> None:
    found = image_sources({*CLONE, DASHBOARD_PINS}, set(), dashboard=True)
    assert set(found.files) == {*PINS, DASHBOARD_PINS, EXPERIMENT, *PACKAGE}
    assert DASHBOARD_PINS not in image_sources({*CLONE, DASHBOARD_PINS}, set()).files
    (said,) = image_sources(CLONE, set(), dashboard=True).findings
    assert "and requirements/dashboard.txt" in said
    assert DASHBOARD_PINS in from_disk(str(ROOT / "roles/mlflow_stack"), dashboard=True)["files"]
