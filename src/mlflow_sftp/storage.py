# SPDX-License-Identifier: Apache-2.0
"""A directory on an SFTP server, for ordinary synchronous code and any number of threads."""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator
from typing import Any, BinaryIO, TypeVar

from mlflow_sftp import event_loop
from mlflow_sftp.settings import Settings
from mlflow_sftp.transfer import checksum, directories, download, listing, removal, upload
from mlflow_sftp.transfer.listing import Entry
from mlflow_sftp.transfer.progress import OnBytes, ignore_bytes
from mlflow_sftp.transfer.remote import Remote
from mlflow_sftp.transfer.stream_bridge import StreamBridge
from mlflow_sftp.uri import SftpUri
from mlflow_sftp.wire.connections import connections

__all__ = ["Entry", "SftpStorage"]

T = TypeVar("T")
_STREAM_CHUNK = 1 << 20
_ENTRIES_AT_ONCE = 1000


class SftpStorage:
    """Files below an sftp:// URI.

    Nothing is connected before the first operation; all objects of one process with the same endpoint share the
    connection. Paths are relative to the URI ("" is that directory itself). `report(count)` is called from another
    thread with the number of bytes done since the last call. Operations raise mlflow_sftp.errors.SftpError.
    """

    def __init__(self, uri: str, settings: Settings | None = None) -> None:
        self.uri = SftpUri.parse(uri)
        self._settings = settings or Settings.from_environment()
        self._current: Remote | None = None

    def __repr__(self) -> str:
        return f"SftpStorage({str(self.uri)!r})"

    def connect(self) -> dict[str, object]:
        """Connect if not connected and return what is known: seconds to set up and of one round trip, limits."""
        return self._run(_describe)

    def list_directory(self, path: str = "") -> list[Entry] | None:
        """Entries of one directory, sorted; [] for a file; None where there is nothing."""
        return self._run(lambda remote: listing.list_directory(remote, self.uri.join(path)))

    def stat(self, path: str = "") -> Entry | None:
        """The file or directory `path` (links followed), or None where there is nothing."""

        async def stat(remote: Remote) -> Entry | None:
            found = await remote.stat(self.uri.join(path))
            return found and Entry(path, found.is_directory, found.size, found.mtime)

        return self._run(stat)

    def walk(self, path: str = "") -> Iterator[Entry]:
        """Yield everything below a directory, a directory before its contents; NotFoundError where there is none."""
        entries: Any = None

        async def next_entries(remote: Remote) -> list[Entry]:
            nonlocal entries
            if entries is None:
                entries = listing.walk(remote, self.uri.join(path))
            batch = []
            async for entry in entries:
                batch.append(entry)
                if len(batch) == _ENTRIES_AT_ONCE:
                    break
            return batch

        async def finish(_: Remote) -> None:
            await entries.aclose()

        try:
            while batch := self._run(next_entries):
                yield from batch
        finally:
            self._run(finish)

    def upload(self, source: str, path: str, report: OnBytes = ignore_bytes) -> None:
        """Upload one local file as `path`."""
        self._run(lambda remote: upload.put_file(remote, source, self.uri.join(path), report))

    def upload_tree(self, source: str, path: str = "", report: OnBytes = ignore_bytes) -> None:
        """Upload everything below the local directory `source` into the directory `path`."""
        self._run(lambda remote: upload.put_tree(remote, source, self.uri.join(path), report))

    def upload_stream(self, stream: BinaryIO, path: str) -> None:
        """Upload what a stream holds, without staging it."""
        bridge = self._stream_bridge(path)
        try:
            while chunk := stream.read(_STREAM_CHUNK):
                if (waiting := bridge.put(chunk)) is not None:
                    waiting.result()
            bridge.finish().result()
        except BaseException:
            bridge.cancel().result()
            raise

    async def upload_chunks(self, chunks: AsyncIterable[bytes], path: str) -> None:
        """Upload chunks that come on the caller's own event loop, taken no faster than the server takes them."""
        bridge = self._stream_bridge(path)
        try:
            async for chunk in chunks:
                if (waiting := bridge.put(chunk)) is not None:
                    await asyncio.wrap_future(waiting)
            await asyncio.wrap_future(bridge.finish())
        except BaseException:
            await asyncio.wrap_future(bridge.cancel())
            raise

    def download(self, path: str, target: str, report: OnBytes = ignore_bytes) -> None:
        """Download one file to the local file `target`, whose directory must exist."""
        self._run(lambda remote: download.get_file(remote, self.uri.join(path), target, report))

    def download_tree(self, path: str, target: str, report: OnBytes = ignore_bytes) -> None:
        """Download everything below the directory `path` into the local directory `target`."""
        self._run(lambda remote: download.get_tree(remote, self.uri.join(path), target, report))

    def sha256(self, path: str) -> str:
        """SHA-256 (hexadecimal) of a file as the server has it: asked of the server if it can tell, else read."""
        return self._run(lambda remote: checksum.sha256(remote, self.uri.join(path)))

    def make_directory(self, path: str = "") -> None:
        """Make a directory and those above it."""
        self._run(lambda remote: directories.make_directory(remote, self.uri.join(path)))

    def remove(self, path: str = "") -> bool:
        """Remove a file, a link (not its target) or a directory with all it holds; False where there is nothing."""
        return self._run(lambda remote: removal.remove(remote, self.uri.join(path)))

    def _stream_bridge(self, path: str) -> StreamBridge:
        target = self.uri.join(path)

        async def consume(chunks: AsyncIterable[bytes]) -> None:
            await upload.put_stream(await self._remote(), chunks, target)

        return StreamBridge(consume)

    def _run(self, work: Callable[[Remote], Awaitable[T]]) -> T:
        async def run() -> T:
            return await work(await self._remote())

        return event_loop.run(run())

    async def _remote(self) -> Remote:
        shared = await connections(self.uri.endpoint, self._settings)
        if self._current is None or self._current.connections is not shared:
            self._current = Remote(shared, self.uri.path)
        return self._current


async def _describe(remote: Remote) -> dict[str, object]:
    await remote.connections.session()
    connection = await remote.connections.connected()
    return {
        "setup_seconds": round(connection.setup, 3),
        "round_trip_seconds": round(connection.session.round_trip, 4),
        "server": str(connection.ssh.get_extra_info("server_version", "")),
        "cipher": str(connection.ssh.get_extra_info("send_cipher", "")),
        "block_bytes": connection.session.block,
        "open_files": connection.session.max_handles,
        "atomic_replace": connection.session.replaces_atomically,
    }
