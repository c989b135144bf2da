"""Why the engine cannot be used or installed is told, also where the role does not know the distribution."""

import json
from pathlib import Path
from typing import Any

from tests.support.ansible import REPOSITORY, run_playbook

_NOTHING: dict[str, Any] = {
    "answers": False,
    "compose": False,
    "buildx": False,
    "python": True,
    "refusal": "",
    "own_files": [],
    "strange_files": [],
    "unknown_users": [],
}
_READY = _NOTHING | {"answers": True, "compose": True, "buildx": True}
# Distribution, what the module tells, the interpreter, and the words of each sentence.
CASES: list[tuple[str, dict[str, Any], str, list[str]]] = [
    ("Fedora", {}, "/usr/bin/python3", ["runs Fedora 41 and has no engine, compose, buildx"]),
    (
        "Fedora",
        {"refusal": "docker is Podman."},
        "/usr/bin/python3",
        ["docker is Podman.", "This role installs them on Debian 12"],
    ),
    ("Fedora", _READY, "/usr/bin/python3", []),
    ("Fedora", _READY | {"python": False}, "/usr/bin/python3", ["has no Python requests and yaml"]),
    ("Fedora", _READY | {"python": False}, "/opt/venv/bin/python", ["/opt/venv/bin/python cannot import"]),
    ("Ubuntu", _READY | {"unknown_users": ["bob"]}, "/usr/bin/python3", ["docker_engine_users names bob"]),
]


def test_reasons_against_the_engine(tmp_path: Path) -> None:
    cases = [
        {"distribution": distribution, "host": _NOTHING | host, "python": python}
        for distribution, host, python, _ in CASES
    ]
    variables = json.dumps({"cases": cases, "answers": str(tmp_path)})
    playbook = REPOSITORY / "tests/playbooks/engine_findings.yml"
    outcome = run_playbook(playbook, "-i", "localhost,", "--extra-vars", variables)
    assert not outcome.failed, outcome.output
    for number, (*_, words) in enumerate(CASES):
        found = json.loads((tmp_path / str(number)).read_text())
        assert len(found) == len(words), (number, found)
        for sentence, word in zip(found, words, strict=True):
            assert word in sentence
