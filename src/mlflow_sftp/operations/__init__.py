# SPDX-License-Identifier: Apache-2.0
"""What is done with whole stores: copy, prune, audit, read back, re-root, count."""
