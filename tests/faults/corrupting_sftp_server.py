"""An SFTP server behind a broken memory bar: the last byte of every block read is another one."""

import os
import struct
import subprocess
import sys
import threading

_DATA = 103


def forward_requests(source: int, target: int) -> None:
    """Copy what the client says."""
    while block := os.read(source, 65536):
        os.write(target, block)
    os.close(target)


def main() -> None:
    """Run the real server and change what it answers."""
    server = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin is not None
    assert server.stdout is not None
    arguments = (sys.stdin.fileno(), server.stdin.fileno())
    threading.Thread(target=forward_requests, args=arguments, daemon=True).start()
    while header := server.stdout.read(4):
        packet = bytearray(server.stdout.read(struct.unpack(">I", header)[0]))
        if packet[0] == _DATA:
            packet[-1] ^= 1
        sys.stdout.buffer.write(header + packet)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
