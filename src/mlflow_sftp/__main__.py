# SPDX-License-Identifier: Apache-2.0
"""`python -m mlflow_sftp`: the program, where its own command is not on the path."""

from mlflow_sftp.cli.main import main

main(prog_name="mlflow-sftp")
