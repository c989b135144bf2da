"""What is kept and drawn of earlier verifications, and what is told of a Docker host."""

import json
from typing import Any

import pytest
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis import history
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.hosts import describe_host
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.report import build_report


def report(status: str = "ok", seconds: float = 1.0, vantage: str = "mlflow") -> dict[str, Any]:
    stage = {"name": "write", "status": status, "seconds": seconds, "detail": "", "meaning": "", "remedy": ""}
    stage["cause"] = None if status == "ok" else "no_space"
    return build_report([{"vantage": vantage, "result": {"stages": [stage]}}])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "5",
        '{"rows": {}}',
        '{"time": "t", "rows": []}',
        '{"time": "t", "rows": {"a": []}}',
        '{"time": "t", "rows": {"a": {"b": ["ok", 1]}}}',
        '{"time": "t", "rows": {"a": {"b": ["ok", "x", null]}}}',
        '{"time": "t", "rows": {"a": {"b": ["<b>", 1, null]}}}',
    ],
)
def test_a_line_that_cannot_be_read_is_left_out(text: str) -> None:
    good = json.dumps(history.line_of(report(), "now"))
    assert history.read_lines(f"{text}\n{good}\n") == [history.line_of(report(), "now")]


def test_what_is_kept_is_bounded() -> None:
    text = ""
    for number in range(history.KEPT + 20):
        text = history.written([*history.read_lines(text), history.line_of(report(), str(number))])
    lines = history.read_lines(text)
    assert [lines[0]["time"], lines[-1]["time"], len(lines)] == ["20", str(history.KEPT + 19), history.KEPT]


def test_bars_end_at_the_right_edge_and_are_as_high_as_it_took_long() -> None:
    found = [report("ok", 2.0), report("ok", 1.0), report("failed", 0.0), report("ok", 0.0)]
    lines = [history.line_of(each, str(number)) for number, each in enumerate(found)]
    drawn = history.pictures(lines, found[-1])
    assert drawn["columns"] == ["write"]
    ((picture,),) = [row["pictures"] for row in drawn["rows"]]
    bars = picture["bars"]
    assert [bar["height"] for bar in bars] == [24, 12, 24, 3]
    assert bars[-1]["x"] + 4 == history.WIDTH
    assert (picture["failed"], picture["longest"]) == (1, 2.0)
    assert bars[2]["title"] == "2: no_space, 0.000 s"


def test_a_place_that_is_gone_is_still_drawn_and_one_that_was_not_there_has_gaps() -> None:
    lines = [history.line_of(report(vantage="old"), "1"), history.line_of(report(vantage="new"), "2")]
    drawn = history.pictures(lines, report(vantage="new"))
    assert [(row["vantage"], len(row["pictures"][0]["bars"])) for row in drawn["rows"]] == [
        ("new", 1),
        ("old", 1),
    ]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, {}),
        ({"__mlflow_stack_capacity": {"failed": True, "msg": "x"}}, {}),
        (
            {
                "__mlflow_stack_capacity": {
                    "lines": ["a: 1 B free", "b"],
                    "versions": {"MLflow": "3.17.2", "Docker engine": "26", "images": "a, b"},
                },
            },
            {
                "a": "1 B free",
                "space": "b",
                "MLflow": "3.17.2",
                "Docker engine": "26",
                "images": "a, b",
                "freegee.mlflow_sftp": "0.1.0",
            },
        ),
    ],
)
def test_what_is_known_of_a_host(variables: dict[str, Any], expected: dict[str, str]) -> None:
    found = describe_host("first", variables, "0.1.0")
    assert {entry["name"]: entry["value"] for entry in found["entries"]} == expected
