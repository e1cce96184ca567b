"""Which exceptions say that memory did not suffice, and which that the process is lost."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
import torch

from raydepth.run import worker as working
from raydepth.run.device_errors import is_out_of_memory, poisons_process
from raydepth.run.tracker import Tracker
from tests.depth.tiny import onnx_model
from tests.support.runs import small_job


def raised(work: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:
        work()
    return caught.value


def test_real_exceptions_of_memory_are_known():
    line = np.zeros((2, 2, 3), np.uint8)
    works: list[Callable[[], object]] = [
        lambda: torch.empty(2**50, dtype=torch.uint8),
        lambda: np.ones(2**50),
        lambda: bytearray(2**62),
        lambda: cv2.resize(line, (2**20, 2**20)),
        lambda: pa.allocate_buffer(2**60),
    ]
    for work in works:
        error = raised(work)
        assert is_out_of_memory(error) and not poisons_process(error), repr(error)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        torch.cuda.OutOfMemoryError("Allocation on device"),
        torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_memory_is_no_poison(error: Exception):
    assert is_out_of_memory(error) and not poisons_process(error)


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously",
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: unspecified launch failure",
        "CUDA error: misaligned address",
        "CUDA error: the launch timed out and was terminated",
        "CUDA error: uncorrectable ECC error encountered",
        "CUDA error: unknown error",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx(handle)`",
        "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
    ],
)
@pytest.mark.parametrize("kind", [RuntimeError, torch.AcceleratorError])
def test_errors_that_leave_no_device_are_known(message: str, kind: type[Exception]):
    assert poisons_process(kind(message)) and not is_out_of_memory(kind(message))


def test_a_code_is_enough_and_a_cause_counts():
    error = torch.AcceleratorError("CUDA error: something new")
    error.error_code = 719
    assert poisons_process(error)
    wrapped = ValueError("this frame cannot be filled")
    wrapped.__cause__ = error
    assert poisons_process(wrapped)
    wrapped.__cause__ = MemoryError()
    assert is_out_of_memory(wrapped) and not poisons_process(wrapped)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("out of memory"),  # of a caption, say
        ValueError("CUDA error: device-side assert triggered"),
        RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
        RuntimeError("CUDA error: no kernel image is available for execution on the device"),
        RuntimeError("misaligned address"),
        FileNotFoundError("out of memory.mp4"),
        cv2.error("(-215:Assertion failed) !ssize.empty()"),
    ],
)
def test_what_a_frame_or_a_job_is_to_blame_for_is_neither(error: Exception):
    assert not poisons_process(error)
    assert not is_out_of_memory(error)


def test_onnxruntimes_errors_are_known(tmp_path: Path):
    onnxruntime = pytest.importorskip("onnxruntime")
    shapes: dict[str, list[int | str]] = {"a": ["n", 1], "b": [1, "n"]}
    path = onnx_model(tmp_path / "m.onnx", [("Add", ["a", "b"], "c", {})], shapes, "c", ["n", "n"])
    line = np.zeros(2**24, np.float32)
    feed = {"a": line[:, None], "b": line[None]}
    assert is_out_of_memory(  # it asks for a petabyte
        raised(lambda: onnxruntime.InferenceSession(path).run(None, feed))
    )
    state = pytest.importorskip("onnxruntime.capi.onnxruntime_pybind11_state")
    for message in (
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running "
        "Conv node. Name:'c' Status Message: bfc_arena.cc:376 Available memory of 1048576 is "
        "smaller than requested bytes of 8388608",
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : bad allocation",
        "CUDA failure 2: out of memory ; GPU=0 ; hostname=h",
        "bfc_arena.cc:342 Failed to allocate memory for requested buffer of size 8388608",
    ):
        error = state.RuntimeException(message)
        assert is_out_of_memory(error) and not poisons_process(error)
    error = state.Fail("CUDA failure 700: an illegal memory access was encountered ; GPU=0")
    assert poisons_process(error)


def test_a_worker_whose_device_is_lost_ends_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """So that Ray replaces it; anything else ends the run in words."""

    class Ended(BaseException):
        pass

    def end() -> None:
        raise Ended

    monkeypatch.setattr(working, "end_process", end)
    for error, outcome in (
        (torch.AcceleratorError("CUDA error: unspecified launch failure"), Ended),
        (OSError("disk full"), OSError),
    ):

        class Broken(working.Worker):
            @staticmethod
            def load(job, error=error):
                raise error

        tracker = Tracker()
        with pytest.raises(outcome):
            Broken(small_job(tmp_path / "v.mp4", tmp_path), None, {}, tracker, None)  # type: ignore[arg-type]
        assert (tracker.failure() is None) == (outcome is Ended)
