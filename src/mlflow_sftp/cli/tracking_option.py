# SPDX-License-Identifier: Apache-2.0
"""The `--tracking-uri` option."""

import click

tracking_option = click.option(
    "--tracking-uri", envvar="MLFLOW_TRACKING_URI", required=True, help="The MLflow server to go through."
)
