"""Pages as a person sees them: headless Chromium (tests/apt-packages.txt)."""

import shutil
import subprocess
from pathlib import Path

import pytest

_CHROMIUM = shutil.which("chromium")
# What nobody can open says nothing of the page.
needs_browser = pytest.mark.skipif(_CHROMIUM is None, reason="chromium is not installed")


def browse(page: Path, *arguments: str, profile: Path | None = None, query: str = "") -> str:
    """Open a page in headless Chromium and return what it prints."""
    assert _CHROMIUM is not None
    command = [_CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command.append(f"--user-data-dir={profile or page.parent / 'profile'}")
    done = subprocess.run(
        [*command, *arguments, page.as_uri() + query], check=True, capture_output=True, text=True, timeout=90
    )
    return done.stdout
