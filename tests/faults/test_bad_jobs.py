"""Wrong job files and wrong output folders: exit code 2 and words that say what to do, at once,
with nothing started.
"""

import os
import sys
import time
from pathlib import Path

import pytest
import ray

from raydepth import cli
from raydepth.errors import JobError
from raydepth.files.strict_yaml import MAX_BYTES
from raydepth.job import load_job
from tests.support.clips import write_clip
from tests.support.runs import small_job

pytestmark = pytest.mark.timeout(20)

HEAD = "schema_version: 1\ninput: {paths: [a.mp4]}\noutput: {path: out}\n"
LAUGHS = 'a: &a ["lol"]\n' + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)
BAD_JOBS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "must hold sections"),
    "only a comment": (b"# nothing\n", "must hold sections"),
    "a list": (b"- a\n- b\n", "got list"),
    "one word": (b"words", "got str"),
    "two documents": (HEAD.encode() + b"---\n" + HEAD.encode(), "not YAML"),
    "binary": (bytes(range(256)) * 40, "not UTF-8"),
    "a video": (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", "not YAML"),
    "UTF-16": (HEAD.encode("utf-16"), "not UTF-8"),
    "Latin-1": (HEAD.replace("a.mp4", "gr\xfc\xdfe.mp4").encode("latin-1"), "not UTF-8"),
    "NUL": (HEAD.encode() + b"\0", "not YAML"),
    "100 MB": (b"", f"larger than {MAX_BYTES} bytes"),
    "billion laughs": (LAUGHS.encode(), "aliases (*name) are not read"),
    "an alias": (
        (HEAD + "run: &r {batch: 1}\nevaluate: *r\n").encode(),
        "aliases (*name) are not read",
    ),
    "an endless alias": (b"a: &a [*a]\n", "aliases (*name) are not read"),
    "nested 100,000 deep": (b"[" * 100_000, "nested too deeply"),
    "nested 100,000 deep in blocks": (b"- " * 100_000, "nested too deeply"),
    "a key twice": (
        (HEAD + "run: {batch: 1}\nrun: {batch: 2}\n").encode(),
        "key 'run' is there twice",
    ),
    "a key twice within": (
        (HEAD + 'run: {batch: 1, "batch": 2}\n').encode(),
        "key 'batch' is there twice",
    ),
    "tabs": (b"schema_version: 1\ninput:\n\tpaths: [a.mp4]\n", "not YAML"),
    "not a number": (
        (HEAD + "compose: {strength: .nan}\n").encode(),
        "compose.strength: got nan; allowed: a finite number",
    ),
    "infinite": (
        (HEAD + "depth: {scale: .inf}\n").encode(),
        "depth.scale: got inf; allowed: a finite number",
    ),
    "not a number in a list": (
        (HEAD + "layers: {at: [0.5, .nan]}\n").encode(),
        "layers.at.1: got nan",
    ),
    "not a number within": (
        (HEAD + "layers: {at: {point: [.nan, 0.5]}}\n").encode(),
        "layers.at.point.0: got nan",
    ),
    "1e400": ((HEAD + "depth: {scale: 1.0e+400}\n").encode(), "depth.scale: got inf"),
    "1e400 for a whole number": (
        (HEAD + "run: {batch: 1e400}\n").encode(),
        "run.batch: got '1e400'",
    ),
    "5000 digits": ((HEAD + f"run: {{seed: {'9' * 5000}}}\n").encode(), "can't be converted"),
    "more than 64 bits": (
        (HEAD + f"input: {{stride: {2**64}}}\n")
        .encode()
        .replace(b"input: {paths: [a.mp4]}\n", b""),
        "input.stride",
    ),
    "a number as text": ((HEAD + 'run: {batch: "8"}\n').encode(), "run.batch: got '8'"),
    "a truth value as a number": ((HEAD + "run: {batch: yes}\n").encode(), "run.batch: got True"),
    "a truth value as text": (
        (HEAD + "compose: {blend: 'yes'}\n").encode(),
        "compose.blend: got 'yes'",
    ),
    "NO for a text": ((HEAD + "compose: {prompt: NO}\n").encode(), "compose.prompt: got False"),
    "a date for a text": (
        (HEAD + "compose: {prompt: 2026-11-21}\n").encode(),
        "compose.prompt: got datetime.date",
    ),
    "bytes for a text": (
        (HEAD + "compose: {prompt: !!binary aGVsbG8=}\n").encode(),
        "compose.prompt: got b'hello'",
    ),
    "an impossible date": (
        (HEAD + "compose: {prompt: 2026-13-45}\n").encode(),
        "can't be converted",
    ),
    "a tag that misfits": (
        (HEAD + "compose: {blend: !!bool maybe}\n").encode(),
        "can't be converted",
    ),
    "a Python object": (b"!!python/object/apply:os.system ['touch gotcha']", "not YAML"),
    "a section that is a list": ((HEAD + "run: [1, 2]\n").encode(), "run: got [1, 2]"),
    "an empty section": ((HEAD + "run:\n").encode(), "run: got None"),
    "a key that is a number": ((HEAD + "5: 6\n").encode(), "5: "),
    "a key with line ends": ((HEAD + '"two\\nlines": 6\n').encode(), r"two\nlines: unknown key"),
    "a path of nothing": (
        b'schema_version: 1\ninput: {paths: [""]}\noutput: {path: out}\n',
        "input.paths.0: got ''",
    ),
    "an output of nothing": (
        b'schema_version: 1\ninput: {paths: [a.mp4]}\noutput: {path: ""}\n',
        "output.path: got ''",
    ),
    "a path with NUL": (
        b'schema_version: 1\ninput: {paths: ["a\\0b"]}\noutput: {path: out}\n',
        "must not hold the character NUL",
    ),
    "an output with NUL": (
        b'schema_version: 1\ninput: {paths: [a.mp4]}\noutput: {path: "a\\0b"}\n',
        "must not hold the character NUL",
    ),
    "escape sequences": ((HEAD + 'compose: {method: "\\e[2J\\e]0;x\\a"}\n').encode(), r"\x1b[2J"),
    "the next version": (HEAD.replace("1", "2", 1).encode(), "schema_version: got 2"),
}


@pytest.mark.parametrize("name", BAD_JOBS)
def test_a_bad_job_file_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    data, words = BAD_JOBS[name]
    file = tmp_path / "job.yaml"
    with file.open("wb") as stream:
        stream.write(data)
        if name == "100 MB":
            stream.truncate(100 << 20)
    began = time.monotonic()
    with pytest.raises(JobError) as refused:
        load_job(file)
    assert time.monotonic() - began < 5
    assert words in str(refused.value)
    assert len(str(refused.value)) < 2000
    assert all(line.isprintable() for line in str(refused.value).splitlines())
    assert not (tmp_path / "gotcha").exists()


@pytest.mark.parametrize(
    "text",
    [
        HEAD.replace("\n", "\r\n"),
        "\ufeff" + HEAD,
        "%YAML 1.1\n---\n" + HEAD + "...\n",
        HEAD + "\n\n# the end",
        "{" + ", ".join(HEAD.splitlines()) + "}",
    ],
    ids=["Windows line ends", "byte order mark", "directives", "comments", "one line"],
)
def test_odd_but_right_job_files_are_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "job.yaml").write_bytes(text.encode())
    assert load_job(tmp_path / "job.yaml").input.paths == ["a.mp4"]


def test_a_job_file_that_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    for path in (
        tmp_path,
        tmp_path / "none.yaml",
        tmp_path / "loop.yaml",
        Path("x" * 300),
        Path("/dev/zero"),
    ):
        with pytest.raises(JobError, match="job file"):
            load_job(path)


@pytest.mark.parametrize(
    "override",
    [
        "run.batch=.nan",
        "run.batch=*a",
        "run.batch=[" * 2000,
        "run={batch: 1, batch: 2}",
        "run.batch=!!python/name:os.system",
        "a\0b=1",
        "run..batch=1",
        ".=1",
        "=",
        "run.batch",
        "run.batch=" + "9" * 5000,
        "schema_version.x=1",
        "input.paths=[a\n",
        "\udcff=1",
    ],
    ids=range(14),
)
def test_bad_overrides_are_refused_in_words(tmp_path: Path, override: str) -> None:
    (tmp_path / "job.yaml").write_text(HEAD)
    with pytest.raises(JobError) as refused:
        load_job(tmp_path / "job.yaml", [override])
    assert str(refused.value)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", frames=3)


@pytest.mark.parametrize(
    "paths", ["nothing.mp4", "empty", "only text", "nowhere/*.mp4", "only bad"]
)
def test_inputs_without_a_frame_exit_2(
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    paths: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "only text").mkdir()
    (tmp_path / "only text" / "notes.txt").write_text("notes")
    (tmp_path / "only bad").mkdir()
    (tmp_path / "only bad" / "a.mp4").write_bytes(b"")
    (tmp_path / "job.yaml").write_text(HEAD.replace("a.mp4", paths))
    monkeypatch.setattr(sys, "argv", ["raydepth", "run", "job.yaml"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == cli.WRONG
    assert paths in capsys.readouterr().err
    assert not ray.is_initialized()
    assert sorted(os.listdir(tmp_path)) == ["empty", "job.yaml", "only bad", "only text"]


def test_numbers_that_are_large_but_legal_harm_nothing(clip: Path, tmp_path: Path) -> None:
    """The edges of what a job may say: a plan comes, or a refusal in words."""
    from raydepth.frames.find import find_segments
    from raydepth.output.plan import cut_parts

    edge = 2**63 - 1
    for fields in (
        {"input__stride": edge},
        {"input__limit": edge},
        {"input__start_s": 1e308},
        {"input__end_s": 1e308},
        {"input__size": 8192},
        {"input__size": None},
        {"run__seed": edge},
        {"output__shard_frames": 4096},
        {"depth__calibration_frames": edge},
    ):
        job = small_job(clip, tmp_path / "out", **fields)
        try:
            segments = find_segments(job.input, job.compose.every).segments
        except JobError as error:
            assert "no frames to edit" in str(error)
            continue
        parts = cut_parts(
            segments, batch=256, shard_frames=job.output.shard_frames, limit=job.input.limit
        )
        assert 1 <= sum(part.frames for part in parts) <= 3
