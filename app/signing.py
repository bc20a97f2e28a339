"""The key that vouches for evidence bundles: a file in the data folder, made on first use."""

import os
import stat
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from app.config import CannotStart, Settings

_NAME = "evidence-signing-key.pem"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class KeyFile:
    """A pipelines.evidence.signature.Signer."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @property
    def public_key(self) -> Ed25519PublicKey:
        return self._key.public_key()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


def key_file(settings: Settings) -> Path:
    return settings.data_dir / _NAME


def signer(settings: Settings) -> KeyFile:
    """Made on first use; two programs that start at once get the same. Raises CannotStart, naming the file."""
    path = key_file(settings)
    try:
        if not path.exists():
            _make(path)
        return KeyFile(_read(path))
    except OSError as error:
        raise CannotStart(f"{path}: {error.strerror}; evidence bundles cannot be signed") from error


def known_key(settings: Settings) -> Ed25519PublicKey | None:
    """The public key if there is one already; makes none. Raises CannotStart as `signer` does."""
    return signer(settings).public_key if key_file(settings).exists() else None


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".{_NAME}.{uuid4().hex}")
    content = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # A link and no rename: whoever comes second must not replace a key that has signed something.
        with suppress(FileExistsError):
            os.link(made, path)
    finally:
        made.unlink()


def _read(path: Path) -> Ed25519PrivateKey:
    if path.stat().st_mode & _OTHERS:
        raise CannotStart(f"{path}: others may read this private key; run chmod 600 on it, or replace the key")
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise CannotStart(f"{path}: not an Ed25519 private key in PEM form; restore it from a backup")
    return key
