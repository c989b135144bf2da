# SPDX-License-Identifier: Apache-2.0
"""Files and directories between this machine and one server."""
