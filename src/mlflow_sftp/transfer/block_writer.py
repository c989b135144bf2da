# SPDX-License-Identifier: Apache-2.0
"""A file on the server that is written block by block: in any order over several sessions, or in order in one.

What a server acknowledged may yet be lost: when the file is opened for writing once more (in another session, after a
drop, to take up an unfinished upload) some servers truncate it, and a machine that restarts forgets what it had not
brought to its disk. After any of these the whole file is compared before it gets its name.
"""

import asyncio
import posixpath
from collections.abc import Awaitable, Callable

from mlflow_sftp.errors import (
    ConnectionDroppedError,
    IntegrityError,
    NotFoundError,
    PermissionRefusedError,
    ServerFailureError,
    UnreachableError,
)
from mlflow_sftp.transfer import checksum, temporary_names
from mlflow_sftp.transfer.directories import create_file
from mlflow_sftp.transfer.durability import await_fsync, begin_fsync, names_the_disk
from mlflow_sftp.transfer.handles import SessionHandles, living
from mlflow_sftp.transfer.local_files import FileChangedError
from mlflow_sftp.transfer.progress import OnBytes, ignore_bytes
from mlflow_sftp.transfer.publish import publish
from mlflow_sftp.transfer.remote import Remote
from mlflow_sftp.transfer.server_digest import find_shell
from mlflow_sftp.transfer.ways_of_writing import (
    UnsuitableWayError,
    WayOfWriting,
    needs_proof,
    refused_trait,
)
from mlflow_sftp.uri import decode, encode
from mlflow_sftp.wire.packets import (
    CREATE,
    EXCLUSIVE,
    FX_FAILURE,
    FX_NO_SUCH_FILE,
    TRUNCATE,
    WRITE,
    Attributes,
    SessionLostError,
    StatusError,
)
from mlflow_sftp.wire.session import SftpSession

# The SHA-256 of what was to be written.
Expected = Callable[[], Awaitable[str]]
# So many drops between the proof of a file and its new name are too many.
_MOST_PROOFS = 4
# How long the end of a refused upload waits until its file is closed everywhere.
_CLOSING_SECONDS = 5.0
# What another way of writing may spare; NoSpaceError is none of these.
_REFUSALS = (ServerFailureError, PermissionRefusedError, NotFoundError)


class DroppedInOrderError(Exception):
    """The connection dropped, and what was written in order can not be continued: it begins again."""


class BlockWriter:
    """A temporary file on the server, written block by block, then published.

    In any order: over one or more sessions, and a block is sent again until the server has it. In order: in one
    session, each block at the end of those before; DroppedInOrderError when that session ends. UnsuitableWayError where
    the server does not take the file in this way. Leaving the context before `commit` removes the file, unless `keep`
    is set and it was left because of an interrupt or a lost connection.

    Args:
        name: The temporary name, in the directory of `target`.
        size: Bytes that there will be; 1 where that is not known.
        keep: Others find the unfinished file by its name and take it up.
        begin: Bytes that are there already: the file is not created but opened once more.
        distrusted: The contents are compared in any case.
    """

    def __init__(
        self,
        remote: Remote,
        target: str,
        name: str,
        way: WayOfWriting,
        *,
        size: int = 1,
        keep: bool = False,
        begin: int = 0,
        distrusted: bool = False,
    ) -> None:
        self._remote = remote
        self._traits = remote.connections.traits
        self._way = way
        self._path = target
        self._operation = f"upload {target}"
        self._target = encode(target)
        self._directory = posixpath.dirname(target)
        self._temporary = encode(posixpath.join(self._directory, name))
        self._handles = SessionHandles(lambda session: asyncio.create_task(self._open_again(session)))
        self._place = remote.connections.open_files.place()
        self._tasks: set[asyncio.Task[None]] = set()
        # Nobody waits for it before the file is closed: it may need the place that the file holds.
        self._preparation: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._published = False
        self._keep = keep
        self._size = size
        self._opened_again = begin > 0
        # Only that shows whether a server keeps what it had.
        self._opened_again_with_contents = begin > 0
        self._distrusted = distrusted
        # How far blocks were sent and acknowledged; whether they were sent from the first to the last.
        self._sent = begin
        self._reached = begin
        self._out_of_order = False
        # What is known when all is written: the size that the server tells, in which sessions the file was closed and
        # its contents were compared, and whether it began to get its name.
        self._seen: int | None = None
        self._step_by_step = way is not WayOfWriting.ANY_ORDER
        self._closed_in: SftpSession | None = None
        self._proved_in: SftpSession | None = None
        self._publishing = False
        self._where = self._temporary
        self.block = 0
        self.written = 0

    async def __aenter__(self) -> "BlockWriter":
        self.block = (await self._remote.connections.session()).block
        await self._place.take()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        tasks = [*self._tasks, *([self._preparation] if self._preparation is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._place.give_back()
        interrupted = kind is not None and issubclass(kind, UnreachableError | asyncio.CancelledError)
        abandoned = not self._published and not (self._keep and interrupted)
        if abandoned and not interrupted:
            # On some servers a file that is removed while it is open is there again when it is closed.
            await self._handles.close_and_wait(_CLOSING_SECONDS)
        self._handles.close()
        if abandoned:
            self._remote.connections.send_unawaited(lambda session: session.remove(self._temporary))

    async def create(self) -> None:
        """Create the file; where another upload has one of this name already, under a name of its own."""
        if self._way is WayOfWriting.ANY_ORDER:
            try:
                await self._create(EXCLUSIVE)
            except ServerFailureError:
                self._handles.forget()
            else:
                return
        # A new name, so that there is nothing to be spared: some know no EXCLUSIVE.
        self._keep = False
        self._temporary = self._where = encode(posixpath.join(self._directory, temporary_names.temporary()))
        await self._create(TRUNCATE)

    async def open_in(self, session: SftpSession) -> None:
        """Open the file in one more session, where it is not open yet."""
        await self._handles.get(session)

    async def write(
        self, offset: int, data: bytes | memoryview, preferred: SftpSession | None = None
    ) -> None:
        """Write one block, in the session `preferred` while that lives, and return when the server has it."""

        async def put(session: SftpSession) -> None:
            used = living(preferred, session)
            await used.write(await self._handles.get(used), offset, data)

        if self._failure is not None:
            raise self._failure
        self._out_of_order = self._out_of_order or offset != self._sent
        self._sent = max(self._sent, offset + len(data))
        try:
            await self._remote.attempt(
                self._operation, put, progress=lambda: self.written, needs=self._size - self.written
            )
        except _REFUSALS as error:
            raise UnsuitableWayError(refused_trait(self._way), error) from error
        self.written += len(data)
        self._reached = max(self._reached, offset + len(data))

    async def submit(self, offset: int, data: bytes | memoryview, on_bytes: OnBytes = ignore_bytes) -> None:
        """Begin to write one block as soon as the link carries it; a failure is raised later."""
        if self._failure is not None:
            raise self._failure
        acknowledge = await self._remote.connections.congestion_window.acquire(len(data))
        task = asyncio.create_task(self.write(offset, data))
        self._tasks.add(task)

        def written(done: "asyncio.Task[None]") -> None:
            self._tasks.discard(done)
            error = None if done.cancelled() else done.exception()
            delivered = not done.cancelled() and error is None
            acknowledge(delivered=delivered)
            self._failure = self._failure or error
            if delivered:
                on_bytes(len(data))

        task.add_done_callback(written)

    async def commit(
        self,
        size: int,
        expected: Expected,
        *,
        compare: bool = False,
        has_changed: Callable[[], bool] = lambda: False,
    ) -> None:
        """Wait for all blocks, see that all is there and give the file its name.

        The contents are compared with what is `expected` where that is asked for or may be needed. A difference is the
        source's where that `has_changed`: FileChangedError.
        """
        self._distrusted = self._distrusted or compare
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._failure is not None:
            raise self._failure

        async def finish(session: SftpSession) -> bool:
            return await self._finish(session, size)

        for _ in range(_MOST_PROOFS):
            try:
                self._published = await self._remote.attempt(self._operation, finish)
            except _REFUSALS as error:
                if self._publishing:
                    raise
                raise UnsuitableWayError(refused_trait(self._way), error) from error
            if self._published:
                return
            await self._prove(expected, has_changed)
        raise ConnectionDroppedError(
            self._operation, self._remote.name, "the connection dropped again and again"
        )

    async def _create(self, how: int) -> None:
        async def begin(session: SftpSession) -> None:
            creating = asyncio.create_task(self._create_in(session, how))
            self._handles.add(session, creating)
            if self._keep and self._traits.honours_exclusive is None:
                await asyncio.sleep(0)
                await self._try_exclusive(
                    session, creating, session.open(self._temporary, WRITE | CREATE | how)
                )
            await creating

        await self._remote.attempt(self._operation, begin)

    async def _create_in(self, session: SftpSession, how: int) -> bytes:
        def request() -> Awaitable[bytes]:
            return create_file(self._remote, session, self._temporary, self._directory, how)

        # With EXCLUSIVE a refusal says that there is such a file.
        return await (request() if how == EXCLUSIVE else self._place.open(request))

    async def _try_exclusive(
        self, session: SftpSession, first: "asyncio.Future[bytes]", second: "asyncio.Future[bytes]"
    ) -> None:
        """Learn whether an upload can have a name of its own, from a second attempt to create the same file."""
        created = await first
        try:
            handle = await second
        except StatusError as error:
            if error.code != FX_NO_SUCH_FILE:
                self._traits.honours_exclusive = True
            return
        self._traits.honours_exclusive = False
        for each in (created, handle):
            session.close_handle(each)
        session.remove(self._temporary)
        raise StatusError(FX_FAILURE, "the file was created twice")

    async def _open_again(self, session: SftpSession) -> bytes:
        """Open the file in one more session, or after a drop."""
        if self._way is not WayOfWriting.ANY_ORDER:
            raise DroppedInOrderError
        if not self._opened_again:
            self._preparation = asyncio.create_task(find_shell(self._remote, self._directory))
        self._opened_again = True
        acknowledged = self._reached
        self._opened_again_with_contents = self._opened_again_with_contents or acknowledged > 0
        try:
            handle = await session.open(self._temporary, WRITE)
        except StatusError as error:
            refusal = ServerFailureError(
                self._operation, self._remote.name, f"the file cannot be opened again: {error}"
            )
            raise UnsuitableWayError("opens_twice", refusal) from error
        if acknowledged and self._traits.answers_fstat is not False:
            session.fstat(handle).add_done_callback(lambda answer: self._look_for_loss(answer, acknowledged))
        return handle

    def _look_for_loss(self, answer: "asyncio.Future[Attributes]", acknowledged: int) -> None:
        """See early that bytes are gone: the proof would find it when all is sent."""
        if answer.cancelled() or answer.exception() is not None:
            return
        size = answer.result().size
        if size is not None and size < acknowledged:
            self._failure = self._failure or self._loss(
                f"the server has {size} bytes where it acknowledged {acknowledged}"
            )

    async def _finish(self, session: SftpSession, size: int) -> bool:
        """Close the file, look at its size and publish it; False where its contents are to be compared first."""
        try:
            if self._closed_in is None:
                self._seen = await self._close(session)
                self._closed_in = session
                self._place.give_back()
            if self._seen != size and self._where == self._temporary:
                told_before = self._seen
                self._seen = (await session.stat(self._temporary)).size
                if self._seen == size and told_before is not None:
                    self._traits.answers_fstat = self._traits.answers_fstat or False
            if self._seen not in (None, size):
                raise self._loss(f"{size} bytes were sent and the server has {self._seen}")
            if self._must_prove(session):
                return False
            if self._where == self._temporary:
                self._publishing = True
                await publish(session, self._temporary, self._target)
        except StatusError as error:
            if error.code != FX_NO_SUCH_FILE or self._where == self._target:
                raise
            # Published already: by this process before a drop took the answer, or by another that resumed.
            self._seen, self._where, self._opened_again = None, self._target, True
            return False
        return True

    async def _close(self, session: SftpSession) -> int | None:
        """Bring the file to the disk and close it everywhere; return its size, or None where that is not told yet."""
        handle = await self._handles.get(session)
        if self._step_by_step or self._traits.keeps_order is False:
            await await_fsync(
                self._remote, session, self._temporary, begin_fsync(self._remote, session, handle)
            )
            await self._all_closed(session, self._handles.close())
            return None
        synced = begin_fsync(self._remote, session, handle)
        attributes = session.fstat(handle) if self._traits.answers_fstat is not False else None
        closing = self._handles.close()
        try:
            await await_fsync(self._remote, session, self._temporary, synced)
        except StatusError as error:
            if names_the_disk(error):
                raise
            self._step_by_step = True  # CLOSE may have been faster.
            return await self._close(session)
        await self._all_closed(session, closing)
        try:
            return None if attributes is None else (await attributes).size
        except StatusError:
            self._traits.answers_fstat = self._traits.answers_fstat or False
            return None

    @staticmethod
    async def _all_closed(session: SftpSession, closing: "list[asyncio.Future[None]]") -> None:
        for answer in closing:
            try:
                await answer
            except SessionLostError:
                if not session.alive:
                    raise

    def _must_prove(self, session: SftpSession) -> bool:
        needed = needs_proof(
            opened_again=self._opened_again,
            dropped=session is not self._closed_in,
            size_known=self._seen is not None,
            distrusted=self._distrusted,
        )
        return needed and self._proved_in is not session

    async def _prove(self, expected: Expected, has_changed: Callable[[], bool]) -> None:
        """Compare the whole file on the server with what was to be written."""
        session = await self._remote.connections.session()
        try:
            path = decode(self._where)
            sent, found = await asyncio.gather(
                expected(), checksum.sha256(self._remote, path, size=self._reached)
            )
            if sent != found:
                found = await checksum.sha256(self._remote, path, sent, self._reached)
        except NotFoundError:
            if self._where == self._target:
                raise
            self._seen = None  # Somebody else published it.
            return
        except (PermissionRefusedError, ServerFailureError) as error:
            # Nobody can tell what is there: a way that needs no proof is left, where this was the fast one.
            raise UnsuitableWayError("keeps_contents", error) from error
        if sent != found and has_changed():
            raise FileChangedError
        if sent != found:
            raise self._loss(f"its SHA-256 on the server is {found}, that of what was sent is {sent}")
        self._proved_in = session
        if self._opened_again and self._where == self._temporary:
            self._traits.opens_twice = True
            self._traits.keeps_contents = self._opened_again_with_contents or self._traits.keeps_contents
            self._traits.writes_anywhere = self._out_of_order or self._traits.writes_anywhere

    def _loss(self, seen: str) -> UnsuitableWayError:
        remedy = "Send it again; if this repeats, the server loses what it acknowledged."
        error = IntegrityError(self._operation, self._remote.name, seen, remedy)
        self._traits.keeps_contents = self._traits.keeps_contents or False
        return UnsuitableWayError("keeps_contents", error)
