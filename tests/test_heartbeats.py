"""Who gives no sign of life for a while is dead, whatever its row says."""

import time

from app.heartbeats import Heartbeats


def test_a_worker_lives_while_its_beats_go_on() -> None:
    heartbeats = Heartbeats(timeout_s=0.05)
    assert heartbeats.alive({"a": 7, "b": 1}) == {"a", "b"}
    time.sleep(0.1)
    assert heartbeats.alive({"a": 8, "b": 1}) == {"a"}
    assert heartbeats.alive({"a": 8, "b": 2}) == {"a", "b"}


def test_one_that_was_forgotten_and_comes_back_is_new() -> None:
    heartbeats = Heartbeats(timeout_s=0.05)
    heartbeats.alive({"a": 1})
    assert heartbeats.alive({}) == set()
    time.sleep(0.1)
    assert heartbeats.alive({"a": 1}) == {"a"}
