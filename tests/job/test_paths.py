"""Files that a job names relative are found from any folder, and are the same files from all of
them.
"""

from pathlib import Path

import pytest
import yaml

from raydepth.compose.registry import COMPOSITORS
from raydepth.edits.registry import EDITS
from raydepth.errors import JobError
from raydepth.job import Job, load_job
from raydepth.job.paths import locate_files, refuse_missing
from raydepth.layers.fill.registry import FILLERS
from raydepth.layers.things.registry import SEGMENTERS
from raydepth.output.folder import OutputFolder
from raydepth.output.record import check_same_job, record_job
from raydepth.run.submit.packing import pack

NAMED = {
    "input": {"paths": ["clips/a.mp4", "clips/*.mp4", "clips"]},
    "depth": {"model": "models/depth.onnx", "truth": "depth/{frame_index:06d}.png"},
    "layers": {"at": [0.3], "fill": {"method": "diffusion", "model": "models/fill"}},
    "edit": {"kind": "planes", "layers": ["keep", {"replace": "wall.png"}]},
    "compose": {"method": "featglac-kv", "model": "owner/name", "lora": "models/lora.safetensors"},
    "evaluate": {"truth": "true/{stem}/{frame_index}.png"},
    "output": {"path": "out"},
}
FILES = (
    "clips/a.mp4",
    "models/depth.onnx",
    "models/fill/model_index.json",
    "models/lora.safetensors",
    "depth/000000.png",
    "true/a/0.png",
    "wall.png",
)


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def write_job(folder: Path, **sections: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump({"schema_version": 1, **NAMED, **sections}))
    return file


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    """A folder with a job and its files."""
    folder = tmp_path / "a {b} [c]" / "jobs"  # braces and brackets mean something in patterns
    write(folder, *FILES)
    return write_job(folder)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which is another one than the job's."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_every_file_is_found_beside_the_job(jobs: Path, elsewhere: Path):
    job, folder = load_job(jobs), str(jobs.parent)
    refuse_missing(job, jobs)
    braces = folder.replace("{b}", "{{b}}")
    assert job.input.paths[0] == f"{folder}/clips/a.mp4"
    assert job.input.paths[2] == f"{folder}/clips"
    assert job.depth.model == f"{folder}/models/depth.onnx"
    assert job.depth.truth == f"{braces}/depth/{{frame_index:06d}}.png"
    assert job.depth.truth.format(frame_index=0) == f"{folder}/depth/000000.png"
    assert job.layers.fill.model == f"{folder}/models/fill"
    assert job.edit.layers[1].replace == f"{folder}/wall.png"
    assert job.compose.model == "owner/name"
    assert job.compose.lora == f"{folder}/models/lora.safetensors"
    assert job.evaluate.truth == f"{braces}/true/{{stem}}/{{frame_index}}.png"
    assert job.output.path == "out"
    assert locate_files(job, jobs) == job


def test_every_path_of_the_job_file_is_marked():
    """Whoever adds a field that names a file marks it, or it is found from one folder only."""
    marked = set()

    def walk(section: type, at: str) -> None:
        for name, field in section.model_fields.items():
            if any(type(mark).__name__ == "Names" for mark in field.metadata):
                marked.add(at + name)
            for inner in sections_in(field.annotation):
                walk(inner, f"{at}{name}.")

    def sections_in(annotation: object) -> list[type]:
        if isinstance(annotation, type):
            return [annotation] if hasattr(annotation, "model_fields") else []
        return [s for part in getattr(annotation, "__args__", ()) for s in sections_in(part)]

    walk(Job, "")
    for registry in (COMPOSITORS, EDITS, FILLERS, SEGMENTERS):
        for name in registry:
            walk(registry[name].settings, f"{registry.field.rpartition('.')[0]}.")
    assert marked == {
        "input.paths",
        "depth.model",
        "depth.truth",
        "layers.things",
        "layers.things.masks",
        "layers.segmenter.model",
        "layers.segmenter.model.encoder",
        "layers.segmenter.model.decoder",
        "layers.segmenter.detector",
        "layers.fill.model",
        "edit.object",
        "edit.segment.model",
        "edit.segment.model.encoder",
        "edit.segment.model.decoder",
        "edit.source",
        "edit.layers.replace",
        "compose.model",
        "compose.lora",
        "compose.ip_adapter.model",
        "evaluate.truth",
    }


def test_what_lies_beside_the_job_goes_before_the_current_folder(jobs: Path, elsewhere: Path):
    write(elsewhere, *FILES)
    assert load_job(jobs).edit.layers[1].replace == f"{jobs.parent}/wall.png"
    (jobs.parent / "wall.png").unlink()
    assert load_job(jobs).edit.layers[1].replace == "wall.png"  # as version 1 had it
    assert load_job(jobs).depth.model == f"{jobs.parent}/models/depth.onnx"


def test_what_set_names_is_looked_up_in_the_current_folder_first(jobs: Path, elsewhere: Path):
    write(elsewhere, "wall.png", "models/depth.onnx")
    overrides = [
        "depth.model=models/depth.onnx",
        "edit={kind: background, source: wall.png}",
        "layers.at=0.3",
        "compose.lora=models/lora.safetensors",
    ]
    job = load_job(jobs, overrides)
    assert job.depth.model == "models/depth.onnx"
    assert job.edit.source == "wall.png"
    assert job.compose.lora == f"{jobs.parent}/models/lora.safetensors"  # not here: beside the job
    assert job.input.paths[0] == f"{jobs.parent}/clips/a.mp4"
    refuse_missing(job, jobs)


def test_names_that_are_no_local_files_stay(tmp_path: Path, elsewhere: Path):
    write(tmp_path / "jobs", "builtin", "#203040", "ab/x.png")
    job = write_job(
        tmp_path / "jobs",
        input={"paths": ["s3://bucket/clips/*.mp4", "/data/a.mp4", "~/b.mp4"]},
        depth={"model": "files:{parent}/{stem}.png", "truth": "{parent}/../d/{pts}.png"},
        layers={},
        edit={"kind": "background", "source": "#203040"},
        compose={"method": "featglac-kv", "model": "builtin", "lora": "owner/lora"},
        evaluate={"truth": "{parent"},
    )
    loaded = load_job(job)
    refuse_missing(loaded, job)
    assert loaded == load_job(job, files_here=False)
    # A hub id is a local directory where there is one of this name.
    write(tmp_path / "jobs", "owner/lora/pytorch_lora_weights.safetensors")
    assert load_job(job).compose.lora == f"{tmp_path}/jobs/owner/lora"


def test_files_in_neither_folder_are_refused_with_both(jobs: Path, elsewhere: Path):
    job = write_job(
        jobs.parent,
        input={"paths": ["gone/*.mp4"]},
        depth={"model": "gone.onnx", "truth": "gone/{frame_index}.png"},
        edit={"kind": "insert", "object": "gone.png", "point": [0.5, 0.5]},
        layers={"fill": {"method": "diffusion", "model": "./gone"}},
    )
    with pytest.raises(JobError) as refused:
        refuse_missing(load_job(job), job)
    lines = str(refused.value).splitlines()
    assert [
        line.split(f" beside the job file ({jobs.parent}) or in {elsewhere}")[0] for line in lines
    ] == [
        "input.paths: 'gone/*.mp4' matches nothing",
        "depth.model: no file or directory gone.onnx",
        "depth.truth: 'gone/{frame_index}.png' matches no file",
        "layers.fill.model: no file or directory ./gone",
        "edit.object: no file gone.png",
    ]


def test_a_folder_is_gone_on_with_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The same job from two folders; one begun by version 1, or by the other of run and submit,
    whose names are relative.
    """
    write(tmp_path / "jobs", *FILES)
    job = write_job(tmp_path / "jobs")
    absolute = load_job(job).tree()
    monkeypatch.chdir(tmp_path)
    assert load_job(job).tree() == absolute
    old = yaml.safe_load(yaml.safe_dump(absolute).replace(f"{tmp_path}/", ""))
    assert old["depth"]["model"] == "jobs/models/depth.onnx"
    assert old["edit"]["layers"][1]["replace"] == "jobs/wall.png"
    other = {**absolute, "depth": {**absolute["depth"], "model": "/x/other.onnx"}}
    out = OutputFolder.at(str(tmp_path / "out"))
    for first, then in ((old, absolute), (absolute, old), (absolute, absolute)):
        record_job(out, first)
        for folder in (tmp_path, tmp_path / "jobs"):
            monkeypatch.chdir(folder)
            check_same_job(out, then)
            with pytest.raises(JobError, match=r"depth\.model"):
                check_same_job(out, other)


def test_a_job_that_lies_elsewhere_is_packed(tmp_path: Path, elsewhere: Path):
    write(tmp_path / "jobs", *FILES)
    job = write_job(tmp_path / "jobs", output={"path": "s3://bucket/out"})
    parcel = pack(load_job(job), limit_mb=1)
    outside = f".outside{tmp_path}/jobs"
    assert sorted(parcel.files) == sorted(f"{outside}/{name}" for name in FILES)
    assert parcel.job.depth.truth == f"{outside}/depth/{{frame_index:06d}}.png"


def test_what_lies_below_the_current_folder_is_packed_under_its_relative_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write(tmp_path / "jobs", *FILES)
    job = write_job(tmp_path / "jobs", output={"path": "s3://bucket/out"})
    monkeypatch.chdir(tmp_path)
    parcel = pack(load_job(job), limit_mb=1)
    assert sorted(parcel.files) == sorted(f"jobs/{name}" for name in FILES)
    assert parcel.job.edit.layers[1].replace == "jobs/wall.png"
    # On the node the parcel's job lies in a hidden folder and finds them in the current one.
    parcel_job = tmp_path / ".raydepth/job.yaml"
    parcel_job.parent.mkdir()
    parcel_job.write_text(yaml.safe_dump(parcel.job.tree()))
    assert load_job(parcel_job) == parcel.job
    everything = load_job(parcel_job, ["input.paths=['.', '*', '**/*.mp4']"])
    parcel_job.write_text(yaml.safe_dump(everything.tree()))
    assert load_job(parcel_job).input.paths == [".", "*", "**/*.mp4"]
