"""ONNX file -> the model as it is served on CPUs."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray

from models.errors import ModelNotFound

Item = TypeVar("Item")


class OnnxModel:
    """Each core works on a batch of its own: keep it so small that what is made of it stays in the core's cache.

    Safe to share between threads.
    """

    def __init__(self, file: Path, setting: str, name: str, threads: int = 0) -> None:
        """0 threads: all cores. Raises ModelNotFound of `setting`, which `name`d the model."""
        import onnxruntime  # noqa: PLC0415 - seconds to load, and not needed on a GPU

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # the arena never gives back what one long batch took
        try:
            self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelNotFound(setting, name, f"{file.name} cannot be loaded ({error})") from error
        self._inputs = [entry.name for entry in self._session.get_inputs()]
        self._cores = ThreadPoolExecutor(threads or len(os.sched_getaffinity(0)))

    def map(self, arrays_of: Callable[[Item], Mapping[str, NDArray[Any]]], batches: Iterable[Item]) -> Iterator[Any]:
        """The first output for every batch, in order. `arrays_of`: a batch -> the inputs by name, and others."""

        def output(batch: Item) -> Any:
            arrays = arrays_of(batch)
            return self._session.run(None, {name: arrays[name] for name in self._inputs})[0]

        return self._cores.map(output, batches)
