"""WeChat voice message (SILK v3) -> 24 kHz frames."""

from collections.abc import Callable
from typing import BinaryIO

import numpy as np
import pysilk
from numpy.typing import NDArray

RATE = 24_000  # the codec's own highest rate

_MAGIC = b"#!SILK_V3"
_LONGEST_PACKET = 1_250  # the encoder's own limit
_END = -1


def is_silk(head: bytes) -> bool:
    return head.removeprefix(b"\x02").startswith(_MAGIC)


def decode_silk(source: BinaryIO, push: Callable[[NDArray[np.float32], int], None]) -> bool:
    """Decodes up to the end or the first broken packet; true when it was the end."""
    stream = _Stream(source, push)
    try:
        pysilk.decode(stream, stream, RATE)
    except pysilk.SilkError:
        return False
    return not stream.cut_off


class _Stream:
    """What pysilk reads from and writes to.

    Recorders end a message with a length of -1 or in mid-packet; pysilk would take the first for
    "read everything", so packets are measured here and such an end is a plain end of file.
    """

    def __init__(self, source: BinaryIO, push: Callable[[NDArray[np.float32], int], None]) -> None:
        self._source = source
        self._push = push
        self._header_read = False
        self._payload = b""
        self.cut_off = False

    def read(self, size: int) -> bytes:
        if not self._header_read:
            return self._read_header(size)
        if not self._payload:
            return self._next_length()
        payload, self._payload = self._payload, b""
        return payload

    def write(self, pcm: bytes) -> int:
        samples = np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32_768)
        self._push(samples[:, np.newaxis], RATE)
        return len(pcm)

    def _read_header(self, size: int) -> bytes:
        chunk = self._source.read(size)
        self._header_read = chunk.removeprefix(b"\x02") in (_MAGIC, b"3")
        return chunk

    def _next_length(self) -> bytes:
        """The next packet's length field, or nothing at the end."""
        while field := self._source.read(2):
            length = int.from_bytes(field, "little", signed=True)
            if length == _END:
                break
            self._payload = self._source.read(length) if 0 < length <= _LONGEST_PACKET else b""
            if len(self._payload) < length or length < 0:
                self._payload, self.cut_off = b"", True
                break
            if length:
                return field
            self._push(np.zeros((RATE // 50, 1), np.float32), RATE)  # discontinuous transmission: 20 ms of silence
        return b""
