# SPDX-License-Identifier: Apache-2.0
"""SFTP on the wire: login, connections, packets, and how much may be in flight."""
