# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the values of an inventory's variables, all of it at once, before anything is asked or changed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.acme import acme_warnings
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.addresses import (
    bind_problem,
    gateway_bind,
    is_reached,
    stack_bind,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.amounts import (
    EXPECTED,
    parse_amount,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.clients import client_problems
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.dask import dask_problems
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.database import database_problems
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.gateway import gateway_problems
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.key_file import KeyFile
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.monitor import monitor_problems
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.paths import path_problem
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.ports import port_problems
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.swarm import swarm_problems
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._inputs.truth import FALSE, TRUE, is_true
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.key_text import (
    KeyTextError,
    parse_key_text,
    public_line,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.public_key import PublicKey
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._keys.user_certificate import (
    certificate_problem,
)
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._users.users import (
    password_problem,
    service_permission_problems,
    user_problems,
)

Values = Mapping[str, Any]
Specs = Mapping[str, Mapping[str, Any]]

_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_VERSION = re.compile(r"\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?(\+[a-z\d]+(\.[a-z\d]+)*)?")
_KEY_SOURCES = (
    "sftp_private_key (text, from a vault), sftp_private_key_file (a file on the controller) "
    "or sftp_client_generate_key"
)


def value_problems(
    given: Values,
    specs: Specs,
    key_file: KeyFile | None = None,
    new_key_file: KeyFile | None = None,
    certificate_file: KeyFile | None = None,
    gateway_certificate_file: KeyFile | None = None,
    gateway_key_file: KeyFile | None = None,
    server_ca_file: KeyFile | None = None,
    acme_ca_file: KeyFile | None = None,
) -> list[str]:
    """Return a sentence for each value that no role can use.

    Args:
        given: What the inventory and the command line say, by name.
        specs: The options of all roles, from their argument_specs.yml; where nothing is given, the default counts.
        key_file: What sftp_private_key_file names, if it names anything.
        new_key_file: What mlflow_rotate_private_key_file names, if it names anything.
        certificate_file: What sftp_certificate_file names, if it names anything.
        gateway_certificate_file: What mlflow_gateway_certificate_file names, if it names anything.
        gateway_key_file: What mlflow_gateway_key_file names, if it names anything.
        server_ca_file: What mlflow_stack_server_ca_file names, if it names anything.
        acme_ca_file: What mlflow_gateway_acme_ca_file names, if it names anything.
    """
    wrong = {
        name: text
        for name in specs
        if name in given and (text := _wrong_type(name, given[name], specs[name]))
    }
    # What is of the wrong kind is not looked at twice.
    usable = _usable(given, specs, wrong)
    found = [*wrong.values()]
    for check in (
        _paths,
        _addresses,
        _ports,
        _exposure,
        _users,
        _pins,
        _database,
        _package,
        _monitor,
        _dask,
        _amounts,
        _swarm,
    ):
        found += check(usable, wrong)
    found += _key(usable, wrong, key_file)
    found += _key_file("mlflow_rotate_private_key_file", new_key_file)
    found += _certificate(usable, certificate_file, key_file)
    found += client_problems(usable, server_ca_file)
    return [*found, *gateway_problems(usable, gateway_certificate_file, gateway_key_file, acme_ca_file)]


def value_warnings(given: Values, specs: Specs) -> list[str]:
    """Return a sentence for each value with which a role succeeds only where something else helps."""
    wrong = {name for name in specs if name in given and _wrong_type(name, given[name], specs[name])}
    return list(acme_warnings(_usable(given, specs, wrong)))


def _usable(given: Values, specs: Specs, wrong: Collection[str]) -> dict[str, Any]:
    defaults = {name: option["default"] for name, option in specs.items() if "default" in option}
    return defaults | {
        name: value for name, value in given.items() if name not in wrong and value is not None
    }


def _wrong_type(name: str, value: Any, option: Mapping[str, Any]) -> str:
    kind = option.get("type", "str")
    choices = option.get("choices")
    if value is None:
        # Where nothing is needed, nothing is as good as an empty text.
        missing = f"{name} has no value; give one, or leave the variable out."
        return missing if option.get("required") or option.get("default") else ""
    # What may hold a password stays out of the message.
    shown = "..." if option.get("no_log") or kind == "dict" else value
    if kind == "bool" and str(value).lower() not in (*TRUE, *FALSE):
        return f"{name} is '{value}'; expected true or false."
    if kind == "int" and not re.fullmatch(r"-?\d+", str(value)):
        return f"{name} is '{value}'; expected a number."
    if kind == "list" and not _is_list(value):
        return f'{name} is text; expected a list: [{shown}], or -e \'{{"{name}": ["{shown}"]}}\' on the command line.'
    if kind == "dict" and not isinstance(value, Mapping):
        return f"{name} is no mapping; expected names with values."
    if choices:
        return _not_chosen(name, value if kind == "list" else [value], choices)
    return ""


def _not_chosen(name: str, values: Sequence[Any], choices: Sequence[Any]) -> str:
    for value in values:
        if value not in choices:
            nearest = get_close_matches(str(value), [str(choice) for choice in choices], n=1)
            hint = f" Did you mean {nearest[0]}?" if nearest else ""
            allowed = ", ".join(str(choice) or "''" for choice in choices)
            return f"value of {name} must be one of: {allowed}, got: {value}.{hint}"
    return ""


def _paths(values: Values, wrong: Mapping[str, str]) -> Iterator[str]:
    for name in ("mlflow_stack_dir", "sftp_client_dir", "artifact_storage_local_root", "sftp_path"):
        value = values.get(name)
        # Only what is given as it is: defaults are templates.
        if not isinstance(value, str) or "{{" in value:
            continue
        if problem := path_problem(value, without_spaces=name == "sftp_path"):
            yield f"{name} is '{value}'; {problem}"


def _addresses(values: Values, wrong: Mapping[str, str]) -> Iterator[str]:
    bind = stack_bind(values)
    if problem := bind_problem(bind):
        yield f"mlflow_stack_bind is '{bind}'; {problem}"


def _ports(values: Values, wrong: Mapping[str, str]) -> Iterator[str]:
    return port_problems(values)


def _exposure(values: Values, wrong: Mapping[str, str]) -> Iterator[str]:
    """An address that others reach takes TLS, which the gateway alone has, and a login."""
    if is_true(values.get("mlflow_stack_insecure")):
        return
    no_login = values.get("mlflow_stack_auth", "none") == "none"
    bind = stack_bind(values)
    if is_reached(bind):
        yield (
            f"mlflow_stack_bind is {bind}, where others reach MLflow without TLS"
            f"{' and without a login' if no_login else ''}. Leave it at 127.0.0.1 and put a gateway in front "
            "(mlflow_gateway_hostname) with a login (mlflow_stack_auth: basic), or insist with "
            "mlflow_stack_insecure: true."
        )
    bind = gateway_bind(values)
    if values.get("mlflow_gateway_hostname") and no_login and is_reached(bind):
        yield (
            f"mlflow_gateway_bind is {bind}, where others reach MLflow without a login. Set mlflow_stack_auth: basic, "
            "bind the gateway to 127.0.0.1, or insist with mlflow_stack_insecure: true."
        )


def _users(values: Values, wrong: Mapping[str, str]) -> Iterator[str]:
    login = values.get("mlflow_stack_auth", "none") == "basic"
    # One that is generated is empty here.
    admin_password = values.get("mlflow_stack_auth_admin_password") or ""
    if admin_password and (problem := password_problem(admin_password)):
        yield f"mlflow_stack_auth_admin_password: the administrator {problem}"
    seconds = int(values.get("mlflow_stack_auth_cache_ttl", 0))
    if seconds < 0:
        yield f"mlflow_stack_auth_cache_ttl is {seconds}; expected a number of seconds, or 0 to remember no password."
    permissions = values.get("mlflow_stack_auth_service_permissions") or []
    for problem in service_permission_problems(permissions):
        yield f"mlflow_stack_auth_service_permissions: each service {problem}"
    yield from user_problems(values.get("mlflow_stack_users") or [], login)


def _pins(values: Values, wrong: Mapping[str, str]) -> Iterator[str]:
    name = "sftp_host_key_fingerprints"
    pins = values.get(name, [])
    if (
        "sftp_host" not in values
        or name in wrong
        or (values.get("sftp_host_key_policy") == "accept_new" and not pins)
    ):
        return
    if not pins:
        yield (
            f"No pin for the host key of [{values.get('sftp_host')}]:{values.get('sftp_port')}: {name} is empty. "
            "Ask whoever runs the server for the SHA256 fingerprint and put it there; playbooks/pin_host_key.yml "
            "shows what the server offers, to compare. (sftp_host_key_policy=accept_new trusts the first key seen.)"
        )
    for pin in pins:
        if not _FINGERPRINT.fullmatch(str(pin)):
            yield (
                f"'{pin}' in {name} is no SHA256 fingerprint. Expected the form that `ssh-keygen -lf` prints: "
                "SHA256: followed by 43 characters."
            )


def _database(values: Values, wrong: Mapping[str, str]) -> Iterator[str]:
    return database_problems(
        str(values.get("mlflow_stack_backend_store", "sqlite")),
        str(values.get("mlflow_stack_postgres_image") or ""),
        values.get("mlflow_stack_memory_limits") or {},
    )


def _package(values: Values, wrong: Mapping[str, str]) -> Iterator[str]:
    version = values.get("mlflow_stack_package_version") or ""
    if not isinstance(version, str):
        yield (
            f"mlflow_stack_package_version is the number {version}, which need not be the version that was written. "
            "Put it into quotes."
        )
    elif version and not _VERSION.fullmatch(version):
        yield f"mlflow_stack_package_version is '{version}'; expected a version of mlflow-sftp, as 1.2.0."


def _monitor(values: Values, wrong: Mapping[str, str]) -> Iterator[str]:
    return monitor_problems(values, is_true(values.get("mlflow_stack_monitor", False)))


def _dask(values: Values, wrong: Mapping[str, str]) -> Iterator[str]:
    return dask_problems(values, is_true(values.get("mlflow_stack_dask", False)))


def _swarm(values: Values, wrong: Mapping[str, str]) -> Iterator[str]:
    return swarm_problems(values)


def _amounts(values: Values, wrong: Mapping[str, str]) -> Iterator[str]:
    for name in ("mlflow_stack_capacity_warn", "mlflow_stack_capacity_refuse"):
        if name in values and parse_amount(str(values[name])) is None:
            yield f"{name} is '{values[name]}'; {EXPECTED}."
    quota = int(values.get("sftp_target_quota_bytes", 0))
    if quota < 0:
        yield f"sftp_target_quota_bytes is {quota}; expected a number of bytes, or 0 for no quota."
    for name in (name for name in values if name.startswith("mlflow_tidy_") and name.endswith("_days")):
        if int(values[name]) < 0:
            yield f"{name} is {values[name]}; expected a number of days, or 0 to keep everything."
    if int(values.get("mlflow_tidy_limit_hours", 1)) < 1:
        yield f"mlflow_tidy_limit_hours is {values['mlflow_tidy_limit_hours']}; expected a number of hours, 1 or more."


def _key(values: Values, wrong: Mapping[str, str], file: KeyFile | None) -> Iterator[str]:
    if "sftp_host" not in values:
        return
    text = str(values.get("sftp_private_key") or "")
    generated = is_true(values.get("sftp_client_generate_key"))
    sources = [bool(text), file is not None, generated]
    if "sftp_client_generate_key" not in wrong and sources.count(True) != 1:
        several = "More than one key" if any(sources) else "No key"
        yield f"{several} for {values.get('sftp_user')}@{values.get('sftp_host')}. Set exactly one of {_KEY_SOURCES}."
    yield from _key_file("sftp_private_key_file", file)
    if text:
        yield from _text_problem("The private key in sftp_private_key", text)


def _key_file(name: str, file: KeyFile | None) -> Iterator[str]:
    if file is None:
        return
    if "\n" in file.path or "PRIVATE KEY" in file.path:
        belongs = " The text belongs in sftp_private_key." if name == "sftp_private_key_file" else ""
        yield f"{name} holds the text of a key; it names a file.{belongs}"
        return
    if file.problem:
        yield f"No key: {name} is {file.path}, and {file.problem}."
        return
    if file.mode & 0o077:
        yield (
            f"{file.path} has mode {file.mode:04o}: others can read the private key. Run `chmod 600 {file.path}`, "
            "and make a new key if others may have read it."
        )
    yield from _text_problem(f"The private key in {file.path}", file.text)


def _certificate(values: Values, file: KeyFile | None, key_file: KeyFile | None) -> Iterator[str]:
    if file is None:
        return
    if file.problem:
        yield f"No certificate: sftp_certificate_file is {file.path}, and {file.problem}."
        return
    text = str(values.get("sftp_private_key") or "") or (key_file.text if key_file else "")
    if not text:
        yield "sftp_certificate_file is for a key that is given: sftp_private_key or sftp_private_key_file."
        return
    try:
        key = PublicKey(*public_line(text).split())
    except KeyTextError:
        # Of the key itself, another sentence tells.
        return
    if problem := certificate_problem(file.text, str(values.get("sftp_user")), key):
        yield f"The certificate in {file.path} {problem}."


def _text_problem(subject: str, text: str) -> Iterator[str]:
    try:
        parse_key_text(text)
    except KeyTextError as error:
        yield f"{subject} {error}."


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
