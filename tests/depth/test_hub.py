"""Checkpoints of the real classes, small and random: kinds, metric outputs, batches, dtypes, and
refusals.
"""

import json
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
import transformers
from huggingface_hub.errors import LocalEntryNotFoundError
from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil

from raydepth.depth.hub import HubDepth
from raydepth.depth.registry import load_depth
from raydepth.depth.settings import Depth
from raydepth.errors import JobError
from tests.depth.tiny import PREPROCESSORS, batch, checkpoint, frames, network

BATCH = 1e-4
"""Of a map, how far batch and single picture may be apart: products over other numbers of rows are
rounded otherwise, which a random network makes 50 times as much of; a picture that reaches
another's map moves it by percents."""
NAMES = ["dpt", "depth_anything", "zoedepth", "zoedepth-two-heads", "depth_pro", "glpn"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    return {name: checkpoint(tmp_path_factory.mktemp(name), name) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_maps_at_working_size_whatever_the_batch(folders, name):
    estimator = load_depth(Depth(model=folders[name]))
    for size in ((60, 100), (90, 64)):  # one estimator, clips of several sizes
        rgb = frames(3, *size)
        maps = estimator(batch(rgb))
        assert maps.shape == (3, *size) and maps.dtype == np.float32 and np.isfinite(maps).all()
        alone = np.concatenate([estimator(batch(rgb[i : i + 1])) for i in range(3)])
        scale = np.abs(maps).max()
        assert np.abs(maps - alone).max() <= BATCH * scale
        swapped = estimator(batch(rgb[[2, 0, 1]]))
        assert np.abs(maps[[2, 0, 1]] - swapped).max() <= BATCH * scale


@pytest.mark.parametrize("name", ["depth_anything", "zoedepth-two-heads"])
def test_an_error_rows_zeros_change_no_other_row(folders, name):
    estimator = load_depth(Depth(model=folders[name]))
    rgb = frames(3, 60, 100)
    whole = estimator(batch(rgb))
    rgb = rgb.copy()
    rgb[1] = 0
    assert np.abs(estimator(batch(rgb))[[0, 2]] - whole[[0, 2]]).max() <= 1e-5 * np.abs(whole).max()


def test_frames_do_not_vote_on_each_others_zoedepth_head(folders):
    """The heads are indoor and outdoor metres; transformers takes one vote for the whole batch."""
    estimator = load_depth(Depth(model=folders["zoedepth-two-heads"]))
    classifier, votes = estimator.model.metric_head.mlp_classifier, []
    classifier.register_forward_hook(lambda module, given, logits: votes.append(logits))
    rgb = frames(3, 60, 100)
    estimator(batch(rgb))
    with torch.no_grad():  # as many frames on this side as on that
        classifier.linear2.bias -= torch.cat(votes).mean(0)
    votes.clear()
    maps = estimator(batch(rgb))
    assert len(set(torch.cat(votes).argmax(1).tolist())) == 2
    for row in range(3):
        assert np.allclose(estimator(batch(rgb[row : row + 1]))[0], maps[row], rtol=BATCH)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("dpt", "disparity_rel"),
        ("depth_anything", "disparity_rel"),
        ("zoedepth", "depth_m"),
        ("depth_pro", "depth_m"),
        ("glpn", "depth_m"),
    ],
)
def test_kind_by_class(folders, name, kind):
    assert load_depth(Depth(model=folders[name])).kind == kind
    assert load_depth(Depth(model=folders[name], kind="depth_rel")).kind == "depth_rel"


def test_the_built_in_model_loads_like_any_other():
    from raydepth.models import builtin

    if not (builtin.path("depth") / "model.safetensors").is_file():
        pytest.skip("the built-in weights are not here")
    estimator = load_depth(Depth(model="builtin"))
    assert estimator.name == "builtin" and estimator.kind == estimator.model.config.raydepth_kind
    maps = estimator(batch(frames(2, 64, 96)))
    assert maps.shape == (2, 64, 96) and np.isfinite(maps).all()


def test_metric_checkpoints_of_relative_classes_and_stated_kinds(tmp_path):
    for name, file in (("metric-anything", "depth_anything"), ("dpt-dinov2", "depth_anything")):
        (tmp_path / name).mkdir()
        assert (
            load_depth(Depth(model=checkpoint(tmp_path / name, name, file=file))).kind == "depth_m"
        )
    (tmp_path / "stated").mkdir()
    stated = checkpoint(tmp_path / "stated", "dpt", raydepth_kind="depth_rel")
    assert load_depth(Depth(model=stated)).kind == "depth_rel"
    assert load_depth(Depth(model=stated, kind="depth_m")).kind == "depth_m"
    checkpoint(tmp_path / "stated", "dpt", raydepth_kind="furlongs")
    with pytest.raises(JobError, match="'furlongs'; allowed: disparity_rel"):
        load_depth(Depth(model=stated))


def test_disparity_is_the_networks_own_answer_resized(folders):
    rgb = frames(2, 60, 100)
    pixels = DPTImageProcessorPil(**PREPROCESSORS["depth_anything"])(
        images=list(rgb), return_tensors="pt"
    )["pixel_values"]
    with torch.inference_mode():
        answer = network("depth_anything").eval()(pixels).predicted_depth
    answer = torch.nn.functional.interpolate(answer[:, None], (60, 100), mode="bilinear")[
        :, 0
    ].numpy()
    ours = load_depth(Depth(model=folders["depth_anything"]))(batch(rgb))
    # A random network amplifies PIL's rounding to whole grey levels.
    assert np.abs(ours - answer).mean() < 0.01 * np.ptp(answer)


def test_depth_pro_gives_metres_from_its_field_of_view(folders):
    """As transformers' post-processing: 1 / (canonical inverse depth * width / focal length)."""
    rgb = frames(2, 60, 100)
    estimator = load_depth(Depth(model=folders["depth_pro"]))
    pixels = estimator.preprocessing.apply(torch.from_numpy(rgb))
    with torch.inference_mode():
        answer = network("depth_pro").eval()(pixels)
    focal = 0.5 * 100 / torch.tan(0.5 * torch.deg2rad(answer.field_of_view))
    inverse = answer.predicted_depth * (100 / focal)[:, None, None]
    inverse = torch.nn.functional.interpolate(inverse[:, None], (60, 100), mode="bilinear")[:, 0]
    metres = (1 / inverse.clamp(1e-4, 1e4)).numpy()
    ours = estimator(batch(rgb))
    assert np.allclose(ours, metres, rtol=1e-4)
    assert (ours > 0).all()


def test_zoedepth_padding_is_gone(folders):
    """The padded border is reflected picture: its map must not be squeezed into the frame."""
    rgb = frames(1, 60, 100)
    estimator = load_depth(Depth(model=folders["zoedepth"]))
    with torch.inference_mode():
        padded = (
            network("zoedepth")
            .eval()(estimator.preprocessing.apply(torch.from_numpy(rgb)))
            .predicted_depth
        )
    whole = torch.nn.functional.interpolate(
        padded[:, None], (60 + 2 * 16, 100 + 2 * 21), mode="bilinear", align_corners=True
    )
    assert np.allclose(estimator(batch(rgb)), whole[:, 0, 16:-16, 21:-21].numpy(), rtol=1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_gives_float32_maps(folders, dtype):
    rgb = frames(2, 60, 100)
    exact = load_depth(Depth(model=folders["depth_anything"]))(batch(rgb))
    estimator = load_depth(Depth(model=folders["depth_anything"]), dtype=dtype)
    assert next(estimator.model.parameters()).dtype == getattr(torch, dtype)
    maps = estimator(batch(rgb))
    assert maps.dtype == np.float32
    assert np.abs(maps - exact).max() < 0.1 * np.abs(exact).max()


def test_a_frame_that_overflows_in_float16_is_repeated_in_float32(folders):
    rgb = frames(2, 60, 100)
    estimator = HubDepth(folders["depth_anything"], dtype="float16")
    forward, dtypes = estimator.model.forward, []

    def overflowing(pixel_values):
        answer = forward(pixel_values=pixel_values)
        dtypes.append(pixel_values.dtype)
        if pixel_values.dtype == torch.float16:
            answer.predicted_depth[1] = torch.inf
        return answer

    estimator.model.forward = overflowing
    maps = estimator(batch(rgb))
    assert np.isfinite(maps).all() and estimator.repeated == (1,)
    assert dtypes == [torch.float16, torch.float32] and estimator.model.dtype == torch.float16


@pytest.mark.parametrize("name", NAMES)
def test_a_frame_that_overflowed_leaves_the_network_as_it_was(folders, name):
    """Repeating in float32 is for that frame: the next clip's depth must not depend on it."""
    rgb = frames(1, 60, 100)
    estimator = HubDepth(folders[name], dtype="float16")
    before = estimator(batch(rgb))
    kinds = {key: value.dtype for key, value in _tensors(estimator)}
    maps, once = estimator._maps, iter([torch.inf])
    estimator._maps = lambda pictures: maps(pictures) + next(once, 0.0)
    estimator(batch(rgb))
    assert estimator.repeated == (0,)
    assert {key: value.dtype for key, value in _tensors(estimator)} == kinds
    assert np.array_equal(estimator(batch(rgb)), before) and estimator.repeated == ()


def _tensors(estimator: HubDepth) -> list[tuple[str, torch.Tensor]]:
    return [*estimator.model.named_parameters(), *estimator.model.named_buffers()]


def test_input_size_sets_what_the_network_sees(folders):
    estimator = load_depth(Depth(model=folders["depth_anything"], input_size=42))
    seen = []
    estimator.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["pixel_values"].shape), with_kwargs=True
    )
    estimator(batch(frames(1, 60, 100)))
    assert seen == [(1, 3, 42, 70)]


def test_depth_pro_has_one_input_size(folders):
    with pytest.raises(JobError, match=r"depth.input_size: .* is a Depth Pro"):
        load_depth(Depth(model=folders["depth_pro"], input_size=256))


def test_a_hub_id_in_the_cache_needs_no_connection(folders, monkeypatch):
    """The id is looked up in the cache only; the preprocessor file comes from there too."""
    asked, real = [], transformers.AutoModelForDepthEstimation.from_pretrained

    def cached(name, *, local_files_only, **more):
        asked.append((name, local_files_only))
        return real(folders["glpn"], local_files_only=True, **more)

    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda name, file, **_: f"{folders['glpn']}/{file}"
    )
    monkeypatch.setattr(transformers.AutoModelForDepthEstimation, "from_pretrained", cached)
    estimator = load_depth(Depth(model="someone/glpn"))
    assert asked == [("someone/glpn", True)] and estimator.name == "someone/glpn"
    assert estimator.preprocessing.multiple_of == 32


def test_a_checkpoint_without_its_head_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = checkpoint(tmp_path, "dpt")
    weights = load_file(tmp_path / "model.safetensors")
    # The first fusion layer's unused unit may be missing, as it is in published checkpoints.
    unused = {name for name in weights if "fusion_stage.layers.0.residual_layer1" in name}
    assert unused
    save_file(
        {name: value for name, value in weights.items() if name not in unused},
        tmp_path / "model.safetensors",
        {"format": "pt"},
    )
    load_depth(Depth(model=folder))
    save_file(
        {name: value for name, value in weights.items() if "head" not in name},
        tmp_path / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(JobError, match=r"lacks .* of its weights .*head"):
        load_depth(Depth(model=folder))


def test_only_safetensors_is_read(tmp_path):
    folder = Path(checkpoint(tmp_path, "dpt"))
    weights = folder / "model.safetensors"
    torch.save(network("dpt").state_dict(), folder / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(JobError, match="safetensors"):
        load_depth(Depth(model=str(folder)))
    weights.write_bytes(b"torn")
    with pytest.raises(JobError, match="cannot be loaded"):
        load_depth(Depth(model=str(folder)))


def test_what_is_not_a_depth_model_is_refused_with_words(tmp_path):
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(JobError, match="cannot be loaded as a depth estimation checkpoint"):
        load_depth(Depth(model=str(tmp_path / "bert")))
    with pytest.raises(JobError, match="no directory here; expected builtin, a hub id"):
        load_depth(Depth(model=str(tmp_path / "nowhere")))
    with pytest.raises(JobError, match="no directory here"):
        load_depth(Depth(model="midas"))


def test_a_hub_id_that_cannot_be_had_says_so(monkeypatch):
    asked = []

    def refuse(name, *, local_files_only, **_):
        asked.append(local_files_only)
        raise OSError("We couldn't connect to 'https://huggingface.co'")

    def absent(name, file, *, local_files_only):
        asked.append(local_files_only)
        raise LocalEntryNotFoundError(f"no {file} in the cache")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", absent)
    monkeypatch.setattr(transformers.AutoModelForDepthEstimation, "from_pretrained", refuse)
    with pytest.raises(
        JobError, match=r"Intel/dpt-large cannot .*couldn't connect.* name a local directory"
    ):
        load_depth(Depth(model="Intel/dpt-large"))
    assert asked[0] and not asked[-1], "the cache is asked first"
    assert asked == sorted(asked, reverse=True)
