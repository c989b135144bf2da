# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an account and what belongs to it may be made on a host, and what of it is there already as it must be.

Decisions only, without looking at a host; `host` reads what is decided about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

_ADMINISTRATORS = frozenset({"root", "sudo", "wheel", "admin"})
_OTHERS_WRITE = 0o022
# A password that never matches, and one that does not expire.
_NO_PASSWORD, _NO_EXPIRY = "*", "99999"


@dataclass(frozen=True)
class Account:
    """An account that is there.

    Attributes:
        uid: Its number.
        group: Name of its primary group.
        groups: Names of all its groups.
        comment: Of its entry in passwd, as are home and shell.
        home: See above.
        shell: See above.
        password: The hash, or what stands in its place; empty if it cannot be read.
        password_days: After how many days a password must be changed, as it stands in shadow.
    """

    uid: int
    group: str
    groups: tuple[str, ...]
    comment: str
    home: str
    shell: str
    password: str = ""
    password_days: str = ""


@dataclass(frozen=True)
class Entry:
    """What is at a path, a symbolic link being one itself.

    Attributes:
        owner: Its owner's name; empty if there is no such account.
        group: Its group's name; empty if there is none.
        mode: Permissions.
        is_directory: Whether it is one.
        is_empty: Whether there is nothing in it.
    """

    owner: str
    group: str
    mode: int
    is_directory: bool = True
    is_empty: bool = False


@dataclass(frozen=True)
class Wanted:
    """A directory that is to be made: owner and group by their names."""

    path: str
    owner: str
    group: str
    mode: int


@dataclass(frozen=True)
class Plan:
    """An account that is to be made or kept.

    Attributes:
        user: Its name.
        group: Its primary group.
        comment: By which an account is known to be made by the role, in passwd.
        home: Its home in passwd.
        shell: Its shell in passwd.
        chroot: Directory that is ``/`` for the account.
        path: Directory of the artifacts below.
        administrators: Accounts by which the host is administered.
        directories: What must be there for the account.
    """

    user: str
    group: str
    comment: str
    home: str
    shell: str
    chroot: str
    path: str
    administrators: frozenset[str] = frozenset()
    directories: tuple[Wanted, ...] = ()

    @property
    def artifacts(self) -> str:
        """The directory of the artifacts, as the host has it."""
        return self.chroot + self.path

    @property
    def above_artifacts(self) -> list[str]:
        """Directories from the chroot down to the one that holds that of the artifacts."""
        parents = [str(parent) for parent in reversed(PurePosixPath(self.artifacts).parents)]
        return parents[parents.index(self.chroot) :]

    @property
    def above_chroot(self) -> list[str]:
        """Directories from the root down to the one that holds the chroot."""
        return [str(parent) for parent in reversed(PurePosixPath(self.chroot).parents)]

    @property
    def looked_at(self) -> set[str]:
        """Every path whose `Entry` is decided about."""
        wanted = {directory.path for directory in self.directories}
        return {self.artifacts, *self.above_artifacts, *self.above_chroot, *wanted}


def findings(
    plan: Plan, account: Account | None, entries: Mapping[str, Entry], strange_files: Sequence[str]
) -> list[str]:
    """Return a sentence for each reason why nothing may be made.

    Args:
        plan: What is to be made.
        account: The account, if it is there.
        entries: What is at the paths that the plan looks at.
        strange_files: Files of the account that are there and do not say that the role has written them.
    """
    found = [_administers(plan, account), _is_foreign(plan, account)]
    if account is None:
        found.append(_changes_hands(plan, [*_strange_directories(plan, entries), *strange_files]))
    found.append(_is_unsafe(plan, entries))
    return [sentence for sentence in found if sentence]


def _administers(plan: Plan, account: Account | None) -> str:
    user = plan.user
    if user == "root" or user in plan.administrators:
        reason = "it is the account that Ansible uses, or root"
    elif account and (held := _ADMINISTRATORS.intersection(account.groups)):
        reason = f"it is in the group {', '.join(sorted(held))}"
    else:
        return ""
    return (
        f"{user} administers the server ({reason}) and would lose its shell. Use an account for SFTP alone."
    )


def _is_foreign(plan: Plan, account: Account | None) -> str:
    if account is None or account.comment == plan.comment:
        return ""
    return (
        f'{plan.user} is an account that this role has not made: comment "{account.comment}", home {account.home}, '
        f"shell {account.shell}. It would lose its shell, home and password. Set sftp_user to another name, or "
        "sftp_target_mode to hosted, which adds the key and leaves the account as it is."
    )


def _strange_directories(plan: Plan, entries: Mapping[str, Entry]) -> Iterator[str]:
    """Of the artifacts, what is somebody's; of what is above them, what is not root's with mode 0755."""
    artifacts = entries.get(plan.artifacts)
    # An account that was lost leaves its number.
    if artifacts and artifacts.owner and not artifacts.is_empty:
        yield plan.artifacts
    for path in reversed(plan.above_artifacts):
        entry = entries.get(path)
        if entry and (entry.owner, entry.group, entry.mode) != ("root", "root", 0o755):
            yield path


def _changes_hands(plan: Plan, paths: Sequence[str]) -> str:
    if not paths:
        return ""
    return (
        f"{', '.join(paths)} on the server would get another owner, mode or content, though {plan.user} is yet to be "
        "made. Choose another sftp_target_chroot, sftp_path or sftp_user, or move away what is there."
    )


def _is_unsafe(plan: Plan, entries: Mapping[str, Entry]) -> str:
    unsafe = [
        path
        for path in plan.above_chroot
        if (entry := entries.get(path)) and (entry.owner != "root" or entry.mode & _OTHERS_WRITE)
    ]
    if not unsafe:
        return ""
    return (
        f"sshd demands that every directory down to the chroot {plan.chroot} belongs to root and that nobody else can "
        f"write there; this is not so for {', '.join(unsafe)}. Choose another sftp_target_chroot."
    )


def lacking(plan: Plan, account: Account | None, entries: Mapping[str, Entry]) -> list[str]:
    """Return what of the plan is not there as it must be: the account's name, paths of directories."""
    found = [] if account and _is_as_planned(plan, account) else [plan.user]
    return found + [
        wanted.path for wanted in plan.directories if not _is_as_wanted(wanted, entries.get(wanted.path))
    ]


def _is_as_planned(plan: Plan, account: Account) -> bool:
    wanted = (plan.group, plan.comment, plan.home, plan.shell, _NO_PASSWORD, _NO_EXPIRY)
    return wanted == (
        account.group,
        account.comment,
        account.home,
        account.shell,
        account.password,
        account.password_days,
    )


def _is_as_wanted(wanted: Wanted, entry: Entry | None) -> bool:
    return (
        entry is not None
        and entry.is_directory
        and (entry.owner, entry.group, entry.mode) == (wanted.owner, wanted.group, wanted.mode)
    )


def changed_settings(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return the effective settings of other accounts that differ, each with its account."""
    return sorted(_lines(before) ^ _lines(after))


def _lines(settings: Mapping[str, str]) -> set[str]:
    return {f"{user}: {line}" for user, text in settings.items() for line in text.splitlines()}
