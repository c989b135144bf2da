# SPDX-License-Identifier: Apache-2.0
"""The `mlflow-sftp` program, a file for each group of commands."""
