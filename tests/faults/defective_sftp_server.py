"""An SFTP server with a defect, in front of the real one: `PROGRAM data|names COMMAND...`.

data: the last byte of every block read is another one. names: files called hello appear as hullo in listings.
"""

import os
import struct
import subprocess
import sys
import threading

_DATA = 103
_NAMES = 104


def forward_requests(source: int, target: int) -> None:
    """Copy what the client says."""
    while block := os.read(source, 65536):
        os.write(target, block)
    os.close(target)


def main() -> None:
    """Run the real server and change what it answers."""
    defect, *command = sys.argv[1:]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin is not None
    assert server.stdout is not None
    arguments = (sys.stdin.fileno(), server.stdin.fileno())
    threading.Thread(target=forward_requests, args=arguments, daemon=True).start()
    while header := server.stdout.read(4):
        packet = bytearray(server.stdout.read(struct.unpack(">I", header)[0]))
        if defect == "data" and packet[0] == _DATA:
            packet[-1] ^= 1
        if defect == "names" and packet[0] == _NAMES:
            packet = packet.replace(b"hello", b"hullo")
        sys.stdout.buffer.write(header + packet)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
