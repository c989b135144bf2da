# SPDX-License-Identifier: GPL-3.0-or-later
"""What earlier verifications found: a line of JSON each, and small pictures of them for the report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Lines that are kept, and verifications that are drawn.
KEPT, SHOWN = 200, 30
# Of a picture, in its own units: a bar for each verification, as high as it took long.
WIDTH, HEIGHT, _STEP, _LOWEST = SHOWN * 4, 24, 4, 3

Line = Mapping[str, Any]


def line_of(report: Mapping[str, Any], time: str) -> dict[str, Any]:
    """Return what is kept of a report, as `report.build_report` makes it: of each stage that was gone, how it went."""
    rows = {
        row["vantage"]: {
            column: [cell["status"], cell["seconds"], cell["cause"]]
            for column, cell in zip(report["columns"], row["cells"], strict=True)
            if cell["status"] != "skipped"
        }
        for row in report["rows"]
    }
    return {"contract": 1, "time": time, "ok": report["ok"], "rows": rows}


def read_lines(text: str) -> list[dict[str, Any]]:
    """Return what is kept of earlier reports, the earliest first; a line that cannot be read is left out."""
    found = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
            if _is_entry(entry):
                found.append(entry)
        except ValueError:
            continue
    return found


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("time"), str)
        and isinstance(entry.get("rows"), dict)
        and all(isinstance(cells, dict) for cells in entry["rows"].values())
        and all(_is_cell(cell) for cells in entry["rows"].values() for cell in cells.values())
    )


def _is_cell(cell: Any) -> bool:
    return (
        isinstance(cell, list)
        and len(cell) == 3
        and cell[0] in ("ok", "warning", "failed")
        and isinstance(cell[1], int | float)
    )


def written(lines: Sequence[Line]) -> str:
    """Return the text of the file, no more than `KEPT` lines of it."""
    return "".join(f"{json.dumps(line, sort_keys=True)}\n" for line in lines[-KEPT:])


def pictures(lines: Sequence[Line], report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is drawn: rows of small pictures, in the order of the report's grid.

    Args:
        lines: What is kept, the earliest first.
        report: The report that they are drawn in.

    Returns:
        ``count`` of verifications, ``first`` and ``last`` of their times, ``columns``, and ``rows``, each with
        ``vantage`` and ``pictures``, one a column: None where the stage was never gone, or ``bars`` with ``x``, ``y``,
        ``height``, ``status`` and ``title``, ``longest`` in seconds, and ``failed``, how often it failed.
    """
    shown = lines[-SHOWN:]
    vantages = dict.fromkeys([row["vantage"] for row in report["rows"]])
    vantages.update(dict.fromkeys(vantage for line in shown for vantage in line["rows"]))
    columns = [
        column
        for column in report["columns"]
        if any(column in cells for line in shown for cells in line["rows"].values())
    ]
    rows = [
        {"vantage": each, "pictures": [_picture(shown, each, column) for column in columns]}
        for each in vantages
    ]
    return {
        "count": len(shown),
        "first": shown[0]["time"] if shown else "",
        "last": shown[-1]["time"] if shown else "",
        "columns": columns,
        "rows": [row for row in rows if any(row["pictures"])],
        "width": WIDTH,
        "height": HEIGHT,
    }


def _picture(lines: Sequence[Line], vantage: str, column: str) -> dict[str, Any] | None:
    cells = [(line["time"], line["rows"].get(vantage, {}).get(column)) for line in lines]
    longest = max((cell[1] for _, cell in cells if cell), default=None)
    if longest is None:
        return None
    return {
        "bars": list(_bars(cells, longest)),
        "longest": longest,
        "failed": sum(1 for _, cell in cells if cell and cell[0] == "failed"),
    }


def _bars(cells: Sequence[tuple[str, Any]], longest: float) -> Iterator[dict[str, Any]]:
    # The last verification is at the right edge, however few there were.
    start = WIDTH - _STEP * len(cells)
    for number, (time, cell) in enumerate(cells):
        if not cell:
            continue
        status, seconds, cause = cell
        # What failed is seen however soon it did.
        height = HEIGHT if status == "failed" else max(_LOWEST, round(HEIGHT * seconds / (longest or 1)))
        yield {
            "x": start + number * _STEP,
            "y": HEIGHT - height,
            "height": height,
            "status": status,
            "title": f"{time}: {cause or status}, {seconds:.3f} s",
        }
