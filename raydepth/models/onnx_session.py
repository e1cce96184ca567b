"""ONNX files as onnxruntime sessions, for depth models and hole fillers; without torch."""

from pathlib import Path
from typing import Any

from raydepth.errors import JobError

CUDA = "CUDAExecutionProvider"


def open_session(path: str, field: str, *, device: str = "cpu", threads: int = 2) -> Any:
    """Opens an ``onnxruntime.InferenceSession``.

    Args:
        path: the ``.onnx`` file.
        field: the job's field that named it, for messages.
        device: ``cuda`` runs it with the CUDA provider, which onnxruntime must have.
        threads: threads within one operator; workers share the machine.

    Raises:
        JobError: onnxruntime is not installed or cannot use the device, or the file is missing or
            no ONNX model.
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
    providers = ["CPUExecutionProvider"]
    if device.startswith("cuda"):
        if CUDA not in onnxruntime.get_available_providers():
            raise JobError(_no_gpu(field, path, "the installed onnxruntime has no CUDA provider"))
        providers.insert(0, CUDA)
    try:
        session = onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # onnxruntime's errors share no base class but Exception
        raise JobError(
            f"{field}: {path} is not a model that onnxruntime can read: "
            f"{' '.join(str(error).split())}"
        ) from error
    # Where the provider's libraries cannot be loaded, onnxruntime takes the next one silently.
    if device.startswith("cuda") and CUDA not in session.get_providers():
        raise JobError(_no_gpu(field, path, "onnxruntime cannot load its CUDA provider"))
    return session


def _no_gpu(field: str, path: str, why: str) -> str:
    return (
        f"{field}: {path} would run on the CPU of a GPU job, as {why}; install onnxruntime-gpu "
        "with the CUDA and cuDNN that it needs, name a model that is no .onnx file, or set "
        "run.gpus_per_worker to 0"
    )


def signature(values: Any) -> str:
    """A model's inputs or outputs in words, for messages."""
    return ", ".join(f"{value.name} {value.type} {value.shape}" for value in values) or "none"
