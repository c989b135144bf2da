# SPDX-License-Identifier: GPL-3.0-or-later
"""The hash of a password that HAProxy compares, as crypt(3) makes it with SHA-512 (``$6$``).

Python has had none since 3.13, and the libraries that have it are on few controllers.
"""

from __future__ import annotations

import hashlib

_ROUNDS = 5000
_SALT = 16
_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def sha512_crypt(password: str, salt: str) -> str:
    """Return the hash of a password.

    Args:
        password: Of any length.
        salt: Of letters, digits, dots and slashes; what is beyond 16 characters does not count.
    """
    word, grain = password.encode(), salt[:_SALT].encode()
    state = _first_digest(word, grain)
    words = _repeated(hashlib.sha512(word * len(word)).digest(), len(word))
    grains = _repeated(hashlib.sha512(grain * (16 + state[0])).digest(), len(grain))
    for number in range(_ROUNDS):
        odd = number % 2 == 1
        state = hashlib.sha512(
            (words if odd else state)
            + (grains if number % 3 else b"")
            + (words if number % 7 else b"")
            + (state if odd else words)
        ).digest()
    return f"$6${grain.decode()}${_encoded(state)}"


def salt_of(name: str) -> str:
    """Return a salt that nobody else has, and that is the same whenever it is asked for.

    Args:
        name: What the password is for, such as an address.
    """
    return hashlib.sha256(name.encode()).hexdigest()[:_SALT]


def _first_digest(word: bytes, grain: bytes) -> bytes:
    other = hashlib.sha512(word + grain + word).digest()
    mixed = word + grain + _repeated(other, len(word))
    bits = len(word)
    while bits:
        mixed += other if bits % 2 else word
        bits //= 2
    return hashlib.sha512(mixed).digest()


def _repeated(digest: bytes, length: int) -> bytes:
    return (digest * (length // len(digest) + 1))[:length]


def _encoded(digest: bytes) -> str:
    first, second, third = 0, 21, 42
    text = ""
    while len(text) < 84:
        text += _letters(digest[first] << 16 | digest[second] << 8 | digest[third], 4)
        first, second, third = second + 1, third + 1, first + 1
    return text + _letters(digest[63], 2)


def _letters(number: int, count: int) -> str:
    return "".join(_ALPHABET[number >> 6 * place & 0x3F] for place in range(count))
