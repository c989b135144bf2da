# SPDX-License-Identifier: GPL-3.0-or-later
"""What PAM's account rules, which sshd asks after a key was accepted, say of an account.

The rules are run, as they are configured, by PAM itself: in a process of its own, for they are other people's code.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError

_CONFIGURATION = Path("/etc/pam.d")
_DEEPEST_INCLUDE = 8
# The first ends a stack that others jump over, and always refuses alone; the others do something whenever asked.
_NOT_ASKED_ALONE = ("pam_deny.so", "pam_exec.so", "pam_faillock.so", "pam_tally2.so")
_HINTS = {
    "pam_shells.so": "list the account's shell in /etc/shells, or take pam_shells out for {user} (pam_succeed_if)",
    "pam_access.so": "add + : {user} : ALL to /etc/security/access.conf, before the line that refuses",
    "pam_nologin.so": "remove /etc/nologin or /run/nologin, or wait until the host has started",
    "pam_time.so": "let {user} in at any time by /etc/security/time.conf",
    "pam_unix.so": "see chage -l {user}: the account or its password has expired",
}
# Arguments: directory of the rules, service, user, the client's address. Questions that PAM may ask get no answer.
_PROGRAM = """
import ctypes, json, sys
directory, service, user, address = (argument.encode() for argument in sys.argv[1:])
pam = ctypes.CDLL("libpam.so.0")
class Conversation(ctypes.Structure):
    _fields_ = [("act", ctypes.c_void_p), ("data", ctypes.c_void_p)]
act = ctypes.CFUNCTYPE(*[ctypes.c_int] * 2, *[ctypes.c_void_p] * 3)(lambda *_: 19)
conversation = Conversation(ctypes.cast(act, ctypes.c_void_p), None)
handle = ctypes.c_void_p()
pam.pam_strerror.restype = ctypes.c_char_p
pam.pam_set_item.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p]
code = pam.pam_start_confdir(service, user, ctypes.byref(conversation), directory, ctypes.byref(handle))
if code == 0:
    for item, value in ((4, address), (3, b"ssh")):
        pam.pam_set_item(handle, item, value)
    code = pam.pam_acct_mgmt(handle, 0)
print(json.dumps([code, pam.pam_strerror(handle, code).decode()]))
"""


@dataclass(frozen=True)
class Rule:
    """A line of a stack's account rules.

    Attributes:
        module: The module's file name.
        arguments: Its arguments, as they are written.
    """

    module: str
    arguments: str = ""


def account_rules(service: str, directory: Path = _CONFIGURATION, depth: int = 0) -> list[Rule]:
    """Return the account rules of a service, with those that are included."""
    try:
        text = (directory / service).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    rules: list[Rule] = []
    for line in text.replace("\\\n", " ").splitlines():
        kind, _, rest = " ".join(line.partition("#")[0].split()).lstrip("-").partition(" ")
        # A control may be a list in brackets, with spaces.
        control, rest = _control(rest.strip())
        if kind == "@include" and depth < _DEEPEST_INCLUDE:
            rules += account_rules(control, directory, depth + 1)
        elif kind == "account" and control in ("include", "substack") and depth < _DEEPEST_INCLUDE:
            rules += account_rules(rest.split()[0] if rest.split() else "", directory, depth + 1)
        elif kind == "account" and rest:
            module, _, arguments = rest.partition(" ")
            rules.append(Rule(module.rpartition("/")[2], arguments.strip()))
    return rules


def _control(text: str) -> tuple[str, str]:
    end = text.find("]") + 1 if text.startswith("[") else len(text.split(None, 1)[0]) if text else 0
    return text[:end], text[end:].strip()


def account_refusal(user: str, address: str, scratch: Path, service: str = "sshd") -> DiagnosedError | None:
    """Return why PAM would keep an account out, with the rule that does.

    Args:
        user: The account, which exists.
        address: Where its client connects from.
        scratch: An empty directory for rules that are asked one by one.
        service: The file of the rules.
    """
    refusal = _ask(_CONFIGURATION, service, user, address)
    if refusal is None:
        return None
    guilty = [rule for rule in account_rules(service) if _refuses_alone(rule, user, address, scratch)]
    named = ", ".join(f"{rule.module} {rule.arguments}".strip() for rule in guilty)
    hints = [_HINTS[rule.module].format(user=user) for rule in guilty if rule.module in _HINTS]
    seen = f"{refusal} by {named or 'the rules together'} in {_CONFIGURATION / service}"
    change = (
        "; ".join(dict.fromkeys(hints))
        or f"change the account rules of {_CONFIGURATION / service} for {user}"
    )
    return DiagnosedError("sshd_pam_refused", seen, user=user, change=change)


def _refuses_alone(rule: Rule, user: str, address: str, scratch: Path) -> bool:
    if rule.module in _NOT_ASKED_ALONE:
        return False
    (scratch / "rule").write_text(f"account required {rule.module} {rule.arguments}\n", encoding="utf-8")
    return _ask(scratch, "rule", user, address) is not None


def _ask(directory: Path, service: str, user: str, address: str) -> str | None:
    """Return what PAM answers, None if it lets in or cannot be asked here."""
    command = [sys.executable, "-c", _PROGRAM, str(directory), service, user, address]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False
        )
    except subprocess.TimeoutExpired:
        return "no answer within 30 s"
    if done.returncode != 0:
        return None
    code, text = json.loads(done.stdout.splitlines()[-1])
    return None if code == 0 else str(text)
