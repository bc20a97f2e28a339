"""Arithmetic for as long as a model is trained."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Peaked attention is full of them, and each costs a hundred cycles. Afterwards numbers are whole again."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
