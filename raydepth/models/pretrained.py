"""Checkpoints of transformers, loaded from a directory, the cache or the hub: only safetensors,
never remote code.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import EntryNotFoundError

from raydepth.errors import JobError
from raydepth.models.checkpoint import read_config, weights_variant


def load_pretrained(
    network: Callable[[Callable[[], dict[str, Any]]], Any],
    where: str,
    *,
    field: str,
    name: str,
    what: str,
    dtype: Any,
    may_lack: str | None = None,
) -> tuple[Any, dict[str, Any]]:
    """A network with its weights, and its parsed preprocessor file; cached files are not fetched
    again.

    Args:
        network: gives the class of transformers; it is given a reader of the checkpoint's
            configuration.
        where: hub id or directory.
        field: the job's field that names it, for messages.
        name: what messages call it.
        what: what it is to be, for messages, such as ``a depth estimation checkpoint``.
        dtype: of the weights.
        may_lack: weights with this in their name may be missing.

    Raises:
        JobError: the checkpoint cannot be had, is of another kind or lacks weights.
    """
    where = str(Path(where).expanduser()) if Path(where).expanduser().is_dir() else where
    variant = weights_variant(where)
    for local in (True, False):
        try:
            file = preprocessor_file(where, local)
            model, loaded = network(partial(_config, where, local)).from_pretrained(
                where,
                dtype=dtype,
                use_safetensors=True,
                variant=variant,
                local_files_only=local,
                output_loading_info=True,
                trust_remote_code=False,
            )
            break
        except JobError:
            raise
        except (
            Exception
        ) as error:  # a checkpoint can be wrong in many ways, each with a class of its own
            # Not cached is an OSError; a directory will not get better from the hub.
            if local and isinstance(error, OSError) and not Path(where).is_dir():
                continue
            raise JobError(
                f"{field}: {name} cannot be loaded as {what} with safetensors weights "
                f"({type(error).__name__}: {' '.join(str(error).split())}). Without a connection, "
                "name a local directory that holds config.json, preprocessor_config.json and "
                "model.safetensors"
            ) from error
    missing = sorted(
        key for key in loaded["missing_keys"] if may_lack is None or may_lack not in key
    )
    if missing:
        raise JobError(
            f"{field}: {name} lacks {len(missing)} of its weights ({', '.join(missing[:3])}...), "
            f"so what it says would be noise; expected {what} that was saved whole"
        )
    return model.eval(), file


def preprocessor_file(where: str, local: bool) -> dict[str, Any]:
    """How pictures are prepared for a checkpoint: its parsed ``preprocessor_config.json``, or that
    part of its ``processor_config.json``; empty where it has neither.

    Raises OSError where it is not in the cache and only that is to be looked at.
    """
    for name in ("preprocessor_config.json", "processor_config.json"):
        try:
            path = _file(where, name, local)
        except EntryNotFoundError:
            if local and name == "processor_config.json":
                raise
            continue
        if path.is_file():
            file = json.loads(path.read_text(encoding="utf-8"))
            if name == "preprocessor_config.json":
                return file
            return file.get("image_processor") or {}
    return {}


def _config(where: str, local: bool) -> dict[str, Any]:
    return read_config(_file(where, "config.json", local))


def _file(where: str, name: str, local: bool) -> Path:
    if Path(where).is_dir():
        return Path(where) / name
    return Path(huggingface_hub.hf_hub_download(where, name, local_files_only=local))


def load_tokenizer(where: str, *, field: str, name: str) -> Any:
    """A checkpoint's tokenizer; cached files are not fetched again.

    Args:
        where: hub id or directory.
        field: the job's field that names it, for messages.
        name: what messages call it.

    Raises:
        JobError: it has none, or it cannot be read.
    """
    from transformers import AutoTokenizer

    where = str(Path(where).expanduser()) if Path(where).expanduser().is_dir() else where
    for local in (True, False):
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                where, local_files_only=local, trust_remote_code=False
            )
            break
        except Exception as error:  # files can be wrong in many ways, each with a class of its own
            if local and isinstance(error, OSError) and not Path(where).is_dir():
                continue
            raise JobError(
                f"{field}: {name} has no tokenizer that can be read ({type(error).__name__}: "
                f"{' '.join(str(error).split())}), so it takes no words"
            ) from error
    # Without its files, transformers makes one that knows no word.
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise JobError(
            f"{field}: {name} has no tokenizer files (tokenizer.json, vocab.json and merges.txt, "
            "or vocab.txt), so it takes no words"
        )
    return tokenizer
