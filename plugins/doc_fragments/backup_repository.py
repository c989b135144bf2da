# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the options that say where backups are and how they are opened."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of the modules that work on a repository of restic."""

    DOCUMENTATION = r"""
options:
  repository:
    description:
      - A directory of the Docker host, C(sftp:user@host:/path), C(sftp://user@host:port//path), or what else restic
        takes.
      - Without O(private_key), an SFTP server is reached with the stack's own client configuration and pinned host
        keys.
    type: str
    required: true
  password:
    description:
      - With which restic encrypts everything. Whoever loses it loses the backups.
    type: str
    required: true
  environment:
    description:
      - What restic reads from its environment, such as C(AWS_ACCESS_KEY_ID).
    type: dict
    default: {}
  private_key:
    description:
      - Text of a private key for the repository's SFTP account, without a passphrase.
    type: str
    default: ""
  known_hosts:
    description:
      - Lines of C(known_hosts) that go with O(private_key).
    type: str
    default: ""
  image:
    description:
      - Image with restic, an SSH client and C(sh), which the engine has already.
    type: str
    required: true
  host:
    description:
      - Name of the Docker host in the repository, which tells stacks of the same project name apart.
    type: str
    required: true
"""
