# SPDX-License-Identifier: GPL-3.0-or-later
"""From what the checks of all vantage points returned to one report: a grid, and a paragraph a cause."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import STAGES
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.stage import caused

_COLUMNS = (*STAGES, "space", "mlflow")
# Of a part that not every stack has.
_FURTHER_COLUMNS = ("gateway",)
# What differs between vantage points although they saw the same: random names, ids, amounts and durations.
_VARYING = re.compile(
    r"\btmp\w{8}\b|\b(?=\w*\d)[0-9a-f]{8,}\b|(?<=/)\d+(?=/)|\b[\d.]+ ?(?=(?:bytes|GB|MB/s|ms|s)\b)"
)
_NOT_CHECKED = {"status": "skipped", "seconds": 0.0, "detail": "not checked from here", "cause": None}


def build_report(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Combine results into what report.json holds and the templates show.

    Args:
        results: Each with ``vantage``, a name, and ``result``, what sftp_check or mlflow_artifact_roundtrip
            returned there. Several may have the same name; of several findings in one stage, the grid shows the
            first failure.

    Returns:
        ``ok``; ``columns``, the names of the stages; ``rows``, each with ``vantage``, ``ok``, ``seconds`` and
        ``cells``, one a column; ``problems``, one a cause with ``code``, ``status``, ``meaning``, ``remedy``,
        ``where`` and ``seen``, failures first. ``seen`` has a ``detail`` and its ``where`` for each thing seen:
        details that differ in nothing but ids and amounts count as one, and the first stands for all.
    """
    found = [(entry["vantage"], stage) for entry in results for stage in _stages(entry["result"])]
    stages_of: dict[str, dict[str, dict[str, Any]]] = {}
    for vantage, stage in found:
        stages = stages_of.setdefault(vantage, {})
        if stages.get(stage["name"], _NOT_CHECKED)["status"] != "failed":
            stages[stage["name"]] = stage
    names = {stage["name"] for _, stage in found}
    columns = [*_COLUMNS, *(column for column in _FURTHER_COLUMNS if column in names)]
    rows = [_row(vantage, stages, columns) for vantage, stages in stages_of.items()]
    return {
        "ok": all(row["ok"] for row in rows),
        "columns": columns,
        "rows": rows,
        "problems": _problems(found),
    }


def _stages(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    if "stages" in result:
        return [dict(stage) for stage in result["stages"]]
    return [_round_trip_stage(result)]


def _round_trip_stage(result: Mapping[str, Any]) -> dict[str, Any]:
    seconds = round(sum(result.get("times", {}).values()), 4)
    if not result.get("failed"):
        how = "read back over SFTP" if result.get("read_back") else "downloaded"
        detail = f"{len(result.get('files', []))} files stored, {how} and identical"
        return {"name": "mlflow", "status": "ok", "seconds": seconds, "detail": detail, "cause": None}
    code = result.get("cause") or "artifact_store_failed"
    detail = result.get("seen") or result.get("msg", "")
    return caused("mlflow", code, detail, seconds=seconds, remedy=result.get("remedy", ""))


def _row(vantage: str, stages: Mapping[str, Mapping[str, Any]], columns: Sequence[str]) -> dict[str, Any]:
    cells = [dict(stages.get(column, _NOT_CHECKED)) for column in columns]
    return {
        "vantage": vantage,
        "ok": all(cell["status"] != "failed" for cell in cells),
        "seconds": round(sum(cell["seconds"] for cell in cells), 4),
        "cells": cells,
    }


def _problems(found: Sequence[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    problems: dict[tuple[str, str], dict[str, Any]] = {}
    for vantage, stage in found:
        if not stage["cause"]:
            continue
        problem = problems.setdefault(
            (stage["cause"], _VARYING.sub("", stage["remedy"])),
            {
                "code": stage["cause"],
                "status": stage["status"],
                "meaning": stage["meaning"],
                "remedy": stage["remedy"],
                "seen": {},
                "where": [],
            },
        )
        seen = problem["seen"].setdefault(
            _VARYING.sub("", stage["detail"]), {"detail": stage["detail"], "where": []}
        )
        for where in (problem["where"], seen["where"]):
            if vantage not in where:
                where.append(vantage)
    listed = [{**problem, "seen": list(problem["seen"].values())} for problem in problems.values()]
    return sorted(listed, key=lambda problem: problem["status"] != "failed")
