# SPDX-License-Identifier: Apache-2.0
"""MLflow's door: the artifact repository for sftp:// and its exceptions."""
