# SPDX-License-Identifier: Apache-2.0
"""How MLflow's database shows what a round trip has made."""

# Key of the tag of its runs and experiments.
TAG = "mlflow_sftp.roundtrip"
