"""Images are built through the proxy of the stack, but for an index that it is not used for. All cases in one run."""

import json
from pathlib import Path

from tests.support.ansible import REPOSITORY, run_playbook

# The index, what the proxy is not used for, whether pip is told of the proxy.
CASES: list[tuple[str, list[str], bool]] = [
    ("", [], True),
    ("https://pypi.example.com/simple", [], True),
    ("https://pypi.example.com/simple", ["other.example.com", ".example.org"], True),
    ("https://pypi.example.com/simple", ["pypi.example.com"], False),
    ("https://pypi.example.com/simple", [".example.com"], False),
    ("https://user:word@pypi.example.com:8443/simple", ["example.com"], False),
    ("https://mypypi.example.com/simple", ["pypi.example.com"], True),
]


def test_the_proxy_of_pip(tmp_path: Path) -> None:
    variables = {"cases": [case[:2] for case in CASES], "answers": str(tmp_path)}
    playbook = REPOSITORY / "tests/playbooks/pip_conf.yml"
    outcome = run_playbook(playbook, "-i", "localhost,", "--extra-vars", json.dumps(variables))
    assert not outcome.failed, outcome.output
    for number, (index, excluded, proxied) in enumerate(CASES):
        text = (tmp_path / str(number)).read_text()
        assert ("proxy = http://proxy.example:3128" in text) == proxied, (index, excluded, text)
