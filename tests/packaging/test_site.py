"""The documentation as a site: bin/docs builds it without a warning, and a browser shows it, wide and narrow."""

import html
import json
import re
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.packaging.conftest import ROOT
from tests.support.browser import browse, needs_browser

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

# A window of the browser is 500 pixels wide at least, a frame is as narrow as it is told. It tells what it shows.
_FRAME = """<!doctype html><body><iframe src="{page}" width="{width}" height="1300"></iframe>
<script>addEventListener("message", (event) => {{ document.body.dataset.told = event.data }})</script>"""
_TELL = """<script>addEventListener("load", () => parent.postMessage(JSON.stringify({
  // On a narrow screen, the theme lets the content scroll within the page.
  hidden: [document.documentElement, document.querySelector(".content")]
    .map((element) => element.scrollWidth - element.clientWidth), offered: innerWidth,
  heading: document.querySelector("h1").innerText, menu: document.querySelectorAll(".sidebar-tree a").length,
  ground: getComputedStyle(document.body).backgroundColor,
  cells: [...document.querySelectorAll("article td")].slice(0, 20)
    .map((cell) => getComputedStyle(cell)).map((style) => [style.color, style.backgroundColor]),
  picture: [...document.querySelectorAll("article img")].every((image) => image.naturalWidth > 0)
}), "*"))</script>"""
_NONE = "rgba(0, 0, 0, 0)"
_HEADINGS = {
    "index": "MLflow on the SFTP account you already have",
    "collection/sftp_check_module": "freegee.mlflow_sftp.sftp_check module",
    "troubleshooting": "Troubleshooting",
}


def build(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "bin/docs", "--no-setup", *options, directory], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("docs") / "site"
    built = build(directory)
    assert built.returncode == 0, built.stdout + built.stderr
    assert "WARNING" not in built.stdout + built.stderr
    return directory


class Links(HTMLParser):
    """Of a page: its title, what it refers to, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "a":
            self.links.append(values.get("href", ""))
        elif values.get("src"):
            self.loaded.append(values["src"])
        elif tag == "link" and values.get("rel") in ("stylesheet", "preload"):
            self.loaded.append(values["href"])


def pages(site: Path) -> Iterator[tuple[Path, Links]]:
    for path in sorted(site.rglob("*.html")):
        yield path, Links(path.read_text(encoding="utf-8"))


def test_nothing_is_left_beside_it(site: Path) -> None:
    assert [path.name for path in site.parent.iterdir()] == [site.name]


def test_it_has_every_page_module_role_and_public_name(site: Path) -> None:
    expected = {f"{path.stem}.html" for path in (ROOT / "docs").glob("*.md")}
    expected |= {
        f"collection/{path.stem}_module.html" for path in (ROOT / "plugins/modules").glob("[a-z]*.py")
    }
    expected |= {f"collection/{path.name}_role.html" for path in (ROOT / "roles").iterdir()}
    expected |= {f"project/{name}.html" for name in ("CONTRIBUTING", "SECURITY", "CODE_OF_CONDUCT")}
    assert sorted(name for name in expected if not (site / name).exists()) == []
    assert 'id="mlflow_sftp.SftpStorage.upload_tree"' in (site / "api.html").read_text()


def test_links_lead_to_files_and_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    broken, foreign = [], []
    for path, found in pages(site):
        foreign += [
            f"{path.name}: {url}" for url in found.loaded if re.match(r"\w+:|//", url) and "data:" not in url
        ]
        for link in found.links:
            target = link.partition("#")[0].partition("?")[0]
            if target and not re.match(r"\w+:", target) and not (path.parent / target).exists():
                broken.append(f"{path.name}: {link}")
    assert (broken, foreign) == ([], [])


def seen(site: Path, name: str, width: int, dark: bool, profile: Path) -> dict[str, Any]:
    """What a page of the site is in a browser, in a frame of so many pixels."""
    page, frame = site / f"{name}.told.html", site / "frame.html"
    page.write_text((site / f"{name}.html").read_text().replace("</head>", f"{_TELL}</head>"))
    frame.write_text(_FRAME.format(page=page.relative_to(site), width=width))
    try:
        scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
        dom = browse(frame, "--window-size=1400,1400", scheme, "--dump-dom", profile=profile)
    finally:
        page.unlink()
        frame.unlink()
    told = re.search('data-told="([^"]+)"', dom)
    assert told, dom
    return dict(json.loads(html.unescape(told[1])))


def contrast(text: str, ground: str) -> int:
    """How far apart two of CSS's colours are in the channel where they are closest, of 255."""
    channels = [[int(number) for number in re.findall(r"[\d.]+", colour)] for colour in (text, ground)]
    return min(abs(one - other) for one, other in zip(*channels, strict=False))


@needs_browser
@pytest.mark.parametrize(("width", "dark"), [(1280, True), (400, False)], ids=["wide and dark", "narrow"])
@pytest.mark.parametrize("name", _HEADINGS)
def test_pages_are_readable(name: str, width: int, dark: bool, site: Path, tmp_path: Path) -> None:
    told = seen(site, name, width, dark, profile=tmp_path)
    assert told["heading"].startswith(_HEADINGS[name])
    assert told["offered"] == width
    assert told["hidden"] == [0, 0], "the page has to be scrolled sideways"
    assert told["menu"] > 20
    assert told["picture"]
    assert all(
        contrast(text, told["ground"] if ground == _NONE else ground) > 100 for text, ground in told["cells"]
    )
    assert told["ground"] == ("rgb(19, 20, 22)" if dark else "rgb(255, 255, 255)")


@needs_browser
@pytest.mark.parametrize(
    ("words", "page"), [("host+key", "rotate.html"), ("sftp_check", "sftp_check_module.html")]
)
def test_it_can_be_searched_without_a_server(words: str, page: str, site: Path, tmp_path: Path) -> None:
    dom = browse(
        site / "search.html",
        "--virtual-time-budget=20000",
        "--dump-dom",
        profile=tmp_path / "profile",
        query=f"?q={words}",
    )
    results = dom.partition('id="search-results"')[2]
    assert page in results


def test_what_is_no_site_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    refused = build(tmp_path)
    assert refused.returncode == 2
    assert "holds something else" in refused.stderr
    assert (tmp_path / "thesis.txt").read_text() == "mine"
