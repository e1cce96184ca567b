"""Places where programs fail: no home, no loopback, long paths, foreign modules in the current
folder, locales that are not UTF-8.
"""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from raydepth.run import cluster, surroundings

ROOT = Path(__file__).resolve().parents[2]


def python(folder: Path, *words: str, **variables: str | None) -> subprocess.CompletedProcess[str]:
    """Python in a folder; a variable of None is taken away."""
    variables = {"PYTHONPATH": str(ROOT), "PYTHONUTF8": None} | variables
    environment = os.environ | variables
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={name: value for name, value in environment.items() if value is not None},
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="backslashreplace",
        timeout=120,
    )


@pytest.mark.parametrize("path", ["{root}", ":{root}", "{root}:"])
def test_modules_in_the_current_folder_are_not_run(tmp_path: Path, path: str):
    for module in ("typer", "random", "av", "yaml"):
        (tmp_path / f"{module}.py").write_text("open('was run', 'w'); raise ImportError('foreign')")
    (tmp_path / "clip.mp4").touch()
    ran = python(tmp_path, "-m", "raydepth", "plan", "job.yaml", PYTHONPATH=str(ROOT))
    assert ran.returncode == 2 and "job.yaml" in ran.stderr
    heavy = textwrap.dedent("""
        import sys
        from raydepth.cli import main
        sys.argv = ["raydepth", "--version"]
        try:
            main()
        except SystemExit:
            import av, yaml, random, os
        print(os.environ["PYTHONPATH"])
    """)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "program.py").write_text(heavy)
    (tmp_path / "typer.py").unlink()  # an empty entry is heeded while Python starts
    (tmp_path / "random.py").unlink()
    ran = python(tmp_path, "elsewhere/program.py", PYTHONPATH=path.format(root=ROOT))
    assert ran.stdout.splitlines()[-1:] == [str(ROOT)], ran.stderr
    assert not (tmp_path / "was run").exists()


def test_a_folder_that_python_path_names_stays(monkeypatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), "/elsewhere"])
    monkeypatch.setenv("PYTHONPATH", f":{tmp_path}")
    surroundings.leave_current_folder()
    assert sys.path == [str(tmp_path), "/elsewhere"]
    assert os.environ["PYTHONPATH"] == str(tmp_path)


@pytest.mark.timeout(200)
def test_ray_starts_without_a_home_below_a_long_folder_beside_foreign_modules(tmp_path: Path):
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    (folder / "cv2.py").write_text("open('was run', 'w'); raise ImportError('foreign')")
    code = textwrap.dedent("""
        import sys
        from pathlib import Path
        sys.path.remove("")
        import ray
        from raydepth.run.cluster import connect, disconnect
        from tests.support.runs import small_job
        def look():
            import cv2, raydepth, sys
            return sys.path
        connect(small_job(["a.mp4"], Path("out")).run, None)
        print(ray.get(ray.remote(look).remote()))
        disconnect()
    """)
    ran = python(folder, "-c", code, HOME="/nonexistent", TMPDIR=str(folder), RAY_TMPDIR=None)
    assert ran.returncode == 0, ran.stderr
    assert str(folder) not in ran.stdout and str(ROOT) in ran.stdout
    assert not (folder / "was run").exists()


def test_the_folder_for_rays_sockets_is_short_and_can_be_written(monkeypatch, tmp_path: Path):
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    assert surroundings.ray_folder().startswith("/tmp/ray")
    short = Path("/tmp") / f"r{os.getpid()}"
    short.mkdir()
    try:
        monkeypatch.setenv("TMPDIR", str(short))
        assert surroundings.ray_folder() == f"{short}/ray"
        monkeypatch.setenv("TMPDIR", str(short / ("ü" * 20)))
        assert surroundings.ray_folder().startswith("/tmp/ray")
        monkeypatch.setattr(os, "access", lambda path, mode: str(path).startswith("/var"))
        assert surroundings.ray_folder() == "/var/tmp/ray"
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        with pytest.raises(OSError, match=r"at most 3[0-9] bytes.*set RAY_TMPDIR"):
            surroundings.ray_folder()
    finally:
        short.rmdir()


def test_a_home_that_can_hold_a_token_is_left_to_ray(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # so that it is what it was afterwards, also where it was none
        monkeypatch.delenv(name)
    surroundings.give_ray_a_token()
    assert "RAY_AUTH_TOKEN" not in os.environ
    monkeypatch.setenv("HOME", "/nonexistent")
    surroundings.give_ray_a_token()
    made = os.environ["RAY_AUTH_TOKEN"]
    surroundings.give_ray_a_token()
    assert os.environ["RAY_AUTH_TOKEN"] == made and len(made) == 64
    del os.environ["RAY_AUTH_TOKEN"]


def test_a_user_without_a_home_gets_one_for_the_process(monkeypatch):
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(Path, "home", none)
    surroundings.find_home()
    assert os.path.isdir(os.environ["HOME"]) and os.access(os.environ["HOME"], os.W_OK)


def test_a_machine_that_cannot_reach_itself(monkeypatch):
    surroundings.check_loopback()

    def unreachable(*_: object, **__: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr("socket.create_connection", unreachable)
    with pytest.raises(OSError, match=r"127.0.0.1 cannot be reached .*Network is unreachable"):
        surroundings.check_loopback()


def test_a_start_that_takes_too_long_is_given_up():
    kept = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        with (
            pytest.raises(cluster.RayNotStarted, match="did not start within"),
            cluster._time_limit(0.5, only=True),
        ):
            helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            helper.wait()
            raise ConnectionError("the helper is gone")
        assert kept.poll() is None  # only what was started meanwhile is ended
    finally:
        kept.kill()
        kept.wait()


def test_a_start_that_never_comes_back_ends_the_process(tmp_path: Path):
    code = textwrap.dedent("""
        import time
        from raydepth.run import cluster
        cluster.GIVE_UP_S = 0.2
        with cluster._time_limit(0.2, only=True), cluster._silent_stderr():
            time.sleep(600)
    """)
    ran = python(tmp_path, "-c", code)
    assert ran.returncode == 1
    assert ran.stderr.startswith("raydepth: RayNotStarted: Ray did not start within 0 s")


@pytest.mark.parametrize(
    "variables",
    [
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "ascii"},
    ],
)
def test_names_that_the_locale_has_no_letters_for(tmp_path: Path, variables: dict[str, str]):
    text = "{schema_version: 1, input: {paths: ['æ → 夏.mp4']}, output: {path: out}}"
    (tmp_path / "日本.yaml").write_text(text, encoding="utf-8")
    missing = python(tmp_path, "-m", "raydepth", "status", "夏", **variables)
    assert missing.returncode == 2
    assert missing.stderr == "raydepth: \\u590f: no raydepth run has started there" + (
        " (no segments.parquet)\n"
    )
    wrong = python(tmp_path, "-m", "raydepth", "plan", "日本.yaml", **variables)
    assert wrong.returncode == 2 and "\\u590f.mp4" in wrong.stderr, wrong.stderr
