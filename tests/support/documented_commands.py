"""Commands as the documentation shows them, compared with the playbooks, roles and programs that they call."""

import importlib
import os
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import click
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from mlflow_sftp.cli.main import main as mlflow_sftp
from tests.support.ansible import COLLECTION, REPOSITORY

DOCUMENTS = sorted(
    [
        *REPOSITORY.glob("*.md"),
        *REPOSITORY.glob("docs/*.md"),
        *REPOSITORY.glob("roles/*/README.md"),
        REPOSITORY / "src/README.md",
    ]
)
# Programs that are not ours: nobody knows here what they take.
FOREIGN = frozenset(
    {
        "a2enmod",
        "a2ensite",
        "ansible-navigator",
        "antsibull-changelog",
        "apachectl",
        "apt-get",
        "cd",
        "cp",
        "export",
        "install",
        "mlflow",
        "openssl",
        "pip",
        "pre-commit",
        "reuse",
        "ssh",
        "ssh-keygen",
        "systemctl",
        "twine",
    }
)
# What a reader is to put in: ID, FILE, NAME, <checkout>, ...
_PLACEHOLDER = re.compile(r"[A-Z][A-Z_]*|<.*>|\.\.\.")
_ASSIGNMENT = re.compile(r"[A-Z_]+=")
_CONTROL = {"&&", "||", ";", "|"}
_REDIRECTIONS = {"<", ">", ">>", "2>"}
_TEXT = {"true": True, "false": False, "yes": True, "no": False}


@dataclass(frozen=True)
class Command:
    """A program and its arguments, and the line of the document where they stand."""

    where: str
    words: tuple[str, ...]


def commands_of(document: Path) -> Iterator[Command]:
    """All commands of a document: each of a block for the shell, and those within its sentences that are ours."""
    for where, token in _tokens(document):
        for text, everything in _pieces(token):
            for words in split(text):
                if everything or (len(words) > 1 and words[0] in CHECKS):
                    yield Command(where, words)


def options_of(document: Path) -> Iterator[Command]:
    """The `-e name=value` of its sentences and tables: options of a playbook that the document names."""
    for where, token in _tokens(document):
        for code in _inline(token):
            if code.startswith("-e "):
                yield Command(where, tuple(shlex.split(code)))


def _tokens(document: Path) -> Iterator[tuple[str, Token]]:
    """What a document is made of, each with the line where it begins."""
    name = document.relative_to(REPOSITORY)
    for token in MarkdownIt("commonmark").enable("table").parse(document.read_text(encoding="utf-8")):
        yield f"{name}:{token.map[0] + 1 if token.map else 0}", token


def _pieces(token: Token) -> Iterator[tuple[str, bool]]:
    """Text that holds commands, and whether it holds nothing else."""
    if token.type == "fence" and token.info == "bash":
        yield token.content, True
    elif token.type == "fence" and token.info == "text":
        # A description follows each.
        for line in token.content.splitlines():
            yield re.split(r" {2,}", line)[0], False
    elif token.type == "code_block":
        first = next(iter(split(token.content)), ("",))[0]
        yield token.content, first in CHECKS or first in FOREIGN
    for code in _inline(token):
        yield _in_full(code), False


def _in_full(code: str) -> str:
    """`backup.yml -e drill=true` of a sentence with its program and its directory."""
    playbook = re.match(r"(?:playbooks/)?(\w+\.yml) -", code)
    if not playbook:
        return code
    path = "site.yml" if playbook[1] == "site.yml" else f"playbooks/{playbook[1]}"
    return f"ansible-playbook {path} {code.partition(' ')[2]}"


def _inline(token: Token) -> list[str]:
    return [child.content for child in token.children or () if child.type == "code_inline"]


def split(text: str) -> Iterator[tuple[str, ...]]:
    """Words of each command of a piece of shell, without comments, assignments in front and redirections."""
    for line in text.replace("\\\n", " ").splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # A quote that is not closed: no command begins like that.
            yield (line,)
            continue
        command: list[str] = []
        for word in [*words, ";"]:
            if word not in _CONTROL:
                command.append(word)
                continue
            while command and _ASSIGNMENT.match(command[0]):
                del command[0]
            if command:
                yield tuple(_without_redirections(command))
            command = []


def _without_redirections(words: list[str]) -> Iterator[str]:
    remaining = iter(words)
    for word in remaining:
        if word in _REDIRECTIONS:
            next(remaining, None)
        else:
            yield word


def complaints(words: tuple[str, ...]) -> list[str]:
    """What is wrong with a command; [] where nothing is."""
    program, *arguments = words
    if check := CHECKS.get(program):
        return check(arguments)
    return [] if program in FOREIGN else [f"{program}: nobody has said what this is"]


def _placeholder(word: str) -> bool:
    return _PLACEHOLDER.fullmatch(word) is not None


# Ansible


def _parsed(place: str, arguments: list[str]) -> tuple[Any, list[str]]:
    """Arguments as a program of Ansible's reads them, or what it says of them."""
    module, _, name = place.partition(":")
    program = getattr(importlib.import_module(module), name)(["ansible", *arguments])
    said = StringIO()
    try:
        program.init_parser()
        program.parser.allow_abbrev = False
        with redirect_stderr(said):
            return program.parser.parse_args(arguments), []
    except SystemExit:
        return None, [said.getvalue().strip().splitlines()[-1]]


def _check_playbook(arguments: list[str]) -> list[str]:
    options, wrong = _parsed("ansible.cli.playbook:PlaybookCLI", arguments)
    if wrong:
        return wrong
    wrong = [
        f"inventory {inventory} is not there"
        for inventory in options.inventory or ()
        if not (REPOSITORY / inventory).exists()
    ]
    wrong += _check_pattern(options.subset or "")
    for name in options.args:
        path = playbook_path(name)
        if not path.exists():
            wrong.append(f"playbook {name} is not there")
            continue
        wrong += complaints_of_variables(options.extra_vars, path)
    return wrong


def playbook_path(name: str) -> Path:
    """The file of a playbook, which a collection's user calls by the collection's name."""
    short = name.removeprefix(f"{COLLECTION}.")
    return REPOSITORY / (name if short == name else f"playbooks/{short}.yml")


def _check_pattern(pattern: str) -> list[str]:
    """Groups in a pattern; a name without an underscore may be that of a host."""
    names = [name for name in re.split("[,:]", pattern) if "_" in name]
    return [f"group {name} is in no playbook or inventory" for name in names if name not in _groups()]


@cache
def _groups() -> frozenset[str]:
    files = [*REPOSITORY.glob("playbooks/**/*.yml"), *REPOSITORY.glob("inventories/*/hosts.yml")]
    return frozenset(word for path in files for word in re.findall(r"\w+", path.read_text(encoding="utf-8")))


def complaints_of_variables(given: list[str], playbook: Path) -> list[str]:
    """What is wrong with `-e name=value` for a playbook: a name that nothing reads, a value that is none."""
    wrong = []
    for pair in (pair for text in given if text[0] not in "@{" for pair in shlex.split(text)):
        name, separator, value = pair.partition("=")
        if not separator:
            wrong.append(f"-e {pair}: no value")
        elif not (name in role_options() or _read_by(playbook, name)):
            wrong.append(f"-e {name}: neither {playbook.name} nor a role reads it")
        elif not _placeholder(value):
            wrong += _complaints_of_value(name, value, playbook)
    return wrong


def _complaints_of_value(name: str, value: str, playbook: Path) -> list[str]:
    wrong = []
    reads = re.compile(rf"\b{name}\b")
    if re.search(rf"\b{name} (\| default\(\w+\) )?\| bool\b", _text_of(playbook)) and value not in _TEXT:
        wrong.append(f"-e {name}={value}: neither true nor false")
    options = [role_options()[name]] if name in role_options() else []
    options += [role_options()[key] for key, text in _passed_on(playbook) if reads.search(text)]
    for option in options:
        choices = option.get("choices")
        asked = value.split(",") if option.get("type") == "list" else [value]
        if choices and not set(asked) <= {str(choice) for choice in choices}:
            wrong.append(f"-e {name}={value}: none of {choices}")
    return wrong


@cache
def role_options() -> dict[str, dict[str, Any]]:
    """The options of all roles by name."""
    options = {}
    for path in REPOSITORY.glob("roles/*/meta/argument_specs.yml"):
        for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"].values():
            options |= entry.get("options", {})
    return options


@cache
def _plays(playbook: Path) -> list[Any]:
    """A playbook's plays and tasks, with those of the files that it imports or includes."""
    loaded = yaml.safe_load(playbook.read_text(encoding="utf-8"))
    found = [loaded]
    for _, value in _scalars(loaded):
        path = playbook.parent / value
        if value.endswith(".yml") and path.is_file():
            found += _plays(path)
    return found


def _scalars(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a document with the key that it belongs to."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _scalars(inner, str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from _scalars(inner, key)
    else:
        yield key, str(value)


@cache
def _text_of(playbook: Path) -> str:
    return "\n".join(text for _, text in _scalars(_plays(playbook)))


def _read_by(playbook: Path, name: str) -> bool:
    return re.search(rf"\b{name}\b", _text_of(playbook)) is not None


@cache
def _passed_on(playbook: Path) -> list[tuple[str, str]]:
    """Options of roles that the playbook sets, with the text that it sets them to."""
    return [(key, text) for key, text in _scalars(_plays(playbook)) if key in role_options()]


def _check_ad_hoc(arguments: list[str]) -> list[str]:
    options, wrong = _parsed("ansible.cli.adhoc:AdHocCLI", arguments)
    if wrong:
        return wrong
    inner = options.module_args if options.module_name == "command" else ""
    return _check_pattern(options.args) + [said for words in split(inner) for said in complaints(words)]


def _check_doc(arguments: list[str]) -> list[str]:
    options, wrong = _parsed("ansible.cli.doc:DocCLI", arguments)
    if wrong:
        return wrong
    names = [name.removeprefix(f"{COLLECTION}.") for name in options.args if not _placeholder(name)]
    patterns = ["roles/{}"] if options.type == "role" else ["plugins/*/{}.py", "plugins/*/{}.yml"]
    return [
        f"{options.type} {name} is not there"
        for name in names
        if not any(list(REPOSITORY.glob(pattern.format(name))) for pattern in patterns)
    ]


def _parser_only(place: str) -> Callable[[list[str]], list[str]]:
    return lambda arguments: _parsed(place, arguments)[1]


# Programs of the repository


def _check_script(name: str) -> Callable[[list[str]], list[str]]:
    """A program of bin: its own options are those that it mentions; bin/test hands the rest to pytest."""

    def check(arguments: list[str]) -> list[str]:
        path = REPOSITORY / name
        if not os.access(path, os.X_OK):
            return [f"{name} is not there, or cannot be run"]
        if name == "bin/test" and arguments and not arguments[0].startswith("--"):
            return _check_pytest(arguments)
        return _unknown_options(path, arguments)

    return check


def _unknown_options(path: Path, arguments: list[str]) -> list[str]:
    # What a program takes, it may say beside itself.
    said = [path, *(beside for beside in [path.with_name("cli.py")] if beside.exists())]
    text = "".join(each.read_text(encoding="utf-8") for each in said)
    options = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    return [f"{path.name} knows no {option}" for option in options if option not in text]


def _check_python(arguments: list[str]) -> list[str]:
    """A file or a module of the repository, with options that it mentions."""
    if arguments[0] == "-m":
        name, *arguments = arguments[1:]
        arguments = [f"{name.replace('.', '/')}.py", *arguments]
    path = REPOSITORY / arguments[0]
    return _unknown_options(path, arguments[1:]) if path.is_file() else [f"{arguments[0]} is not there"]


def _check_pytest(arguments: list[str]) -> list[str]:
    """Paths exist, and each word of -k is in the name of a file or a test there."""
    paths, words, wrong = [], [], []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "-k":
            words += re.findall(r"\w+", next(remaining, ""))
        elif not argument.startswith("-") and not _placeholder(argument):
            paths.append(REPOSITORY / argument)
    wrong += [f"{path} is not there" for path in paths if not path.exists()]
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("test_*.py"))]
    names = " ".join(
        [
            *map(str, files),
            *(re.sub(r"(?m)^(?!.*(def test_|id=|param)).*$", "", f.read_text()) for f in files),
        ]
    )
    wrong += [
        f"-k {word}: no such test"
        for word in words
        if word not in {"and", "or", "not"} and not _placeholder(word) and files and word not in names
    ]
    return wrong


def _check_mlflow_sftp(arguments: list[str]) -> list[str]:
    """A command with options that click knows, and no more arguments than it takes."""
    words = [word.strip("[]") for word in arguments if word != "..."]
    command: click.Command | None = mlflow_sftp
    try:
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            _, command, words = command.resolve_command(click.Context(command), words)
        assert command is not None
        _, extra, _ = command.make_parser(click.Context(command)).parse_args(words)
    except click.UsageError as error:
        return [error.format_message()]
    return [f"{command.name} does not take {' '.join(extra)}"] if extra else []


# Docker


@cache
def _services() -> frozenset[str]:
    template = REPOSITORY / "roles/mlflow_stack/templates/compose.yml.j2"
    return frozenset(re.findall(r"^  ([\w-]+):", template.read_text(encoding="utf-8"), re.MULTILINE))


def _check_docker(arguments: list[str]) -> list[str]:
    """Of `docker compose`, the services, and what is run in them if that is ours; the rest is Docker's."""
    if arguments[:1] != ["compose"]:
        return []
    words = [word for word in arguments[1:] if not word.startswith("-")]
    if "--project-directory" in arguments:
        del words[0]
    verb, *words = words or [""]
    if verb == "cp":
        words = [word.partition(":")[0] for word in words if ":" in word]
    if verb not in {"exec", "run", "start", "stop", "restart", "logs", "cp"} or not words:
        return []
    services, inner = (words[:1], words[1:]) if verb in {"exec", "run"} else (words, [])
    # The value of an option as --since 10m.
    services = [name for name in services if not name[0].isdigit()]
    wrong = [f"no service is named {name}" for name in services if name not in _services()]
    if inner:
        text = arguments[arguments.index(inner[0]) :]
        pieces = split(text[-1]) if text[0] == "sh" else iter([tuple(text)])
        wrong += [said for words in pieces if words[0] in CHECKS for said in complaints(words)]
    return wrong


CHECKS: dict[str, Callable[[list[str]], list[str]]] = {
    "ansible": _check_ad_hoc,
    "ansible-doc": _check_doc,
    "ansible-galaxy": _parser_only("ansible.cli.galaxy:GalaxyCLI"),
    "ansible-playbook": _check_playbook,
    "ansible-vault": _parser_only("ansible.cli.vault:VaultCLI"),
    "docker": _check_docker,
    "mlflow-sftp": _check_mlflow_sftp,
    "pytest": _check_pytest,
    "python": _check_python,
    **{
        f"bin/{name}": _check_script(f"bin/{name}")
        for name in ("build", "demo", "docs", "execution-environment", "setup", "test")
    },
    "requirements/lock": _check_script("requirements/lock"),
    ".venv/bin/ansible-playbook": _check_playbook,
    ".venv/bin/pytest": _check_pytest,
    ".venv/bin/python": _check_python,
}
