# SPDX-License-Identifier: Apache-2.0
"""SFTP on the wire: login, connections, packets, and how much may be in flight."""

from mlflow_sftp.wire.asyncssh_loading import load_asyncssh

# Before any module of this room imports it.
load_asyncssh()
