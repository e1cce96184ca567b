"""ONNX files as onnxruntime sessions, for depth models and hole fillers; without torch."""

from pathlib import Path
from typing import Any

from raydepth.errors import JobError


def open_session(path: str, field: str, *, device: str = "cpu", threads: int = 2) -> Any:
    """Opens an ``onnxruntime.InferenceSession``.

    Args:
        path: the ``.onnx`` file.
        field: the job's field that named it, for messages.
        device: ``cuda`` takes the CUDA provider where onnxruntime has it.
        threads: threads within one operator; workers share the machine, so few.

    Raises:
        JobError: onnxruntime is not installed, or the file is missing or no ONNX model.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise JobError(
            f"{field}: {path} needs onnxruntime, which is not installed: install raydepth[onnx]"
        ) from error
    if not Path(path).is_file():
        raise JobError(f"{field}: no file {path} (current directory {Path.cwd()})")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    wanted = ["CUDAExecutionProvider"] if device.startswith("cuda") else []
    providers = [name for name in wanted if name in onnxruntime.get_available_providers()] + [
        "CPUExecutionProvider"
    ]
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # onnxruntime's errors share no base class but Exception
        raise JobError(
            f"{field}: {path} is not a model that onnxruntime can read: "
            f"{' '.join(str(error).split())}"
        ) from error


def signature(values: Any) -> str:
    """A model's inputs or outputs in words, for messages."""
    return ", ".join(f"{value.name} {value.type} {value.shape}" for value in values) or "none"
