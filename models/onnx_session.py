"""ONNX file -> a session for CPUs, as all models are served."""

import os
from pathlib import Path
from typing import Any

from models.errors import ModelNotFound


def cpu_session(file: Path, setting: str, name: str, threads: int) -> Any:
    """0 threads: all cores. Raises ModelNotFound of `setting`, which `name`d the model."""
    import onnxruntime  # noqa: PLC0415 - seconds to load, and not needed on a GPU

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or available_cores()
    options.enable_cpu_mem_arena = False  # the arena never gives back what one long batch took
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelNotFound(setting, name, f"{file.name} cannot be loaded ({error})") from error


def available_cores() -> int:
    return len(os.sched_getaffinity(0))
