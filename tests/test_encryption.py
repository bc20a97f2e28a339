"""Recordings on disk tell nothing without the key, and tell when they were changed."""

import base64
import io
import os
from hashlib import sha256
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.config import CannotStart, Settings, read_settings
from app.encryption import Keyring
from app.errors import Refused
from app.recordings import Recordings

CHUNK = 64 * 1024
KEY, OTHER = (base64.b64encode(bytes([byte]) * 32).decode() for byte in (1, 2))


def locked(keyring: Keyring, content: bytes) -> bytes:
    file = io.BytesIO()
    keyring.lock(io.BytesIO(content), file)
    return file.getvalue()


def opened(keyring: Keyring, stored: bytes, start: int = 0, stop: int = 2**40) -> bytes:
    return b"".join(keyring.open(io.BytesIO(stored), start, stop))


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 17])
def test_what_is_locked_comes_out_as_it_went_in(size: int) -> None:
    keyring, content = Keyring.read(KEY), os.urandom(size)
    stored = locked(keyring, content)
    assert opened(keyring, stored) == content
    assert content[:64] not in stored or size < 8
    for start, stop in ((0, 1), (1, size), (CHUNK - 5, CHUNK + 5), (size - 1, size), (size, size + 9)):
        if 0 <= start <= stop:
            assert opened(keyring, stored, start, stop) == content[start:stop]


def test_same_recording_looks_different_each_time() -> None:
    keyring = Keyring.read(KEY)
    assert locked(keyring, b"same") != locked(keyring, b"same")


@pytest.mark.parametrize("place", [20, 40, 32 + CHUNK + 20, -1])
def test_changed_byte_is_noticed(place: int) -> None:
    keyring = Keyring.read(KEY)
    stored = bytearray(locked(keyring, bytes(2 * CHUNK)))
    stored[place] ^= 1
    with pytest.raises(Refused, match="changed or cut off"):
        opened(keyring, bytes(stored))


def test_cut_or_lengthened_file_is_noticed() -> None:
    keyring = Keyring.read(KEY)
    stored = locked(keyring, bytes(3 * CHUNK))
    whole_chunk = CHUNK + 16
    for broken in (stored[:-1], stored[:-whole_chunk], stored + bytes(whole_chunk), stored[:40]):
        with pytest.raises(Refused, match="changed or cut off"):
            opened(keyring, broken)


def test_key_can_be_replaced_and_without_it_nothing_opens() -> None:
    stored = locked(Keyring.read(KEY), b"words")
    assert opened(Keyring.read(f"{OTHER},{KEY}"), stored) == b"words"
    for without in (Keyring.read(OTHER), Keyring([])):
        with pytest.raises(Refused, match="CALLAUDIT_ENCRYPTION_KEY"):
            opened(without, stored)


@pytest.mark.parametrize("place", ["recordings", "dir::file://{}/bucket"])
def test_recordings_are_stored_locked_and_read_as_they_came(tmp_path: Path, place: str) -> None:
    plain = Recordings(Settings(data_dir=tmp_path, recordings_url=place_in(tmp_path, place)))
    keep(plain, b"from before there was a key" * 99)
    recordings = Recordings(
        Settings(data_dir=tmp_path, recordings_url=place_in(tmp_path, place), encryption_key=SecretStr(KEY))
    )
    content = os.urandom(1000) * 200
    keep(recordings, content)
    for known in (content, b"from before there was a key" * 99):
        name = sha256(known).hexdigest()
        assert b"".join(recordings.read("north", name, 0, len(known))) == known
        assert b"".join(recordings.read("north", name, 70_000, 70_100)) == known[70_000:70_100]
        with recordings.as_file("north", name) as path:
            assert path.read_bytes() == known
    assert not any(content[:100] in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    recordings.forget("north", sha256(content).hexdigest())
    assert not recordings.has("north", sha256(content).hexdigest())


def place_in(folder: Path, place: str) -> str:
    return place.format(folder) if "{}" in place else str(folder / place)


def keep(recordings: Recordings, content: bytes) -> None:
    received = recordings.incoming / "received"
    received.write_bytes(content)
    recordings.keep(received, "north", sha256(content).hexdigest())
    assert not list(recordings.incoming.iterdir())


@pytest.mark.parametrize("key", ["secret", "c2hvcnQ=", f"{KEY},nonsense"])
def test_key_that_is_none_is_told_without_showing_it(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("CALLAUDIT_ENCRYPTION_KEY", key)
    with pytest.raises(CannotStart, match=r"CALLAUDIT_ENCRYPTION_KEY: .*32 random bytes") as told:
        read_settings()
    assert key not in str(told.value)


def test_key_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert Settings(encryption_key_file=tmp_path / "key").keyring.locks
    with pytest.raises(CannotStart, match="CALLAUDIT_ENCRYPTION_KEY_FILE"):
        _ = Settings(encryption_key_file=tmp_path / "none").keyring
    assert KEY not in repr(Settings(encryption_key=SecretStr(KEY)))
