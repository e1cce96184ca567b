"""What comes from outside runs no code, opens nothing that nobody named, leaves the output folder never, and is shown as text."""

import ast
import html.parser
import json
import os
import pickle
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import raydepth
from raydepth import builtin
from raydepth.depth.estimator import load_depth
from raydepth.featglac.load import load_models
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.job import Compose, Depth, Job, JobError, load_job, parse_job
from raydepth.models import check_models
from raydepth.store import record
from raydepth.store.folder import OutputFolder
from raydepth.store.ledger import status
from raydepth.store.plan import cut_parts, read_plan, write_plan
from raydepth.summary import rebuild
from tests.clips import write_clip
from tests.depth.tiny import checkpoint, network
from tests.report.made_up import make_report, row
from tests.runs import small_job

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, where the traps would leave `sprung`; it must not be there at the end."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not (tmp_path / "sprung").exists()


class Trap:
    """Unpickling it writes a file."""

    def __reduce__(self) -> tuple:
        return (os.mkdir, ("sprung",))


EVIL_MODULE = "import os\nos.mkdir('sprung')\nclass Evil: pass\n"


def test_the_trap_works(here: Path) -> None:
    pickle.loads(pickle.dumps(Trap()))
    assert (here / "sprung").exists()
    (here / "sprung").rmdir()


# Job files.
@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.mkdir [sprung]",
        "!!python/object/new:os.mkdir [sprung]",
        "!!python/object:os.mkdir {}",
        "!!python/name:os.mkdir",
        "!!python/module:os",
        "!!python/tuple [1]",
        "!<tag:yaml.org,2002:python/object/apply:os.mkdir> [sprung]",
        "!include /etc/passwd",
        "!ENV ${HOME}",
    ],
)
def test_job_files_run_no_code(here: Path, value: str) -> None:
    text = "schema_version: 1\ninput: {paths: [a.mp4]}\noutput: {path: out}\n"
    (here / "job.yaml").write_text(f"{text}depth: {{model: {value}}}\n")
    with pytest.raises(JobError, match="is not YAML"):
        load_job(here / "job.yaml")
    (here / "job.yaml").write_text(text)
    with pytest.raises(JobError, match="is not YAML"):
        load_job(here / "job.yaml", [f"depth.model={value}"])


def job_with(**fields: object) -> Job:
    return small_job(["a.mp4"], Path("out"), **fields)


# Models.
def pickled(path: Path) -> Path:
    """Weights with a trap among them, as torch.save writes them."""
    torch.save({"weight": torch.zeros(2), "trap": Trap()}, path)
    return path


def test_a_depth_model_brings_no_code(here: Path) -> None:
    (here / "model").mkdir()
    folder = Path(checkpoint(here / "model", "dpt"))
    for file in ("config.json", "preprocessor_config.json"):
        config = json.loads((folder / file).read_text())
        config["auto_map"] = {
            name: "evil.Evil" for name in ("AutoConfig", "AutoModelForDepthEstimation", "AutoImageProcessor")
        }
        (folder / file).write_text(json.dumps(config))
    (folder / "evil.py").write_text(EVIL_MODULE)
    with pytest.raises(
        JobError, match=r"wants code of its own \(config\.json: auto_map\), which is never run"
    ):
        check_models(job_with(depth__model=str(folder)))
    load_depth(Depth(model=str(folder), kind="disparity_rel"))  # the library's class, not the folder's
    config = json.loads((folder / "config.json").read_text()) | {
        "model_type": "evil",
        "architectures": ["Evil"],
    }
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(JobError, match="cannot be loaded"):
        load_depth(Depth(model=str(folder), kind="disparity_rel"))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "pytorch_model.bin.index.json"])
def test_pickled_depth_weights_are_refused(here: Path, name: str) -> None:
    (here / "model").mkdir()
    folder = Path(checkpoint(here / "model", "dpt"))
    (folder / "model.safetensors").unlink()
    pickled(folder / name.replace(".index.json", ""))
    if name.endswith(".index.json"):
        shards = {
            "metadata": {},
            "weight_map": dict.fromkeys(network("dpt").state_dict(), "pytorch_model.bin"),
        }
        (folder / name).write_text(json.dumps(shards))
    with pytest.raises(JobError, match=r"holds no \.safetensors weights \(pickled|is damaged or unreadable"):
        check_models(job_with(depth__model=str(folder)))
    with pytest.raises(JobError, match="safetensors"):
        load_depth(Depth(model=str(folder), kind="disparity_rel"))


@pytest.fixture
def pipeline(here: Path) -> Path:
    """A copy of the built-in diffusion model as somebody's directory."""
    shutil.copytree(builtin.path("diffusion"), here / "pipeline")
    return here / "pipeline"


def load_pipeline(folder: Path, **fields: object) -> None:
    load_models(Compose(model=str(folder), **fields), device="cpu", dtype="float32")


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_the_pipeline_loads_as_it_is(pipeline: Path) -> None:
    check_models(job_with(compose__method="featglac-kv", compose__model=str(pipeline)))
    load_pipeline(pipeline)


@pytest.mark.parametrize(
    "values",
    [{"_class_name": ["pipeline", "Evil"]}, {"unet": ["evil", "Evil"]}, {"extra": ["evil", "Evil"]}, {"auto_map": {"x": "evil.Evil"}}],
)  # fmt: skip
def test_a_pipeline_brings_no_code(pipeline: Path, values: dict) -> None:
    change(pipeline / "model_index.json", **values)
    for where in ("pipeline.py", "evil.py", "unet/evil.py", "vae/evil.py"):
        (pipeline / where).write_text(EVIL_MODULE)
    with pytest.raises(JobError, match=r"wants code of its own \(model_index\.json"):
        check_models(job_with(compose__method="featglac-kv", compose__model=str(pipeline)))
    load_pipeline(pipeline)  # had it not been refused, only the known classes would be used


@pytest.mark.parametrize(
    "name", ["DiffusionPipeline", "AutoPipelineForImage2Image", "utils", "Evil", "__name__", "CodecBase"]
)
def test_a_codec_is_a_codec(pipeline: Path, name: str) -> None:
    change(pipeline / "vae" / "config.json", _class_name=name)
    (pipeline / "vae" / "model_index.json").write_text(json.dumps({"_class_name": ["evil", "Evil"]}))
    (pipeline / "vae" / "evil.py").write_text(EVIL_MODULE)
    with pytest.raises(JobError, match="does not load as a Stable-Diffusion-class pipeline"):
        load_pipeline(pipeline)


def test_pickled_unet_weights_are_refused(pipeline: Path) -> None:
    (weights,) = (pipeline / "unet").glob("*.safetensors")
    pickled(weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(JobError, match="safetensors"):
        load_pipeline(pipeline)
    shutil.copy(weights.with_suffix(".bin"), weights)
    with pytest.raises(JobError, match="is damaged or unreadable"):
        check_models(job_with(compose__method="featglac-kv", compose__model=str(pipeline)))
    with pytest.raises(JobError, match="does not load"):
        load_pipeline(pipeline)


def test_a_pickled_text_encoder_is_refused(pipeline: Path) -> None:
    from transformers import CLIPTextConfig

    config = CLIPTextConfig(
        vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    config.save_pretrained(pipeline / "text_encoder")
    pickled(pipeline / "text_encoder" / "pytorch_model.bin")
    with pytest.raises(JobError, match="does not load"):
        load_pipeline(pipeline)


@pytest.mark.parametrize("form", ["lora.bin", "lora.pt", "lora.ckpt", "folder", "lora.safetensors"])
def test_pickled_lora_weights_are_refused(pipeline: Path, here: Path, form: str) -> None:
    lora = here / form
    if form == "folder":
        lora.mkdir()
        pickled(lora / "pytorch_lora_weights.bin")
    else:
        pickled(lora)
    fields = {"compose__method": "featglac-kv", "compose__model": str(pipeline), "compose__lora": str(lora)}
    with pytest.raises(JobError, match=r"compose\.lora: .*(safetensors|damaged)"):
        check_models(job_with(**fields))
    with pytest.raises(JobError, match=r"compose\.lora: .* does not load into this model as LoRA weights"):
        load_pipeline(pipeline, lora=str(lora))


def test_a_lora_file_in_safetensors_is_taken(pipeline: Path, here: Path) -> None:
    (weights,) = (pipeline / "unet").glob("*.safetensors")
    name = next(name for name in load_file(weights) if name.endswith("attn1.to_q.weight")).removesuffix(
        ".weight"
    )
    width = load_file(weights)[f"{name}.weight"].shape
    lora = {
        f"unet.{name}.lora_A.weight": torch.ones(1, width[1]),
        f"unet.{name}.lora_B.weight": torch.ones(width[0], 1),
    }
    save_file(lora, here / "lora.safetensors")
    fields = {
        "compose__method": "featglac-kv",
        "compose__model": str(pipeline),
        "compose__lora": str(here / "lora.safetensors"),
    }
    check_models(job_with(**fields))
    load_pipeline(pipeline, lora=str(here / "lora.safetensors"))


# The source itself.
SOURCES = sorted(Path(raydepth.__file__).parent.rglob("*.py"))
THROUGH_RAY = {"actors.py", "pipeline.py"}
"""Modules that unpickle: segments, parts and columns that raydepth itself pickled and that came through Ray."""


def calls() -> list[tuple[str, str, dict[str, str]]]:
    """File, called name and keyword arguments (as source text) of every call in raydepth."""
    found = []
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                keywords = {str(keyword.arg): ast.unparse(keyword.value) for keyword in node.keywords}
                found.append((file.name, ast.unparse(node.func), keywords))
    return found


def test_no_call_runs_data_as_code() -> None:
    for file, name, keywords in calls():
        where = f"{file}: {name}({keywords})"
        assert name not in (
            "eval",
            "exec",
            "compile",
            "__import__",
            "os.system",
            "os.popen",
            "yaml.unsafe_load",
        ), where
        assert "shell" not in keywords and "True" not in (
            keywords.get("trust_remote_code"),
            keywords.get("allow_pickle"),
        ), where
        if name == "torch.load":
            assert keywords.get("weights_only") == "True", where
        if name == "yaml.load":
            assert file == "strict_yaml.py", where
        if name in ("pickle.load", "pickle.loads", "cloudpickle.loads"):
            assert file in THROUGH_RAY, where
        if name.endswith(".from_pretrained") and not any(
            word in name for word in ("Tokenizer", "Scheduler", "Processor")
        ):
            assert keywords.get("use_safetensors") == "True", where
        if name == "Image.open" and file not in ("card.py", "data.py"):  # which read the training data
            assert "formats" in keywords, where  # Pillow knows formats that run programs


def test_no_module_serves_or_reads_formats_that_run_code() -> None:
    forbidden = {
        "socketserver",
        "http.server",
        "xmlrpc",
        "marshal",
        "shelve",
        "dill",
        "joblib",
        "telnetlib",
        "ftplib",
    }
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not forbidden & set(names), file


# The output folder.
@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="./\\~ab\0\n:%", max_size=12) | st.text(max_size=20))
@example("../x")
@example("a/../../x")
@example("/etc/passwd")
@example("a//../..//x")
@example("./.././x")
def test_no_name_leaves_the_output_folder(name: str) -> None:
    folder = OutputFolder.at("/tmp/somewhere/out")
    try:
        path = folder.path(name)
    except ValueError as error:
        assert "leave the output folder" in str(error)
    else:
        assert os.path.normpath(path).startswith("/tmp/somewhere/out")
        assert (os.path.normpath(path) + "/").startswith("/tmp/somewhere/out/")


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> OutputFolder:
    """An output folder with a plan and records, before its first shard."""
    home = tmp_path_factory.mktemp("output")
    clip = write_clip(home / "clip.mp4", frames=4)
    folder = OutputFolder.at(str(home / "inner" / "out"))
    folder.prepare()
    write_plan(
        folder, cut_parts(plan_segments(probe(str(clip)), size=64), batch=4, shard_frames=4, limit=None), []
    )
    record.record_job(folder, small_job(clip, home / "inner" / "out"))
    return folder


def test_video_ids_are_hexadecimal(output: OutputFolder) -> None:
    assert all(re.fullmatch("[0-9a-f]{16}", video) for video in read_plan(output)["video"].to_pylist())


@pytest.mark.parametrize("video", ["../../../evil", "/tmp/evil", "..", "a/b", "0123456789abcdeF", ""])
def test_a_plan_with_other_ids_is_refused(output: OutputFolder, video: str) -> None:
    plan = read_plan(output)
    changed = plan.set_column(plan.column_names.index("video"), "video", pa.array([video] * len(plan)))
    kept = output.read("segments.parquet")
    sink = pa.BufferOutputStream()
    pq.write_table(changed, sink)
    output.write("segments.parquet", sink.getvalue().to_pybytes())
    try:
        for read in (read_plan, status, rebuild):
            with pytest.raises(JobError, match="its video ids are no ids"):
                read(output)
    finally:
        output.write("segments.parquet", kept)


def test_a_hostile_shard_and_calibration_write_and_read_nothing_elsewhere(output: OutputFolder) -> None:
    home = Path(output.root).parent
    (home / "secret_rgb.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    before = {path for path in home.parent.rglob("*") if not path.is_relative_to(output.root)}
    made = {
        "status": "ok",
        "error_type": "",
        "error_message": "",
        "note": "",
        "attempts": 1,
        "time_s": 0.0,
        "frame_index": 0,
    }
    rows = [
        made | {"frame_id": f"{video}:0", "video": video, "path": path}
        for video in ("../../secret", "/etc", "..")
        for path in ("../../../etc/passwd", "file:///etc/passwd", "https://127.0.0.1/x")
    ]
    schema = pa.schema([("attempts", pa.int32()), ("frame_index", pa.int64()), ("time_s", pa.float64()),
                        *((name, pa.string()) for name in ("frame_id", "video", "path", "status", "error_type", "error_message", "note"))])  # fmt: skip
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink)
    output.write("frames/x/000000-0000.parquet", sink.getvalue().to_pybytes())
    scale = {"estimator": "x", "kind": "depth_m", "lo": 0.0, "hi": 1.0}
    output.write("calibrations.json", json.dumps({"../../evil": {"depth": scale, "planes": [0.5]}}).encode())
    rebuild(output)
    record.read_calibrations(output)
    assert {path for path in home.parent.rglob("*") if not path.is_relative_to(output.root)} == before
    assert not list(
        (Path(output.root) / "report" / "pictures").glob("*")
        if (Path(output.root) / "report" / "pictures").exists()
        else []
    )


# The report.
HOSTILE = [
    "<script>alert(1)</script>.mp4",
    '"><img src=x onerror=alert(1)>.mp4',
    "' onmouseover='alert(1).mp4",
    "javascript:alert(1)//.mp4",
    "</title></pre></style><svg onload=alert(1)>.mp4",
    "{{7*7}}{% raw %}${x}<%= y %>.mp4",
    "two\nlines\r\x00\x1b[31m.mp4",
    "\u202egpj.<b>mp4",
    "&lt;b&gt;&amp;.mp4",
    "$\\frac{1}{0}$ \\input{/etc/passwd}.mp4",
    "-->]]><!--.mp4",
]


class Page(html.parser.HTMLParser):
    """Every tag with the names of its attributes, every link, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self.links: list[str] = []
        self.text = ""
        self.declarations: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag, tuple(sorted(name for name, _ in attrs))] += 1
        self.links += [
            str(value) for name, value in attrs if name in ("href", "src", "action", "srcset", "data")
        ]

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.declarations.append(data)


def built(folder: Path, names: list[str]) -> Page:
    """The page of a run over clips of these names, which also stand in messages, notes, versions, the job and its name."""
    rows = []
    for i, name in enumerate(names):
        rows += [row(f"{i:016x}", index, path=f"/in/{name}") for index in range(6)]
        bad = {"status": "error", "error_type": name[:40], "error_message": f"{name} is broken"}
        rows.append(row(f"{i:016x}", 6, **bad | {"path": f"/in/{name}"}))
    job = {
        "compose": {"prompt": names[0], "method": names[1]},
        "edit": {"kind": names[2]},
        "input": {"paths": names},
    }
    make_report(
        folder, rows, name=names[0], command=f"raydepth run {names[1]}", job_yaml=json.dumps(job),
        machine={"platform": names[0]}, versions={"raydepth": names[1], names[2]: "1"}, errors={name: 1 for name in names},
    )  # fmt: skip
    return Page((folder / "report" / "index.html").read_text(encoding="utf-8"))


def test_the_report_shows_names_as_text(tmp_path: Path) -> None:
    """Hostile names change no tag, no attribute and no link of the page; they are there to be read."""
    plain = built(tmp_path / "plain", [f"clip {i}.mp4" for i in range(len(HOSTILE))])
    hostile = built(tmp_path / "hostile", HOSTILE)
    assert hostile.tags == plain.tags
    assert hostile.links == plain.links
    assert hostile.declarations == plain.declarations
    assert not {tag for tag, _ in hostile.tags} & {"script", "iframe", "object", "embed", "form", "base"}
    assert not [name for _, names in hostile.tags for name in names if name.startswith("on")]
    for name in (
        "<script>alert(1)</script>.mp4",
        '"><img src=x onerror=alert(1)>.mp4',
        "{{7*7}}",
        "&lt;b&gt;&amp;",
    ):
        assert name in hostile.text
    for link in hostile.links:
        assert re.fullmatch(r"(figures|pictures)/[a-z0-9_]+\.(png|jpg)|report\.json", link)
        assert (tmp_path / "hostile" / "report" / link).is_file()
    tree = json.loads((tmp_path / "hostile" / "report" / "report.json").read_text(encoding="utf-8"))
    assert {video["path"] for video in tree["videos"]} == {f"/in/{name}" for name in HOSTILE}
    files = [path.name for path in (tmp_path / "hostile").rglob("*") if path.is_file()]
    assert all(re.fullmatch(r"[a-z0-9_]+\.(png|jpg|json|html)", name) for name in files)


@settings(max_examples=12, deadline=None)
@given(st.text(min_size=1, max_size=30).filter(lambda name: "/" not in name))
def test_any_name_is_text_in_the_page(name: str) -> None:
    from raydepth.evaluate.fold import fold
    from raydepth.printable import utf8
    from raydepth.report.numbers import document, to_json
    from raydepth.report.page import render

    def page(path: str) -> Page:
        table = pa.Table.from_pylist([row("a", 0, path=path), row("a", 1, path=path, status="error")])
        tree = document(fold([table]), table, {"name": path}, {}) | {"pictures": [], "figures": []}
        json.loads(to_json(tree).encode("utf-8", "backslashreplace"))
        return Page(render(tree, [], [], path))

    hostile, plain = page(utf8(name)), page("clip.mp4")
    assert hostile.tags == plain.tags and hostile.links == plain.links


def test_arrays_with_objects_are_not_unpickled(here: Path) -> None:
    from raydepth.depth.files import read_depth

    np.save(here / "depth.npy", np.array([[Trap()]], object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        read_depth(str(here / "depth.npy"), 0.001)


def test_parse_job_takes_no_objects() -> None:
    with pytest.raises(JobError):
        parse_job({"schema_version": 1, "input": {"paths": [Trap()]}, "output": {"path": Path("out")}})
