"""What raydepth needs of a machine; imports the standard library only."""

import importlib.metadata
import importlib.util
import re

NEEDED = {
    "accelerate": ("accelerate", "1.0"),
    "av": ("av", "18.1"),
    "diffusers": ("diffusers", "0.42"),
    "huggingface_hub": ("huggingface_hub", "1.0"),
    "jinja2": ("jinja2", "3.1"),
    "matplotlib": ("matplotlib", "3.9"),
    "numpy": ("numpy", "2.0"),
    "opencv-python": ("cv2", "4.10"),
    "peft": ("peft", "0.17"),
    "pillow": ("PIL", "11"),
    "psutil": ("psutil", "6"),
    "pyarrow": ("pyarrow", "18"),
    "pydantic": ("pydantic", "2.9"),
    "pydantic-core": ("pydantic_core", "2"),
    "pyyaml": ("yaml", "6"),
    "ray": ("ray", "2.60"),
    "rich": ("rich", "13"),
    "safetensors": ("safetensors", "0.4"),
    "scenedetect": ("scenedetect", "0.7"),
    "scikit-image": ("skimage", "0.25"),
    "torch": ("torch", "2.6"),
    "transformers": ("transformers", "5.0"),
    "typer": ("typer", "0.15"),
}
"""Distribution -> module and lowest version, as in pyproject.toml; the package itself travels with
the job."""


def lacking() -> list[str]:
    """What this Python lacks of what raydepth needs, a phrase each."""
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
