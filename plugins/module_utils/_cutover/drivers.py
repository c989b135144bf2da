# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of both runs a stack's services: the one place that asks."""

from __future__ import annotations

from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.compose_driver import ComposeDriver
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.driver import Driver
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.stack import Stack
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._cutover.swarm_driver import SwarmDriver


def driver_of(stack: Stack) -> Driver:
    """Return what runs a stack's services."""
    return SwarmDriver(stack) if stack.project.on_swarm else ComposeDriver(stack)
