# SPDX-License-Identifier: Apache-2.0
"""MLflow's database, and where it keeps artifact locations."""
