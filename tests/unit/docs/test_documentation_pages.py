"""How the pages of the documentation hang together; what is on them is tested where it belongs."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.support.ansible import REPOSITORY
from tests.support.documented_commands import DOCUMENTS, commands_of, playbook_path

DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.glob("*.md"))
NAMES = [path.stem for path in PAGES]
_TREE = re.compile(r"```\{toctree\}\n(.*?)```", re.DOTALL)
# What bin/docs makes, and where it puts the pages of the repository's root.
_MADE = re.compile(r"collection/index|project/[A-Z_]+")
# What the documentation calls bash.
_OTHER_SHELLS = ("console", "sh", "shell", "shell-session", "zsh")
_LINK = re.compile(r"\]\(([^)#\s]*\.md)?#([\w-]+)\)")


def tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Headings as a forge and MyST spell them in links."""
    found = tokens(page)
    texts = [
        "".join(child.content for child in inline.children or ())
        for heading, inline in pairwise(found)
        if heading.type == "heading_open"
    ]
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in texts}


def test_every_page_is_in_the_menu_once() -> None:
    entries = [
        re.sub(r".*<(.*)>", r"\1", line)
        for page in PAGES
        for tree in _TREE.findall(page.read_text(encoding="utf-8"))
        for line in tree.splitlines()
        if line and not line.startswith(":")
    ]
    own = [entry for entry in entries if not _MADE.fullmatch(entry)]
    assert sorted(own) == sorted(set(NAMES) - {"index"})


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_page_has_one_title(page: Path) -> None:
    found = tokens(page)
    assert (found[0].type, found[0].tag) == ("heading_open", "h1")
    assert [token.tag for token in found if token.type == "heading_open"].count("h1") == 1


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_code_says_its_language(page: Path) -> None:
    """By it commands are found, coloured and checked."""
    assert [token.content for token in tokens(page) if token.type == "code_block"] == []
    fences = [token for token in tokens(page) if token.type == "fence"]
    assert [token.content for token in fences if not token.info or token.info in _OTHER_SHELLS] == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_pictures_are_there_and_say_what_they_show(page: Path) -> None:
    pictures = [child for token in tokens(page) for child in token.children or () if child.type == "image"]
    assert all(picture.content for picture in pictures)
    assert [str(p.attrs["src"]) for p in pictures if not (DOCS / str(p.attrs["src"])).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=[str(path.relative_to(REPOSITORY)) for path in DOCUMENTS])
def test_links_lead_to_a_heading(document: Path) -> None:
    links = _LINK.findall(document.read_text(encoding="utf-8"))
    wrong = [
        f"{page}#{anchor}"
        for page, anchor in links
        if anchor not in anchors(document.parent / page if page else document)
    ]
    assert wrong == []


def test_each_playbook_that_people_call_is_on_a_page() -> None:
    """Those that only others import do not show, in their head, how they are called."""
    called = {
        path
        for path in REPOSITORY.glob("playbooks/*.yml")
        if f"ansible-playbook playbooks/{path.name}" in path.read_text(encoding="utf-8")
    }
    documented = {
        playbook_path(word)
        for page in PAGES
        for command in commands_of(page)
        if command.words[0].endswith("ansible-playbook")
        for word in command.words
        if word.endswith(".yml")
    }
    assert len(called) > 10
    assert sorted(path.name for path in called - documented) == []
