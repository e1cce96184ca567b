"""raydepth's own source calls nothing that runs data as code."""

import ast
from pathlib import Path

import pytest

import raydepth

pytestmark = pytest.mark.timeout(60)


SOURCES = sorted(Path(raydepth.__file__).parent.rglob("*.py"))
THROUGH_RAY = {"decoder.py", "remote_tracker.py", "worker.py"}
"""Modules that unpickle: segments, parts and columns that raydepth itself pickled and that came
through Ray."""


def calls() -> list[tuple[str, str, dict[str, str]]]:
    """File, called name and keyword arguments (as source text) of every call in raydepth."""
    found = []
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                keywords = {
                    str(keyword.arg): ast.unparse(keyword.value) for keyword in node.keywords
                }
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
        if name == "Image.open" and file not in (
            "card.py",
            "data.py",
        ):  # which read the training data
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
