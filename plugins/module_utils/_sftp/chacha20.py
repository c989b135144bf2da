# SPDX-License-Identifier: GPL-3.0-or-later
"""The cipher chacha20-poly1305@openssh.com, ssh's first choice, which paramiko does not have.

It hides the length of a packet as well, and counts packets instead of keeping a vector, so that paramiko's code for
AES-GCM fits but for these two: `Packetizer` (in transport.py) hands over the number and swaps the length.
PROTOCOL.chacha20poly1305 of OpenSSH describes it.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.poly1305 import Poly1305

NAME = "chacha20-poly1305@openssh.com"
_LENGTH, _TAG, _HALF = 4, 16, 32
_FIRST_BLOCK, _SECOND_BLOCK = bytes(8), b"\1" + bytes(7)


class ChaCha20Poly1305:
    """One direction of a connection.

    Args:
        key: 64 bytes: the key for content, then the key for lengths.

    Attributes:
        number: Tells the number of the packet that comes next.
        hidden_length: The length of the packet at hand, as it goes over the line.
    """

    def __init__(self, key: bytes) -> None:
        self._content_key, self._length_key = key[:_HALF], key[_HALF:]
        self.number: Callable[[], int] = lambda: 0
        self.hidden_length = b""

    def encrypt(self, _: bytes, content: bytes, length: bytes) -> bytes:
        """Encrypt a packet and its length; return the packet and its tag."""
        self.hidden_length = self._apply(self._length_key, _FIRST_BLOCK, length)
        hidden = self._apply(self._content_key, _SECOND_BLOCK, content)
        return hidden + Poly1305.generate_tag(self._tag_key(), self.hidden_length + hidden)

    def decrypt(self, _: bytes, hidden: bytes, __: bytes) -> bytes:
        """Decrypt a packet with its tag; ValueError where it was changed on the way."""
        content, tag = hidden[:-_TAG], hidden[-_TAG:]
        try:
            Poly1305.verify_tag(self._tag_key(), self.hidden_length + content, tag)
        except InvalidSignature:
            raise ValueError("a packet was changed on the way (Poly1305)") from None
        return self._apply(self._content_key, _SECOND_BLOCK, content)

    def reveal_length(self, start: bytes) -> bytes:
        """Decrypt the length at the start of a packet, of which the rest stays as it is."""
        self.hidden_length = start[:_LENGTH]
        return self._apply(self._length_key, _FIRST_BLOCK, self.hidden_length) + start[_LENGTH:]

    def _tag_key(self) -> bytes:
        return self._apply(self._content_key, _FIRST_BLOCK, bytes(_HALF))

    def _apply(self, key: bytes, block: bytes, data: bytes) -> bytes:
        nonce = block + self.number().to_bytes(8, "big")
        return Cipher(ChaCha20(key, nonce), mode=None).encryptor().update(data)


def is_supported() -> bool:
    """Whether this machine's cryptography has it: not where only FIPS' algorithms are."""
    try:
        ChaCha20Poly1305(bytes(2 * _HALF)).encrypt(b"", b"", bytes(_LENGTH))
    except UnsupportedAlgorithm:
        return False
    return True
