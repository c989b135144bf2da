# SPDX-License-Identifier: Apache-2.0
"""Watching a stack: checks by the clock, metrics of what they found, and a word to somebody when that changes."""
