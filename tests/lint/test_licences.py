"""Files that are copied alone name their licence themselves: REUSE.toml answers for them only here."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# In one piece, reuse would take it for this file's own.
HEADER = "# SPDX-License-" + "Identifier: "


@pytest.mark.parametrize(
    ("place", "licence"), [("plugins", "GPL-3.0-or-later"), ("src", "Apache-2.0")], ids=["plugins", "package"]
)
def test_code_names_its_licence(place: str, licence: str) -> None:
    files = sorted((ROOT / place).rglob("*.py"))
    assert len(files) > 50, "the files have moved"
    assert [str(path) for path in files if HEADER + licence not in path.read_text().splitlines()[:4]] == []
