# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the options that say how a stack is laid out on its Docker host."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of the modules that work on a deployed stack."""

    DOCUMENTATION = r"""
options:
  directory:
    description:
      - The stack's directory on the Docker host, with C(compose.yml) and C(.env).
    type: path
    required: true
  local_root:
    description:
      - Where the containers have the local store.
    type: path
    default: /mlruns
  config_dir:
    description:
      - Where the containers have the SSH client's configuration.
    type: path
    default: /etc/mlflow_sftp
  key_dir:
    description:
      - Where the containers have the private key.
    type: path
    default: /run/secrets/mlflow_sftp_key
  uid:
    description:
      - User id of the containers' user.
    type: int
    default: 10001
  gid:
    description:
      - Group id of the containers' user.
    type: int
    default: 10001
requirements:
  - docker (client of the engine), with its plugin compose
"""
