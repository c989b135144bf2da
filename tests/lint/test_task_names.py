"""Names of plays and tasks: each says what is done to what, so that a line of a log can be read alone."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
# What a run of a playbook can load.
SHIPPED = ["site.yml", "playbooks", "roles/*/tasks", "roles/*/handlers"]
# What else is loaded beside, each in a run of its own.
BESIDE = {
    "tests": ["tests/prepare.yml", "tests/playbooks"],
    **{
        path.parent.name: [f"molecule/{path.parent.name}", "molecule/shared"]
        for path in ROOT.glob("molecule/*/molecule.yml")
    },
}
# Playbooks and lists of tasks begin with a list; variables and inventories do not.
LISTS = ("tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always")
PRONOUNS = (
    "it its itself he him his she her they them their theirs themselves this these those here there one ones"
)
# They hide what is done: create or provide, check or read, show or set, record, check or read, set or show.
VAGUE = "Have Look Tell Note Ask Learn Say"


def names(places: list[str]) -> Iterator[tuple[str, Any]]:
    """Each play and task of these files and directories: where it is, and its name."""
    for pattern in places:
        for place in sorted(ROOT.glob(pattern)):
            for path in sorted(place.rglob("*.yml")) if place.is_dir() else [place]:
                entries = yaml.safe_load(path.read_text(encoding="utf-8"))
                if isinstance(entries, list):
                    for name in names_in(entries):
                        yield str(path.relative_to(ROOT)), name


def names_in(entries: list[dict[str, Any]]) -> Iterator[Any]:
    for entry in entries:
        yield entry.get("name")
        for key in LISTS:
            yield from names_in(entry.get(key) or [])


def complaint(name: Any) -> str:
    """What is wrong with a name; empty where nothing is."""
    if not isinstance(name, str) or not name:
        return "no name"
    words = re.findall(r"[\w']+", name)
    if found := [word for word in words if word.lower() in PRONOUNS.split()]:
        return f"'{found[0]}' says nothing without what stands before"
    if words[-1].lower() == "that":
        return "'that' says nothing without what stands before"
    return f"'{words[0]}' does not say what is done" if words[0] in VAGUE.split() else ""


@pytest.mark.parametrize("run", ["shipped", *BESIDE])
def test_names_say_what_is_done(run: str) -> None:
    places = BESIDE.get(run, SHIPPED)
    wrong = [f"{path}: {name}: {said}" for path, name in names(places) if (said := complaint(name))]
    assert wrong == []


@pytest.mark.parametrize("run", ["shipped", *BESIDE])
def test_names_are_used_once(run: str) -> None:
    found = list(names(SHIPPED + BESIDE.get(run, [])))
    assert len(found) > 200, "the files have moved"
    count = Counter(name for _, name in found)
    assert sorted(f"{name}: {path}" for path, name in found if count[name] > 1) == []


@pytest.mark.parametrize(
    "name",
    [None, "", "Remove them", "Look for the key", "Open it, and go on", "Prove that", "Is its name known"],
)
def test_bad_names_are_seen(name: Any) -> None:
    assert complaint(name)


@pytest.mark.parametrize("name", ["Require that the key logs in", "Read the keys that the server offers"])
def test_good_names_pass(name: str) -> None:
    assert complaint(name) == ""
