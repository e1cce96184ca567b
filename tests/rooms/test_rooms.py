"""No imports in circles: among the rooms (folders and files at the top of ``raydepth``), nor among
modules. Counted is every import statement, also those inside functions and for type checkers only.
And no package is imported that is not declared.
"""

import ast
import itertools
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import networkx
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import raydepth

STANDARD = {*sys.stdlib_module_names, "raydepth"}
PACKAGE = Path(raydepth.__file__).parent


def name_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def imported(module: str) -> set[str]:
    """The modules of raydepth that a module's statements name."""
    package = module if FILES[module].name == "__init__.py" else module.rpartition(".")[0]
    names = set()
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            whence = ".".join([*(base if node.level else []), *filter(None, [node.module])])
            inner = {f"{whence}.{alias.name}" for alias in node.names}
            names |= {name if name in FILES else whence for name in inner}
    return {name for name in names if name in FILES and name != module}


MODULES = networkx.DiGraph([(module, other) for module in FILES for other in imported(module)])


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def circles(graph: networkx.DiGraph) -> list[set[str]]:
    return [part for part in networkx.strongly_connected_components(graph) if len(part) > 1]


def test_the_graph_is_the_packages():
    """Imports of every form are seen, or the two tests below would prove nothing."""
    assert MODULES.has_edge("raydepth.job", "raydepth.job.load")
    assert MODULES.has_edge("raydepth.run.pipeline", "raydepth.run.cluster")  # from folder import
    assert MODULES.has_edge("raydepth.cli.runs", "raydepth.run.pipeline")  # inside a function
    assert MODULES.has_edge("raydepth.synth", "raydepth.synth.clip")  # for type checkers
    assert MODULES.has_edge("raydepth.output.record", "raydepth")  # import raydepth


def test_no_room_imports_another_in_a_circle():
    pairs = {(room(module), room(other)) for module, other in MODULES.edges}
    rooms = networkx.DiGraph((one, other) for one, other in pairs if one != other)
    assert {"cli", "job", "frames", "files", "errors", "synth"} <= set(rooms)
    assert circles(rooms) == []


def test_no_module_imports_another_in_a_circle():
    assert circles(MODULES) == []


def test_worlds_stand_on_files_and_training_on_nobodys_back():
    importers: dict[str, set[str]] = {"synth": set(), "training": set()}
    below = set()
    for module, other in MODULES.edges:
        one, two = room(module), room(other)
        if one == two:
            continue
        if one == "synth":
            below.add(two)
        if two in importers:
            importers[two].add(one)
    assert below == {"files", "errors"}
    assert importers == {"synth": {"cli"}, "training": set()}


def test_the_contract_names_every_room():
    """A room that is left out of pyproject.toml would be checked by nobody."""
    text = (PACKAGE.parent / "pyproject.toml").read_text()
    rooms = {room(module) for module in FILES} - {"raydepth", "__main__"}
    layers = text.partition("layers = [")[2].partition("]")[0]
    missing = (
        rooms
        - {"synth", "training"}
        - {
            name.strip('",').removeprefix("raydepth.")
            for name in itertools.chain.from_iterable(line.split() for line in layers.splitlines())
        }
    )
    assert not missing


def test_what_is_imported_is_declared():
    """Every third-party package is a dependency or of an extra: none comes by way of another."""
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    extras = ("onnx", "cluster", "synth")
    lines = project["dependencies"] + [
        line for extra in extras for line in project["optional-dependencies"][extra]
    ]
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    distributions = packages_distributions()
    undeclared = {}
    for module, file in FILES.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [str(node.module)]
            for name in {name.partition(".")[0] for name in names} - STANDARD:
                if not declared & {canonicalize_name(d) for d in distributions.get(name, [name])}:
                    undeclared[name] = module
    assert not undeclared
