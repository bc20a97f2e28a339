"""Traditional characters -> simplified ones."""

from functools import lru_cache

from opencc import OpenCC


def simplified(text: str) -> str:
    return str(_converter().convert(text))


@lru_cache(maxsize=1)
def _converter() -> OpenCC:
    return OpenCC("t2s")  # its tables take a while to load
