"""Where a submitted job begins on the cluster: are the packages here that raydepth needs? Then ``raydepth run``.

Imports the standard library only, so that a machine without those packages gets a sentence instead of a traceback.
"""

import importlib.metadata
import importlib.util
import re
import sys

PYTHON = (3, 11)

NEEDED = {
    "accelerate": ("accelerate", "1.0"),
    "av": ("av", "18.1"),
    "diffusers": ("diffusers", "0.42"),
    "jinja2": ("jinja2", "3.1"),
    "matplotlib": ("matplotlib", "3.9"),
    "numpy": ("numpy", "2.0"),
    "opencv-python": ("cv2", "4.10"),
    "peft": ("peft", "0.17"),
    "psutil": ("psutil", "6"),
    "pyarrow": ("pyarrow", "18"),
    "pydantic": ("pydantic", "2.9"),
    "pyyaml": ("yaml", "6"),
    "ray": ("ray", "2.60"),
    "scikit-image": ("skimage", "0.25"),
    "torch": ("torch", "2.6"),
    "transformers": ("transformers", "5.0"),
    "typer": ("typer", "0.15"),
}
"""Distribution -> module and lowest version, as in pyproject.toml; the package itself travels with the job."""


def lacking() -> list[str]:
    """What this Python lacks of what raydepth needs, a phrase each; empty where it has everything."""
    problems = []
    for distribution, (module, lowest) in NEEDED.items():
        if importlib.util.find_spec(module) is None:
            problems.append(f"{distribution}>={lowest} (missing)")
            continue
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue  # the module under another distribution's name, as of opencv-python-headless
        if _numbers(version) < _numbers(lowest):
            problems.append(f"{distribution}>={lowest} (has {version})")
    return problems


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version.split("+")[0])[:3]]


def main() -> None:
    """``python -m raydepth.submission.entrypoint JOB.yaml``: exits 2 where packages are missing, else as ``raydepth run``."""
    problems = lacking()
    if sys.version_info < PYTHON:
        problems.insert(0, f"Python>={'.'.join(map(str, PYTHON))}")
    if problems:
        sys.exit(_refuse(problems))
    from raydepth.cli import main as command

    sys.argv = ["raydepth", "run", *sys.argv[1:], "--address", "auto"]
    command()


def _refuse(problems: list[str]) -> int:
    have = f"{sys.executable}, Python {sys.version.split()[0]}"
    print(
        f"raydepth: this node ({have}) lacks {', '.join(problems)}; install raydepth's dependencies on every node, "
        "and start Ray from that environment",
        file=sys.stderr,
    )
    return 2


if __name__ == "__main__":
    main()
