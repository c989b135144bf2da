# SPDX-License-Identifier: Apache-2.0
"""What a server turned out to be able to do, whatever it says about itself."""

from dataclasses import dataclass
from pathlib import Path

from mlflow_sftp.settings import Settings
from mlflow_sftp.uri import Endpoint


@dataclass(slots=True)
class ServerTraits:
    """What this process has learned about one account on one server; None is what has not been tried yet.

    Each is found out once, where it is first needed, and holds until the process ends. What worked once is not doubted
    because of one refusal, which may be about the file asked for; whoever relies on a trait copes with that.

    Attributes:
        has_shell: Runs commands, which see the files that SFTP shows, so that `sha256sum` can be asked for.
        has_check_file: Answers check-file-name with the hash of a file; some do that do not announce it.
        has_statvfs: Answers statvfs@openssh.com with what is free; some announce it and refuse.
        has_fsync: Answers fsync@openssh.com; some announce it and refuse.
        answers_fstat: FSTAT on an open file tells its size, what was written through that handle and acknowledged
            included; some know nothing of a file before CLOSE.
        answers_fstat_of_read: FSTAT on a file that is open for reading is answered; some configurations forbid it.
        keeps_order: Requests on one handle that travel in one flight are worked on in the order they were sent in;
            servers with many threads answer CLOSE before the READ or WRITE that was sent first.
        opens_twice: A file that is open for writing may be opened for writing once more, or again after a drop.
        keeps_contents: What was written stays when a file is opened for writing again without TRUNCATE.
        writes_anywhere: WRITEs are taken at any offset; an object store takes them at the end only.
        queues_writes: WRITEs may travel in one flight; where not, each waits for the answer to the one before.
        honours_exclusive: Creating a file with EXCLUSIVE is refused where there is one already.
    """

    has_shell: bool | None = None
    has_check_file: bool | None = None
    has_statvfs: bool | None = None
    has_fsync: bool | None = None
    answers_fstat: bool | None = None
    answers_fstat_of_read: bool | None = None
    keeps_order: bool | None = None
    opens_twice: bool | None = None
    keeps_contents: bool | None = None
    writes_anywhere: bool | None = None
    queues_writes: bool | None = None
    honours_exclusive: bool | None = None


_known: dict[tuple[Endpoint, Path | None], ServerTraits] = {}


def server_traits(endpoint: Endpoint, settings: Settings) -> ServerTraits:
    """Return what is known about a server, which all connections of this process to it share.

    One endpoint may mean two servers with two OpenSSH configurations.
    """
    return _known.setdefault((endpoint, settings.ssh_config), ServerTraits())
