#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module: prove with MLflow's own client that artifacts are stored and come back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_artifact_roundtrip
short_description: Send artifacts through MLflow and prove that they come back
version_added: 1.0.0
author:
  - FreeGee engineering (@freegee)
description:
  - Creates a run, logs several kinds of files, lists and downloads them, compares their SHA-256, and deletes
    all of it again, also when a step failed.
  - Runs where MLflow and C(mlflow_sftp) are installed, such as in a container of the stack, and sees
    the server and the storage from there.
  - Fails if C(sftp://) locations are not handled by C(mlflow_sftp).
  - The bytes can be read back from the SFTP server past MLflow, with O(expect_on_sftp) from the same place,
    or with O(cleanup=false) and M(freegee.mlflow_sftp.sftp_digest) from another.
  - MLflow only marks runs and experiments as deleted. M(freegee.mlflow_sftp.mlflow_roundtrip_purge) removes those
    of this module for good, C(mlflow gc) those of everybody.
extends_documentation_fragment:
  - freegee.mlflow_sftp.attributes
  - freegee.mlflow_sftp.connection.expect_on_sftp
attributes:
  check_mode:
    support: partial
    details:
      - In check mode the MLflow server is asked whether it answers, and nothing is created or deleted.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - With O(cleanup=false) each call leaves a run.
options:
  state:
    description:
      - With V(present), make the round trip.
      - With V(absent), delete a run that an earlier round trip left, and its artifacts.
    type: str
    choices: [present, absent]
    default: present
  run_id:
    description:
      - The run to delete. Required with O(state=absent).
    type: str
  tracking_uri:
    description:
      - Tracking server to use. Defaults to the environment variable E(MLFLOW_TRACKING_URI).
    type: str
  experiment:
    description:
      - Name of the experiment to use. It is created if it does not exist, and then may be shared by several round
        trips at once. It stays.
      - Without it, a new one is used, which has the server's present artifact location.
    type: str
  size:
    description:
      - Size in bytes of the largest file logged.
    type: int
    default: 1048576
  cleanup:
    description:
      - Whether to delete the run and its artifacts at the end. An experiment that was created because
        O(experiment) is not given goes with its run.
      - With V(false) they stay only if the round trip succeeded.
    type: bool
    default: true
  access:
    description:
      - How clients are meant to reach artifacts. The round trip fails if the run's location is of the other kind.
      - With V(direct), they use the storage themselves, and locations name it, such as C(sftp://).
      - With V(proxied), they go through the MLflow server, and locations are C(mlflow-artifacts:/).
      - Without it, either is fine.
    type: str
    choices: [direct, proxied]
  earlier_runs:
    description:
      - Whether to see as well that the MLflow server can still read what was stored before, after a change of
        the store, for one. It is made to list the artifacts of the latest run at each place where experiments
        keep theirs.
    type: bool
    default: false
requirements:
  - mlflow >= 3.17
  - mlflow-sftp
  - paramiko >= 2.12, for O(expect_on_sftp)
notes:
  - Unless they are set, E(MLFLOW_HTTP_REQUEST_MAX_RETRIES) is taken as 2, E(MLFLOW_HTTP_REQUEST_TIMEOUT) as 20
    and E(MLFLOW_SFTP_RETRY_TIMEOUT) as 5, so that a server that is down is reported soon. With proxied artifacts
    the MLflow server is as patient as its own settings say.
seealso:
  - module: freegee.mlflow_sftp.sftp_digest
"""

EXAMPLES = r"""
- name: Round trip in a container, bytes read back over SFTP
  freegee.mlflow_sftp.mlflow_artifact_roundtrip:
    expect_on_sftp:
      host: sftp.example.org
      ssh_config_file: ~/.ssh/config
      path: /agent.example.org/artifacts
  delegate_to: mlflow_container

- name: Leave the run, to read it back from elsewhere
  freegee.mlflow_sftp.mlflow_artifact_roundtrip:
    cleanup: false
  delegate_to: notebook_container
  register: roundtrip

- name: Remove the run
  freegee.mlflow_sftp.mlflow_artifact_roundtrip:
    state: absent
    run_id: "{{ roundtrip.run_id }}"
  delegate_to: notebook_container
"""

RETURN = r"""
run_id:
  description: The run.
  returned: when there is one
  type: str
artifact_uri:
  description: Where its artifacts are or were.
  returned: when there is one
  type: str
files:
  description: What was logged.
  returned: when files were logged
  type: list
  elements: dict
  contains:
    path:
      description: Artifact path.
      type: str
    size:
      description: Size in bytes.
      type: int
    sha256:
      description: Hexadecimal SHA-256.
      type: str
times:
  description: Seconds of each step done.
  returned: always
  type: dict
  sample: {reach: 0.02, create: 0.05, log: 0.3, list: 0.1, download: 0.2, read_back: 0.2, delete: 0.1}
read_back:
  description: Whether the bytes were read back over SFTP and are those logged.
  returned: success with O(state=present)
  type: bool
left_behind:
  description: What could not be cleaned up after the failure.
  returned: failure of the round trip and of the cleaning up
  type: str
cause:
  description: Code of the cause, see C(docs/troubleshooting.md).
  returned: failure
  type: str
seen:
  description: What was observed.
  returned: failure
  type: str
remedy:
  description: What to change.
  returned: failure
  type: str
"""

import contextlib
import os
import posixpath
import time
import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._diagnosis.causes import DiagnosedError
from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.options import CONNECTION_OPTIONS

try:
    from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.account import (
        account_from_options,
    )
    from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.digest import (
        compare,
        digest_tree,
    )
    from ansible_collections.freegee.mlflow_sftp.plugins.module_utils._sftp.session import sftp_session

    from mlflow_sftp.errors import RoundTripError
    from mlflow_sftp.light_import import import_mlflow

    import_mlflow()

    from mlflow_sftp.operations.client_waits import shorten_waits
    from mlflow_sftp.operations.round_trip import LoggedFile, RoundTrip, sftp_path

    LIBRARY_ERROR = None
except ImportError:
    LIBRARY_ERROR = traceback.format_exc()


def read_back(trip: RoundTrip, files: list[LoggedFile], account: dict) -> None:
    """Compare what the SFTP server holds with what was logged.

    Raises:
        RoundTripError: artifacts_elsewhere.
        DiagnosedError: bytes_differ_on_server, and those of the SFTP session.
    """
    directory = sftp_path(trip.artifact_uri, account["path"])
    start = time.monotonic()
    try:
        with sftp_session(account_from_options(account)) as sftp:
            found = digest_tree(sftp, directory)
    except FileNotFoundError:
        found = []
    except OSError as error:
        raise DiagnosedError("artifact_store_failed", f"while reading back over SFTP: {error}") from error
    trip.seconds["read_back"] = round(time.monotonic() - start, 4)
    differences = compare(found, {file.path: file.sha256 for file in files})
    if differences:
        seen = f"below {directory}: {differences}"
        raise DiagnosedError("bytes_differ_on_server", seen, uri=trip.artifact_uri)


def make(trip: RoundTrip, options: dict, result: dict) -> None:
    """Make the round trip, leaving the run only if it succeeded and is wanted."""
    keep = False
    try:
        trip.start(options["experiment"], options["access"], keep=not options["cleanup"])
        files = trip.log(options["size"])
        result["files"] = [file._asdict() for file in files]
        trip.check(files)
        if options["expect_on_sftp"]:
            read_back(trip, files, options["expect_on_sftp"])
        result["read_back"] = bool(options["expect_on_sftp"])
        keep = not options["cleanup"]
    except (DiagnosedError, RoundTripError):
        clean_up_after_failure(trip, options["expect_on_sftp"], result)
        raise
    if not keep:
        clean_up(trip, options["expect_on_sftp"])
    result["changed"] = keep


def clean_up(trip: RoundTrip, account: dict | None) -> None:
    """Delete the run; with an account at hand, the directories MLflow leaves behind empty as well."""
    trip.remove()
    if account is None or trip.run is None:
        return
    run_directory = posixpath.dirname(sftp_path(trip.artifact_uri, account["path"]))
    empty = [run_directory] + [posixpath.dirname(run_directory)] * trip.removed_experiment
    with sftp_session(account_from_options(account)) as sftp, contextlib.suppress(OSError):
        for directory in empty:
            sftp.rmdir(directory)


def clean_up_after_failure(trip: RoundTrip, account: dict | None, result: dict) -> None:
    """Remove what there is; the first failure is the one to report."""
    try:
        clean_up(trip, account)
    except (DiagnosedError, RoundTripError) as error:
        result["left_behind"] = error.seen


def run(module: AnsibleModule, trip: RoundTrip, result: dict) -> None:
    """Do what the options ask for."""
    trip.reach()
    if module.check_mode:
        module.exit_json(
            changed=module.params["state"] == "absent" or not module.params["cleanup"],
            times=trip.seconds,
            msg="Check mode: the MLflow server answers; nothing was logged.",
        )
    if module.params["state"] == "present":
        make(trip, module.params, result)
        if module.params["earlier_runs"]:
            trip.check_earlier_runs()
    else:
        trip.resume(module.params["run_id"])
        result["changed"] = trip.is_active
        clean_up(trip, module.params["expect_on_sftp"])


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "run_id": {"type": "str"},
            "tracking_uri": {"type": "str"},
            "experiment": {"type": "str"},
            "size": {"type": "int", "default": 1048576},
            "cleanup": {"type": "bool", "default": True},
            "access": {"type": "str", "choices": ["direct", "proxied"]},
            "earlier_runs": {"type": "bool", "default": False},
            "expect_on_sftp": {
                "type": "dict",
                "options": {"path": {"type": "str", "default": "/"}, **CONNECTION_OPTIONS},
            },
        },
        required_if=[("state", "absent", ["run_id"])],
        supports_check_mode=True,
    )
    if LIBRARY_ERROR:
        module.fail_json(
            msg=missing_required_lib("mlflow, mlflow-sftp and paramiko"), exception=LIBRARY_ERROR
        )
    shorten_waits(sftp=5, http=20)
    tracking_uri = module.params["tracking_uri"] or os.environ.get("MLFLOW_TRACKING_URI")
    result: dict = {"changed": False}
    trip = None
    try:
        if not tracking_uri:
            raise DiagnosedError("mlflow_no_tracking_uri", "MLFLOW_TRACKING_URI is not set")
        trip = RoundTrip(tracking_uri)
        run(module, trip, result)
    except (DiagnosedError, RoundTripError) as error:
        known = diagnose(error).with_facts({"tracking_uri": tracking_uri})
        module.fail_json(
            msg=f"Artifact round trip failed: {known}. {known.remedy}",
            cause=known.cause.code,
            seen=known.seen,
            remedy=known.remedy,
            **describe(trip),
            **result,
        )
    module.exit_json(**describe(trip), **result)


def diagnose(error: Exception) -> DiagnosedError:
    """Return the collection's form of an error, whose remedy names its variables and playbooks."""
    if isinstance(error, DiagnosedError):
        return error
    assert isinstance(error, RoundTripError)
    return DiagnosedError(error.cause, error.seen, **({"uri": error.uri} if error.uri else {}))


def describe(trip: RoundTrip | None) -> dict:
    """Return what is known about the run."""
    if trip is None:
        return {"times": {}}
    if trip.run is None:
        return {"times": trip.seconds}
    return {"times": trip.seconds, "run_id": trip.run.info.run_id, "artifact_uri": trip.artifact_uri}


if __name__ == "__main__":
    main()
