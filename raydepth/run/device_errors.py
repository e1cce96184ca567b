"""What an exception of a model means for its process: memory that did not suffice, or a device that
is lost to it.

Pure functions over exception types and messages, as libraries share no types for either.
"""

import errno
import gc
import re
import sys
from collections.abc import Iterator

_MEMORY = re.compile(
    r"out of memory"  # torch, CUDA, onnxruntime's "CUDA failure 2: out of memory"
    r"|can't allocate memory|not enough memory: you tried to allocate"  # torch on a CPU
    r"|Insufficient memory"  # OpenCV
    r"|Failed to allocate memory for requested buffer|bad allocation|bad_alloc"  # onnxruntime
    r"|Available memory of \d+ is smaller than requested bytes"  # its arenas
    r"|CU(BLAS|DNN|SPARSE|SOLVER)_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)

_POISONED_CODES = frozenset({214, 220, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 999})
"""Codes of the CUDA runtime of which its manual says that the process must be ended: uncorrectable
ECC and NVLink errors, illegal address, launch time-out, destroyed context, assert, hardware stack,
illegal instruction, misaligned address, invalid address space or program counter, launch failures,
unknown."""
_POISONED = re.compile(
    r"device-side assert triggered"
    r"|an illegal memory access was encountered"
    r"|the launch timed out and was terminated"
    r"|unspecified launch failure"
    r"|an illegal instruction was encountered"
    r"|misaligned address"
    r"|operation not supported on global/shared address space"
    r"|invalid program counter"
    r"|hardware stack error"
    r"|uncorrectable (ECC|NVLink) error"
    r"|context is destroyed"
    r"|CUDA (error|failure \d+): unknown error"
    r"|CU(BLAS|SPARSE|SOLVER)_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR|MAPPING_ERROR)"
    r"|CUDNN_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR|MAPPING_ERROR)\w*",
    re.IGNORECASE,
)
_LIBRARY = re.compile(r"CUDA|CUBLAS|CUDNN|CUSPARSE|CUSOLVER|HIP", re.IGNORECASE)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, or what caused it, says that host or device memory did not suffice.

    Half of the batch may fit then. Known are torch, CUDA and its libraries, Python, numpy, OpenCV
    and onnxruntime.
    """
    return any(
        isinstance(cause, MemoryError)
        or any(kind.__name__ == "OutOfMemoryError" for kind in type(cause).__mro__)
        or (isinstance(cause, OSError) and cause.errno == errno.ENOMEM)
        or (_of_library(cause) and _MEMORY.search(str(cause)) is not None)
        for cause in _causes(error)
    )


def poisons_process(error: BaseException) -> bool:
    """Whether an exception, or what caused it, is an error after which every CUDA call of this
    process fails: only a new process can go on.
    """
    return any(
        getattr(cause, "error_code", None) in _POISONED_CODES
        or (
            _of_library(cause)
            and _LIBRARY.search(str(cause)) is not None
            and _POISONED.search(str(cause)) is not None
        )
        for cause in _causes(error)
    )


def release_memory() -> None:
    """Frees what Python and torch hold of tensors that nobody uses any more.

    No exception whose traceback refers to them may be alive.
    """
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _of_library(error: BaseException) -> bool:
    """Whether torch raises such errors, or it is one of OpenCV's or onnxruntime's own."""
    return isinstance(error, RuntimeError) or type(error).__module__.split(".")[0] in (
        "cv2",
        "onnxruntime",
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__
