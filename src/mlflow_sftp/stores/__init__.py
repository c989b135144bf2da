# SPDX-License-Identifier: Apache-2.0
"""Directories that hold artifacts, on this machine or on an SFTP server, behind one interface."""
