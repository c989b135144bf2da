# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the options that say how to reach an SFTP account."""

from __future__ import annotations

import re
from textwrap import indent

_OPTIONS = r"""
host:
  description:
    - Name the server is known by. Host keys are looked up under it.
    - With O(ssh_config_file) it may be an alias that the file resolves.
  type: str
  required: true
port:
  description:
    - TCP port. Defaults to what O(ssh_config_file) says, then V(22).
  type: int
address:
  description:
    - Name or IP address to connect to, if it is not O(host).
  type: str
user:
  description:
    - Login name. Defaults to what O(ssh_config_file) says, then the current user.
  type: str
private_key_file:
  description:
    - Private key on the machine the module runs on. Defaults to what O(ssh_config_file) says, then, unless
      O(password) is given, the usual names in C(~/.ssh).
    - C(FILE-cert.pub) beside it is used as its certificate.
  type: path
private_key:
  description:
    - Private key as a text, which is written nowhere, instead of a file.
  type: str
private_key_passphrase:
  description:
    - Opens an encrypted private key.
  type: str
password:
  description:
    - Password to log in with, for servers that take one.
  type: str
known_hosts_file:
  description:
    - File in which the server's host key must be listed. Defaults to what O(ssh_config_file) says, then,
      unless O(host_key_fingerprints) are given, C(~/.ssh/known_hosts).
  type: path
host_key_fingerprints:
  description:
    - Fingerprints, C(SHA256:...), of which the server's host key must have one.
    - Where a file applies as well, both must agree. The host key is always checked.
  type: list
  elements: str
  default: []
host_key_types:
  description:
    - Types of host keys to ask the server for first, such as V(ssh-rsa), where no file tells.
      With the type of the key that is pinned, one connection is enough.
  type: list
  elements: str
  default: []
ssh_config_file:
  description:
    - OpenSSH client configuration to honour, such as V(~/.ssh/config). Of its keywords count C(HostName),
      C(HostKeyAlias), C(Port), C(User), C(IdentityFile) and C(UserKnownHostsFile).
  type: path
connect_timeout:
  description:
    - Seconds that each step of a connection, and each answer of the server after it, may take.
  type: float
  default: 10
"""


def _below(option: str) -> str:
    """Return the options as suboptions of another, which they then name in front of their own."""
    return re.sub(r"\bO\((?=\w+\))", f"O({option}.", _OPTIONS)


class ModuleDocFragment:
    """Options of every module that logs in over SFTP; module_utils/_sftp/account.py reads them."""

    # Annotated, since ansible-test's yamllint takes every plain assignment here for text without placeholders.
    DOCUMENTATION: str = f"""
options:
{indent(_OPTIONS, "  ")}
requirements:
  - paramiko >= 2.12
notes:
  - The module runs where its task runs, on the controller, on a Docker host or in a container, and sees the
    server from there.
  - Algorithms are those that OpenSSH's client has on by default, as far as paramiko has them. Where a server takes
    only others, C(algorithm_missing_here) or C(no_common_algorithm) names them.
"""

    # For modules that do something else, and look at an account besides.
    EXPECT_ON_SFTP: str = f"""
options:
  expect_on_sftp:
    description:
      - An SFTP account where the artifacts must be found, byte for byte, before they are deleted.
    type: dict
    suboptions:
      path:
        description:
          - Directory on the SFTP server that is the root of C(mlflow-artifacts:/) locations. Not needed for
            C(sftp://) ones.
        type: str
        default: /
{indent(_below("expect_on_sftp"), "      ")}
"""
