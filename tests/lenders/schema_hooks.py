"""What schemathesis cannot know of the service; it loads this by the name in SCHEMATHESIS_HOOKS."""

import itertools
import re
from typing import Any
from uuid import uuid4

import schemathesis

_senders = itertools.count()


@schemathesis.hook
def before_call(_context: Any, case: Any, _arguments: Any) -> None:
    # The service slows down an address that sends no keys. A proxy on its own machine may say for whom it asks.
    sender = next(_senders)
    case.headers["X-Forwarded-For"] = f"10.{sender >> 16 & 255}.{sender >> 8 & 255}.{sender & 255}"
    # A key that fits any request once fits no other after that.
    name = next((name for name in case.headers if name.lower() == "idempotency-key"), None)
    if name and re.fullmatch("[ -~]{1,255}", str(case.headers[name])):
        case.headers[name] = str(uuid4())
