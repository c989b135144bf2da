"""report.html from real checks, rendered by Ansible and read by a real browser."""

import json
import threading
from collections.abc import Callable
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis import history
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.report import build_report
from PIL import Image

from tests.integration.plugins.conftest import account
from tests.support.ansible import REPOSITORY, run_module, run_playbook
from tests.support.browser import browse, needs_browser
from tests.support.server import keygen
from tests.support.sshd import SshServer

pytestmark = needs_browser
_ROUND_TRIP = {"times": {"log": 0.3, "download": 0.1}, "files": [{}] * 5, "read_back": True}
_HOSTILE = "<script>document.title='owned'</script>"

_PLAY = f"""
- hosts: localhost
  gather_facts: false
  vars:
    verify_report: >-
      {{{{ results | freegee.mlflow_sftp.verify_report
         | combine({{'location': 'sftp://freegee@tajo.host.ch:2121/agent.freegee.ch/artifacts',
                     'time': '2026-11-24 10:00 UTC'}}) }}}}
    verify_history: "{{{{ verify_report | freegee.mlflow_sftp.verify_history(history, verify_report.time) }}}}"
    verify_hosts: "{{{{ ['docker-host'] | freegee.mlflow_sftp.verify_hosts({{'docker-host': host}}) }}}}"
  tasks:
    - ansible.builtin.template:
        src: {REPOSITORY}/playbooks/templates/report.html.j2
        dest: "{{{{ directory }}}}/report.html"
        mode: "0644"
    - ansible.builtin.template:
        src: {REPOSITORY}/playbooks/templates/report.txt.j2
        dest: "{{{{ directory }}}}/report.txt"
        mode: "0644"
"""

Render = Callable[..., Path]


@pytest.fixture
def render(tmp_path: Path) -> Render:
    """Write report.html and report.txt of results, and return the directory."""

    def run(results: list[dict[str, Any]], history: str = "", host: dict[str, Any] | None = None) -> Path:
        (tmp_path / "play.yml").write_text(_PLAY)
        given = {"results": results, "directory": str(tmp_path), "history": history, "host": host or {}}
        (tmp_path / "vars.json").write_text(json.dumps(given))
        outcome = run_playbook(tmp_path / "play.yml", "-e", f"@{tmp_path / 'vars.json'}")
        assert not outcome.failed, outcome.output
        return tmp_path

    return run


def healthy(sshd: SshServer) -> list[dict[str, Any]]:
    """What healthy vantage points return."""
    check = run_module("sftp_check", {**account(sshd), "path": str(sshd.root)}).result
    services = ["mlflow", "notebook", "experiment-service", "train"]
    points = [{"vantage": vantage, "result": check} for vantage in ["controller", "Docker host", *services]]
    return points + [{"vantage": vantage, "result": _ROUND_TRIP} for vantage in services]


def with_faults(sshd: SshServer, directory: Path) -> list[dict[str, Any]]:
    """The same with three faults, one of them a server that tries to write into the report."""
    results = healthy(sshd)
    stranger = keygen(directory / "stranger", "ed25519")
    refused = {**account(sshd), "private_key_file": str(stranger), "fail_on_error": False}
    results[1]["result"] = run_module("sftp_check", refused).result
    missing = {**account(sshd), "path": f"{sshd.root}/artefacts", "fail_on_error": False}
    for position in (2, 3):
        results[position]["result"] = run_module("sftp_check", missing).result
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        port = {**account(sshd), "port": other.server_address[1], "fail_on_error": False}
        results[5]["result"] = run_module("sftp_check", port).result
        other.shutdown()
    stage = next(stage for stage in results[5]["result"]["stages"] if stage["cause"])
    stage["detail"] = f"the greeting is '{_HOSTILE}'"
    return results


class Page(HTMLParser):
    """What a person sees of a report: title, cells by class, causes, remedies."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: dict[str, int] = {}
        self.bars: dict[str, int] = {}
        self.causes: list[str] = []
        self.external: list[str] = []
        self.title = ""
        self._in_title = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "rect":
            self.bars[values["class"]] = self.bars.get(values["class"], 0) + 1
        if tag == "td" and values["class"] != "strip":
            self.cells[values["class"]] = self.cells.get(values["class"], 0) + 1
        if tag == "section":
            self.causes.append(values["data-cause"])
        if tag in ("script", "link", "img", "iframe") or values.get("src"):
            self.external.append(tag)
        self._in_title = tag == "title"

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
            self._in_title = False


def earlier(results: list[dict[str, Any]], bad: list[dict[str, Any]]) -> str:
    """Forty verifications of before, every seventh with faults, two of them cut short."""
    reports = [build_report(bad if number % 7 == 0 else results) for number in range(40)]
    lines = [
        json.dumps(history.line_of(report, f"2026-11-{number // 24 + 1:02} {number % 24:02}:00 UTC"))
        for number, report in enumerate(reports)
    ]
    return "\n".join(["{", *lines, lines[0][:50]])


# As mlflow_capacity_info tells, with what is none of ours.
_HOST = {
    "__mlflow_stack_capacity": {
        "lines": ["the volume artifacts: 10.0 GiB of 20.0 GiB free"],
        "versions": {"MLflow": _HOSTILE, "Docker engine": "26.1.5", "images": "freegee/mlflow-server:1"},
    },
}


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_history_capacity_and_versions(
    width: int, dark: bool, sshd: SshServer, tmp_path: Path, render: Render
) -> None:
    good, bad = healthy(sshd), with_faults(sshd, tmp_path)
    directory = render(good, earlier(good, bad), _HOST)
    options = [f"--window-size={width},1400", f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    dom = browse(directory / "report.html", *options, "--dump-dom")
    page = Page(dom)
    assert page.external == []
    assert "The last 30 verifications" in dom
    # Of 29 of before, 4 had faults; each stage of each place has a bar for each that came to it.
    assert page.bars["failed"] == 4 * len([row for row in bad if _has_failed(row["result"])])
    assert page.bars["ok"] > 29 * 70
    for text in ("10.0 GiB of 20.0 GiB free", "26.1.5", "freegee/mlflow-server:1<"):
        assert text in dom
    assert "&lt;script&gt;" in dom
    browse(directory / "report.html", *options, f"--screenshot={directory}/report.png")
    with Image.open(directory / "report.png") as picture:
        assert picture.width == width
        assert (picture.convert("L").getpixel((3, 3)) < 80) is dark


def _has_failed(result: dict[str, Any]) -> bool:
    return any(stage["status"] == "failed" for stage in result.get("stages", ()))


def test_healthy_report(sshd: SshServer, render: Render) -> None:
    directory = render(healthy(sshd))
    page = Page(browse(directory / "report.html", "--dump-dom"))
    assert page.title == "Artifact storage works"
    # Nobody but the Docker host is asked for space; controller and Docker host make no round trip.
    assert page.cells == {"ok": 6 * 12 + 4, "skipped": 6 + 2}
    assert page.causes == []
    assert page.external == []


def test_report_of_three_faults(sshd: SshServer, tmp_path: Path, render: Render) -> None:
    directory = render(with_faults(sshd, tmp_path))
    dom = browse(directory / "report.html", "--dump-dom")
    page = Page(dom)
    assert page.title == "Artifact storage has problems"
    assert page.causes == ["auth_refused", "path_missing", "not_ssh"]
    assert page.cells["failed"] == 4
    assert page.external == []
    assert "&lt;script&gt;" in dom
    text = (directory / "report.txt").read_text()
    assert "path_missing (mlflow, notebook): No such path" in text
    assert text.count("FAIL") == 4
    assert "PRIVATE KEY" not in dom + text
