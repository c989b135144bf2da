"""An SFTP server with a defect, in front of the real one: `PROGRAM data|names|statvfs-... COMMAND...`.

data: the last byte of every block read is another one. names: files called hello appear as hullo in listings.
statvfs@openssh.com is announced, and answered by an error (statvfs-unsupported, statvfs-failure), by a packet that
ends too soon (statvfs-short), or by zeros (statvfs-zero).
"""

import os
import struct
import subprocess
import sys
import threading

_DATA = 103
_NAMES = 104
_EXTENDED_REPLY = 201
_STATVFS_SIZE = 93
_STATUSES = {"statvfs-failure": 4, "statvfs-unsupported": 8}


def forward_requests(source: int, target: int) -> None:
    """Copy what the client says."""
    while block := os.read(source, 65536):
        os.write(target, block)
    os.close(target)


def spoil_statvfs(defect: str, packet: bytearray) -> bytearray:
    """Return what a server says instead of what is free."""
    if defect in _STATUSES:
        return bytearray([101]) + packet[1:5] + struct.pack(">II2sI", _STATUSES[defect], 2, b"no", 0)
    if defect == "statvfs-short":
        return packet[:25]
    return packet[:5] + bytes(len(packet) - 5)


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
        if defect.startswith("statvfs") and packet[0] == _EXTENDED_REPLY and len(packet) == _STATVFS_SIZE:
            packet = spoil_statvfs(defect, packet)
        sys.stdout.buffer.write(struct.pack(">I", len(packet)) + packet)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
