"""Bytes -> Ed25519 signature, and keys by the SHA-256 of their public part."""

import hashlib
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from pipelines.evidence.errors import NotAKey


class Signer(Protocol):
    """Whoever vouches for a bundle; the private key stays inside."""

    @property
    def public_key(self) -> Ed25519PublicKey: ...

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        ...


def fingerprint(key: Ed25519PublicKey) -> str:
    """SHA-256 of the key in DER form, in hexadecimal: `openssl pkey -pubin -outform DER | sha256sum`."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def pem(key: Ed25519PublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def read_public_key(text: bytes | str) -> Ed25519PublicKey:
    """From PEM. Raises NotAKey."""
    try:
        key = load_pem_public_key(text.encode() if isinstance(text, str) else text)
    except (ValueError, UnsupportedAlgorithm):
        raise NotAKey("no public key in it") from None
    if not isinstance(key, Ed25519PublicKey):
        raise NotAKey("a key of another kind")
    return key


def signed_by(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True
