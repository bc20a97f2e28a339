"""Recordings at rest: AES-256-GCM in chunks, so that any part is read and checked without the rest.

A file is a header (magic, which key, salt) and chunks of 64 KiB, each with its tag. Every file has a key of its own,
derived with its salt, so that chunks may count up as nonces; the last is marked, so that a cut is noticed.
"""

import base64
import binascii
import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import IO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.errors import refusal

_MAGIC = b"CALLAUD1"
_KEY_BYTES = 32
_ID_BYTES = 8
_SALT_BYTES = 16
_HEADER = len(_MAGIC) + _ID_BYTES + _SALT_BYTES
_CHUNK = 64 * 1024
_TAG = 16


class Keyring:
    """The first key locks; all of them open, so that a key can be replaced while old recordings stay readable."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._first = keys[0] if keys else None
        self._by_id = {_id(key): key for key in keys}

    @classmethod
    def read(cls, encoded: str) -> "Keyring":
        """Base64 of 32 bytes, or several of those with commas. Raises ValueError."""
        keys = []
        for part in encoded.split(","):
            try:
                keys.append(base64.b64decode(part.strip(), validate=True))
            except binascii.Error:
                raise ValueError("must be base64 of 32 random bytes, as 'openssl rand -base64 32' prints") from None
            if len(keys[-1]) != _KEY_BYTES:
                raise ValueError(f"must be base64 of 32 random bytes, these are {len(keys[-1])}")
        return cls(keys)

    @property
    def locks(self) -> bool:
        return self._first is not None

    @property
    def opens_anything(self) -> bool:
        return bool(self._by_id)

    def lock(self, plain: IO[bytes], locked: IO[bytes]) -> None:
        """In bounded memory. Only if `locks`."""
        if self._first is None:
            raise RuntimeError("there is no key to lock with")
        salt = os.urandom(_SALT_BYTES)
        cipher = _cipher(self._first, salt)
        locked.write(_MAGIC + _id(self._first) + salt)
        chunk, number = plain.read(_CHUNK), 0
        while True:
            following = plain.read(_CHUNK)
            locked.write(cipher.encrypt(_nonce(number, not following), chunk, None))
            if not following:
                return
            chunk, number = following, number + 1

    def open(self, stored: IO[bytes], start: int, stop: int) -> Iterator[bytes]:
        """Plain bytes from start to stop, of a locked file or one that never was. Raises Refused."""
        header = stored.read(_HEADER)
        if not header.startswith(_MAGIC):
            yield from _as_it_is(stored, start, stop)
            return
        key = self._by_id.get(header[len(_MAGIC) :][:_ID_BYTES])
        if key is None:
            raise refusal(
                503,
                "recording locked",
                "the recording is encrypted with a key that CALLAUDIT_ENCRYPTION_KEY does not hold; add that key to it",
            )
        cipher = _cipher(key, header[-_SALT_BYTES:])
        chunks = max(1, -(-(stored.seek(0, os.SEEK_END) - _HEADER) // (_CHUNK + _TAG)))
        number = start // _CHUNK
        stored.seek(_HEADER + number * (_CHUNK + _TAG))
        while number < chunks and number * _CHUNK < stop:
            try:
                plain = cipher.decrypt(_nonce(number, number == chunks - 1), stored.read(_CHUNK + _TAG), None)
            except InvalidTag:
                raise refusal(
                    500, "recording damaged", "the stored recording was changed or cut off; restore it from a backup"
                ) from None
            yield plain[max(0, start - number * _CHUNK) : stop - number * _CHUNK]
            number += 1


def _as_it_is(stored: IO[bytes], start: int, stop: int) -> Iterator[bytes]:
    stored.seek(start)
    left = stop - start
    while left > 0 and (chunk := stored.read(min(_CHUNK, left))):
        left -= len(chunk)
        yield chunk


def _id(key: bytes) -> bytes:
    return hashlib.sha256(b"callaudit key id" + key).digest()[:_ID_BYTES]


def _cipher(key: bytes, salt: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), _KEY_BYTES, salt, b"callaudit recording").derive(key))


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(8, "big") + (b"\1" if last else b"\0") + bytes(3)
