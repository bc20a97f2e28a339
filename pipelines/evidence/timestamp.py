"""RFC 3161: a request for a timestamp over some bytes, and what a token says about them."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography.x509 import Certificate
from rfc3161_client import (
    HashAlgorithm,
    PKIStatus,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

Stamp = Callable[[bytes], bytes]  # takes the bytes to stamp, gives an authority's TimeStampResp in DER


@dataclass(frozen=True, slots=True)
class Stamped:
    """What a token says. `trusted`: it is signed under one of the roots that were given."""

    at: datetime
    trusted: bool


class WrongTimestamp(Exception):
    """Why a token says nothing about the bytes, in plain words."""


def request(message: bytes) -> tuple[bytes, int]:
    """TimeStampReq in DER over the message's SHA-256, with its nonce."""
    asked = TimestampRequestBuilder().data(message).hash_algorithm(HashAlgorithm.SHA256).build()
    if asked.nonce is None:
        raise RuntimeError("a request was built without its nonce")
    return asked.as_bytes(), asked.nonce


def check(token: bytes, message: bytes, roots: Sequence[Certificate], nonce: int | None = None) -> Stamped:
    """Without roots only that the token speaks of these bytes is known. Raises WrongTimestamp."""
    response = _read(token)
    imprint = response.tst_info.message_imprint.message
    if imprint != hashlib.sha256(message).digest():
        raise WrongTimestamp("it was given for other contents")
    if nonce is not None and response.tst_info.nonce != nonce:
        raise WrongTimestamp("it answers another request")
    if not roots:
        return Stamped(response.tst_info.gen_time, trusted=False)
    verifier = VerifierBuilder(roots=list(roots)).build()
    try:
        verifier.verify_message(response, message)
    except VerificationError as error:
        raise WrongTimestamp(f"it is not signed under a root that is trusted here ({error})") from None
    return Stamped(response.tst_info.gen_time, trusted=True)


def _read(token: bytes) -> TimeStampResponse:
    try:
        response = decode_timestamp_response(token)
        status = PKIStatus(response.status)
    except ValueError as error:
        raise WrongTimestamp(f"it cannot be read ({error})") from None
    if status is not PKIStatus.GRANTED:
        raise WrongTimestamp(f"the authority did not grant it ({status.name.lower()})")
    return response
