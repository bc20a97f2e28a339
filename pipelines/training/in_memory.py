"""Sound that was made rather than recorded, in the form that the journey reads."""

from models.call import Channel, Recording
from pipelines.training.telephone import Samples

_NOT_A_FILE = "0" * 64


class InMemory:
    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return self._samples.size

    def read(self, start: int, stop: int) -> Samples:
        return self._samples[max(0, start) : stop]


def channel_of(samples: Samples) -> Channel:
    return Channel(0, InMemory(samples))


def recording_of(samples: Samples) -> Recording:
    channel = channel_of(samples)
    return Recording(_NOT_A_FILE, channel.duration, "pcm_f32le", 1, (channel,))
