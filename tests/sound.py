"""Sound in memory, where a file would say no more."""

import numpy as np
from numpy.typing import NDArray


class InMemory:
    def __init__(self, samples: NDArray[np.float32]) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return self._samples.size

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        return self._samples[max(0, start) : stop]
