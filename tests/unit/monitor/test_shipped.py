"""What docs/monitoring ships: Prometheus's own tool reads it, and it names only metrics that the monitor shows."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from mlflow_sftp.monitor.metrics import METRICS
from tests.support.ansible import REPOSITORY

DIRECTORY = REPOSITORY / "docs/monitoring"
_NAMES = re.compile(r"\bmlflow_stack_\w+")


def promtool(*arguments: str, directory: Path = DIRECTORY) -> str:
    assert shutil.which("promtool"), "promtool is not installed (tests/apt-packages.txt: prometheus)"
    done = subprocess.run(
        ["promtool", *arguments], cwd=directory, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def expressions() -> dict[str, str]:
    """All expressions, by where they are."""
    found = {}
    for group in yaml.safe_load((DIRECTORY / "alerts.yml").read_text())["groups"]:
        found |= {rule["alert"]: rule["expr"] for rule in group["rules"]}
    for panel in json.loads((DIRECTORY / "dashboard.json").read_text())["panels"]:
        found |= {f"{panel['title']} {target['refId']}": target["expr"] for target in panel["targets"]}
    return found


def test_the_rules_are_valid_and_do_what_their_tests_say() -> None:
    assert "SUCCESS" in promtool("check", "rules", "alerts.yml")
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")


def test_the_dashboard_asks_what_prometheus_understands(tmp_path: Path) -> None:
    dashboard = json.loads((DIRECTORY / "dashboard.json").read_text())
    exprs = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(exprs)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(exprs)} rules found" in promtool("check", "rules", "rules.yml", directory=tmp_path)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


@pytest.mark.parametrize("where", expressions())
def test_every_metric_is_one_that_the_monitor_shows(where: str) -> None:
    named = set(_NAMES.findall(expressions()[where])) - {"mlflow_stack"}
    assert named <= set(METRICS)
    assert named or 'up{job="mlflow_stack"}' in expressions()[where]


def test_every_metric_is_documented() -> None:
    text = (REPOSITORY / "docs/watch.md").read_text()
    assert [name for name in METRICS if f"`{name}" not in text] == []
