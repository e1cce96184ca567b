"""The contract of the command line: exit codes, one clear message, and nothing started when the job
is wrong.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray
import yaml

from raydepth import cli
from tests.support.clips import write_clip
from tests.support.runs import small_job


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", frames=6)


def call(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command, in this process."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(sys, "argv", ["raydepth", *map(str, arguments)])
        cli.main()
    captured = capsys.readouterr()
    return end.value.code, captured.out, captured.err  # type: ignore[return-value]


def write_job(folder: Path, clip: Path, **fields: object) -> Path:
    file = folder / "job.yaml"
    tree = small_job(clip, folder / "out", **fields).model_dump(mode="json")
    file.write_text(yaml.safe_dump(tree))
    return file


def test_help_answers_fast_and_without_heavy_imports():
    code = (
        "import sys; sys.argv = ['raydepth', '--help']\n"
        "import raydepth.cli\n"
        "try: raydepth.cli.main()\n"
        "except SystemExit as e: print(e.code)\n"
        "heavy = ('torch', 'ray', 'diffusers', 'transformers', 'matplotlib', 'av')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    began = time.monotonic()
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert (
        time.monotonic() - began < 10
    )  # well under one second on a machine that does nothing else
    assert output.splitlines()[-2:] == ["0", "[]"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["input.sizes=3"], "input.sizes: unknown key"),
        (["run.batch=many"], "run.batch: got 'many'"),
        (["input.paths=[/nowhere/*.mp4]"], "/nowhere/*.mp4"),
        (["input.start_s=100.0"], "no frames to edit"),
        (["depth.model=/nowhere/model"], "depth.model"),
        (["depth.model=weights.onnx"], "depth.model: no file or directory weights.onnx"),
        (["compose.method=featglac-kv", "compose.model=./nowhere"], "compose.model"),
        (["compose.method=featglac-kv", "compose.prompt=a chair"], "compose.prompt"),
        (["depth.model=not/on-any-hub"], "not/on-any-hub"),
        (["layers.at={metres: 2.0}"], "metres"),
        (["output.path=/proc/nowhere"], "output.path"),
        (["run.gpus_per_worker=1", "run.workers=7"], "required 7 GPUs"),
    ],
)
def test_a_wrong_job_exits_2_with_one_message_and_edits_nothing(
    overrides: list[str], words: str, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = [part for override in overrides for part in ("--set", override)]
    code, _, err = call(capsys, "run", write_job(tmp_path, clip), *arguments)
    assert code == cli.WRONG
    assert words in err
    assert "Traceback" not in err
    assert not list(tmp_path.rglob("*.parquet")) or not (tmp_path / "out" / "frames").exists()
    assert not ray.is_initialized()


def test_an_output_path_that_is_a_file_and_one_without_permission(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "file").write_text("mine")
    code, _, err = call(
        capsys, "run", write_job(tmp_path, clip), "--set", f"output.path={tmp_path / 'file'}"
    )
    assert (code, "is a file" in err) == (cli.WRONG, True)
    assert (tmp_path / "file").read_text() == "mine"
    if os.geteuid():  # root may write anywhere
        (tmp_path / "locked").mkdir(mode=0o500)
        code, _, err = call(
            capsys, "run", write_job(tmp_path, clip), "--set", f"output.path={tmp_path / 'locked'}"
        )
        assert (code, "cannot be written" in err) == (cli.WRONG, True)


def test_damaged_weights_are_refused(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    from raydepth.models import builtin

    model = tmp_path / "model"
    model.mkdir()
    for file in builtin.path("depth").iterdir():
        data = file.read_bytes()
        (model / file.name).write_bytes(
            data[: len(data) // 2] if file.suffix == ".safetensors" else data
        )
    code, _, err = call(capsys, "run", write_job(tmp_path, clip), "--set", f"depth.model={model}")
    assert (code, "damaged" in err) == (cli.WRONG, True)
    onnx = tmp_path / "model.onnx"
    onnx.write_bytes(b"not a model")
    code, _, err = call(capsys, "run", write_job(tmp_path, clip), "--set", f"depth.model={onnx}")
    assert (code, "cannot be loaded as ONNX" in err) == (cli.WRONG, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "none.yaml"],
        ["fly"],
        ["status", "/nowhere"],
        ["run", "--what"],
        ["preview", "none.yaml"],
        ["preview", "none.yaml", "--at", "640,300"],
        ["preview", "none.yaml", "--at", "here"],
        ["init", "photo3d"],
        ["init", "remov"],
        ["init", "remove", "/nowhere.mp4"],
        ["explain", "layers.att"],
        ["schema", "--out", "/nowhere/schema.json"],
    ],
)
def test_wrong_calls_exit_2(
    arguments: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    code, _, err = call(capsys, *arguments)
    assert code == cli.WRONG
    assert err.startswith("raydepth: ")
    assert list(tmp_path.iterdir()) == []


def test_commands_that_help_to_write_a_job(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    job = tmp_path / "job.yaml"
    code, text, _ = call(capsys, "init", "remove", clip, "--out", job)
    assert (code, text) == (cli.OK, f"{job}\nnext: raydepth preview {job}\n")
    assert call(capsys, "init", "remove", clip, "--out", job)[0] == cli.WRONG
    code, text, _ = call(capsys, "explain", "run.max_hours")
    assert (code, "hours" in text) == (cli.OK, True)
    code, text, _ = call(capsys, "schema")
    assert (code, json.loads(text)["$ref"]) == (cli.OK, "#/$defs/Job")
    code, text, _ = call(capsys, "schema", "--out", tmp_path / "schema.json")
    assert code == cli.OK
    assert "# yaml-language-server: $schema=" in text
    assert json.loads((tmp_path / "schema.json").read_text())["$defs"]


def test_shells_complete_commands():
    asked = {"_RAYDEPTH_COMPLETE": "complete_bash", "COMP_WORDS": "raydepth ex", "COMP_CWORD": "1"}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from raydepth.cli import main; sys.argv[0] = 'raydepth'; main()",
        ],
        env=os.environ | asked,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["explain", "export"], done.stderr


@pytest.mark.timeout(280)
def test_run_status_report_plan(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    job, out = write_job(tmp_path, clip), tmp_path / "out"
    code, text, _ = call(capsys, "run", job, "--limit", "5")
    assert code == cli.OK
    assert "5 done, 0 failed, 0 missing of 5 frames" in text
    code, text, _ = call(capsys, "status", out, "--json")
    assert code == cli.OK
    assert json.loads(text)["frames"] == {"total": 5, "done": 5, "failed": 0, "missing": 0}
    (out / "report" / "index.html").unlink()
    code, text, _ = call(capsys, "report", out)
    assert code == cli.OK
    assert Path(text.strip()).is_file()
    code, text, _ = call(capsys, "plan", job, "--json")
    assert code == cli.OK
    figures = json.loads(text)
    assert figures["frames"] == 6
    assert figures["seconds_per_frame"] > 0  # from the benchmark of the run before
    code, text, _ = call(capsys, "models", "list")
    assert code == cli.OK
    assert "builtin" in text
