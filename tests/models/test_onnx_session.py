"""ONNX sessions run where the job says, with the threads that it gives them."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from raydepth.errors import JobError
from raydepth.layers.fill.bounded import BoundedFiller
from raydepth.models.onnx_session import open_session
from raydepth.run.load import load_worker
from tests.depth.tiny import mean_model, onnx_model
from tests.support.runs import small_job

onnxruntime = pytest.importorskip("onnxruntime")

CUDA = "CUDAExecutionProvider"


@pytest.mark.parametrize("available", [True, False])
def test_a_gpu_job_does_not_fall_back_to_the_cpu_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, available: bool
):
    """Neither where the provider is not there, nor where its libraries cannot be loaded."""
    path = mean_model(tmp_path / "m.onnx", ["n", 3, "h", "w"])
    providers = [CUDA, "CPUExecutionProvider"][not available :]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    fallen_back = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *args, **kwargs: fallen_back)
    why = "cannot load its CUDA provider" if available else "has no CUDA provider"
    with pytest.raises(JobError, match=rf"depth.model: .*m.onnx would run on the CPU.*{why}"):
        open_session(path, "depth.model", device="cuda")
    assert open_session(path, "depth.model") is fallen_back


def test_sessions_have_the_threads_of_the_worker(tmp_path: Path):
    depth = mean_model(tmp_path / "depth.onnx", ["n", 3, "h", "w"])
    inputs: dict[str, list[int | str]] = {"rgb": [1, 3, "h", "w"], "mask": [1, 1, "h", "w"]}
    nodes = [("Add", ["rgb", "mask"], "filled", {})]
    fill = onnx_model(tmp_path / "fill.onnx", nodes, inputs, "filled", [1, 3, "h", "w"])
    job = small_job(
        tmp_path / "v.mp4",
        tmp_path / "out",
        depth__model=depth,
        layers={"fill": {"method": "onnx", "model": fill}},
        run__threads=3,
    )
    models = load_worker(job, device="cpu", dtype="float32")
    assert isinstance(models.filler, BoundedFiller)
    for holder in (models.estimator, models.filler.filler):
        options = holder.session.get_session_options()  # type: ignore[attr-defined]
        assert options.intra_op_num_threads == 3
