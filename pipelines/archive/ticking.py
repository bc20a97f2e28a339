"""What comes when it comes -> the same, and a word whenever nothing came for a while."""

from collections.abc import Iterator
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

Item = TypeVar("Item")

_PATIENCE_S = 5


def ticking(items: Iterator[Item], every_s: float) -> Iterator[Item | None]:
    """The items, and None after each `every_s` seconds without one. Raises what they raise.

    They are taken one at a time and only when asked for. A thread that still waits for one holds up nobody for long.
    """
    asked: SimpleQueue[bool] = SimpleQueue()
    answered: SimpleQueue[tuple[Item | None, Exception | None]] = SimpleQueue()

    def take() -> None:
        while asked.get():
            try:
                answered.put((next(items, None), None))
            except Exception as error:  # whatever it is, it is raised where the items are used
                answered.put((None, error))

    taker = Thread(target=take, daemon=True)
    taker.start()
    try:
        while True:
            asked.put(True)
            while (answer := _within(answered, every_s)) is None:
                yield None
            item, error = answer
            if error:
                raise error
            if item is None:
                return
            yield item
    finally:
        asked.put(False)
        taker.join(_PATIENCE_S)


def _within(
    answered: "SimpleQueue[tuple[Item | None, Exception | None]]", seconds: float
) -> tuple[Item | None, Exception | None] | None:
    try:
        return answered.get(timeout=seconds)
    except Empty:
        return None
