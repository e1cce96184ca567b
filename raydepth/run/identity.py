"""What a job's results depend on beside its words: the weights and files that its names stand for,
and what ``auto`` comes to. Two runs of one folder must agree in it, and so must a run's workers.
"""

import glob
import importlib.metadata
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Literal

from raydepth.errors import JobError
from raydepth.job import Job
from raydepth.models import builtin
from raydepth.models.names import NamedModel, cached_commit
from raydepth.run.check import edit_files, named_models, thing_files
from raydepth.run.load import resolved

WHOLE_BYTES = 64 << 20
"""Files of up to so many bytes are hashed whole, of larger ones so many in ``_PLACES`` pieces."""
_PLACES = 1024
_WEIGHTS = (".safetensors", ".json", ".txt", ".model")
"""Endings of what is loaded from a checkpoint's folder."""


def identify(job: Job) -> dict[str, str]:
    """Everything that must be the same in all runs of one folder, by field.

    ``device`` and ``dtype``, the models (``identify_models``), the local files that the edit brings
    in, clicks in a file, and what finds cuts. Folders of pictures and files in object storage are
    left out.

    Raises:
        JobError: a hub model is neither cached nor reachable, or a file cannot be read.
    """
    named = [*edit_files(job.edit), *thing_files(job)]
    paths = {field: Path(path).expanduser() for field, path in named}
    files = {field: _of_files(field, [path]) for field, path in paths.items() if path.is_file()}
    found = {}
    if job.input.shots == "auto":
        found = {"input.shots": f"scenedetect {importlib.metadata.version('scenedetect')}"}
    return resolved(job) | identify_models(job) | files | found


def identify_models(job: Job) -> dict[str, str]:
    """Which weights each named model is, by field, as this machine loads it.

    ``commit ...`` of a hub model, else ``sha256 ...`` of what is in the file or the folder, the
    built-in models' folders too. See ``digest``.

    Raises:
        JobError: as ``identify``.
    """
    return {
        model.field: known for model in named_models(job) if (known := _of_model(model)) is not None
    }


def check_worker(job: Job, expected: Mapping[str, str]) -> None:
    """Checks that this machine loads what the run was begun with.

    Args:
        job: the resolved job.
        expected: what ``identify`` gave on the driver.

    Raises:
        JobError: a model's weights, the device or the dtype are others here.
    """
    here = resolved(job) | identify_models(job)
    differences = [
        f"  {field}: expected {expected[field]}, got {value}"
        for field, value in here.items()
        if expected.get(field, value) != value
    ]
    if differences:
        raise JobError(
            f"node {socket.gethostname()} would load other models than the run was begun with, and "
            "frames would mix; give every node the same files and the same commits in its Hugging "
            "Face cache\n" + "\n".join(differences)
        )


def _of_model(model: NamedModel) -> str | None:
    """None for a pattern of files, which belong to frames."""
    if model.form == "files" or "://" in model.name:
        return None
    if model.form == "hub":
        return f"commit {cached_commit(model.name, model.file) or _newest_commit(model)}"
    path = Path(model.name).expanduser()
    if model.form == "onnx":  # weights may lie beside it, and what its input is to look like
        beside = sorted(path.parent.glob(f"{glob.escape(path.name)}?*"))
        return _of_files(model.field, [path, *beside, path.with_name("preprocessor_config.json")])
    if model.form == "builtin":
        own: Literal["depth", "diffusion", "inpaint"] = (
            model.role if model.role in ("depth", "inpaint") else "diffusion"
        )
        return _of_path(model.field, builtin.path(own), _WEIGHTS)
    return _of_path(model.field, path, _WEIGHTS)


def _newest_commit(model: NamedModel) -> str:
    """The commit that a download would get."""
    from huggingface_hub import HfApi

    try:
        return str(HfApi().model_info(model.name, timeout=20).sha)
    except Exception as error:  # offline, no such model, gated: each has its own exception type
        raise JobError(
            f"{model.field}: {model.name} is not in the local cache and cannot be looked up on the "
            f"hub ({type(error).__name__})"
        ) from error


def _of_path(field: str, path: Path, endings: tuple[str, ...]) -> str:
    """Of a file, or of a folder's files with these endings."""
    if not path.is_dir():
        return _of_files(field, [path])
    return _of_files(
        field,
        [file for file in sorted(path.rglob("*")) if file.suffix in endings and file.is_file()],
        path,
    )


def _of_files(field: str, files: Sequence[Path], folder: Path | None = None) -> str:
    """``sha256 ...`` of files; of those in a folder, of their names in it too."""
    whole = sha256()
    try:
        for file in files:
            if file.is_file() or file == files[0]:
                name = file.relative_to(folder).as_posix() if folder else ""
                whole.update(f"{name}\0{_digest_once(*_state(file))}\n".encode())
    except OSError as error:
        raise JobError(f"{field}: {error.filename} cannot be read: {error.strerror}") from error
    return f"sha256 {whole.hexdigest()[:16]}"


def _state(path: Path) -> tuple[str, int, int]:
    found = path.stat()
    return str(path.resolve()), found.st_size, found.st_mtime_ns


@lru_cache(maxsize=256)
def _digest_once(path: str, size: int, changed: int) -> str:
    return digest(Path(path))


def digest(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits; of a large one in a second at most.

    A file of up to 64 MiB is hashed whole. Of a larger one its size and 1024 pieces of 64 KiB are,
    spread evenly from its first byte to its last. Another training of the same network differs in
    all of them. A change is not seen where it keeps the size and lies between two pieces: in a
    checkpoint of 5 GB less than 5 MB.
    """
    size, found = path.stat().st_size, sha256()
    with path.open("rb") as file:
        if size <= WHOLE_BYTES:
            found.update(file.read())
            return found.hexdigest()
        found.update(struct.pack("<Q", size))
        for start, length in _pieces(size):
            file.seek(start)
            found.update(file.read(length))
    return found.hexdigest()


def _pieces(size: int) -> Iterator[tuple[int, int]]:
    length = WHOLE_BYTES // _PLACES
    for place in range(_PLACES):
        yield place * (size - length) // (_PLACES - 1), length
