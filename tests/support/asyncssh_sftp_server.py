"""asyncssh's own SFTP server as a program: `PROGRAM HOST PORT HOST_KEY AUTHORIZED_KEYS`."""

import asyncio
import contextlib
import sys

import asyncssh


async def main(host: str, port: str, host_key: str, authorized_keys: str) -> None:
    """Serve until a signal comes; paths are those of this machine."""
    await asyncssh.listen(
        host,
        int(port),
        server_host_keys=[host_key],
        authorized_client_keys=authorized_keys,
        sftp_factory=True,
    )
    await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:]))
