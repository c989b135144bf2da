"""Pages as a person sees them: headless Chromium (tests/apt-packages.txt)."""

import shutil
import subprocess
from pathlib import Path

CHROMIUM = shutil.which("chromium")


def browse(page: Path, *arguments: str, profile: Path | None = None, query: str = "") -> str:
    """Open a page in headless Chromium and return what it prints."""
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command.append(f"--user-data-dir={profile or page.parent / 'profile'}")
    done = subprocess.run(
        [*command, *arguments, page.as_uri() + query], check=True, capture_output=True, text=True, timeout=90
    )
    return done.stdout
