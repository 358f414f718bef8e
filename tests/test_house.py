"""Rules of the house that a reader of one file cannot see."""

from __future__ import annotations

import ast
import json
import re
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

import nbviz

ROOT = Path(__file__).parent.parent
PYTHON = sorted(
    p for folder in ("nbviz", "tests", "benchmarks") for p in (ROOT / folder).rglob("*.py")
)
TYPESCRIPT = sorted((ROOT / "js").rglob("*.ts"))

# What each part may import of the others. `Network` has the layers of its model, so `network` and
# `analysis` import one another, in files that make no circle: see the test of that below.
ALLOWED = {
    "undisturbed": set(),
    "model_input": set(),
    "picture_files": set(),
    "picture_set": {"picture_files"},
    "network": {"undisturbed", "model_input", "analysis"},
    "weights_hash": set(),
    "analysis": {"analysis", "network", "undisturbed", "model_input"},
    "scanning": {
        "scanning",
        "analysis",
        "network",
        "picture_set",
        "picture_files",
        "weights_hash",
        "model_input",
        "undisturbed",
    },
    "widgets": {"widgets", "scanning", "analysis", "network", "picture_set", "picture_files"},
    "demos": {"demos", "network"},
}


def imports(path: Path, *, types: bool = True) -> set[str]:
    """Names of what a file imports, with or without what it needs for annotations only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if not types and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            folder = path.parent.relative_to(ROOT).parts
            above = folder[: len(folder) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            names = {f"{module}.{alias.name}" for alias in node.names}
            # Of the package itself, the names alone say which part is meant.
            found |= names if module == "nbviz" else {module, *names}
    return found


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / "nbviz").parts[0].removesuffix(".py")


def foreign_parts(path: Path) -> set[str]:
    """Parts of the package that a file imports and must not; the whole package is one of them."""
    named = {m for m in imports(path) if m.split(".")[0] == "nbviz"}
    return {m.split(".")[1] if "." in m else m for m in named} - ALLOWED[part_of(path)]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


PACKAGE = [p for p in PYTHON if ROOT / "nbviz" in p.parents and p != ROOT / "nbviz/__init__.py"]


@pytest.mark.parametrize("path", PACKAGE, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_part_imports_only_what_it_may(path):
    assert foreign_parts(path) == set()


def test_imports_run_one_way():
    files = {module_name(path): path for path in PACKAGE}
    needs = {
        name: {m for m in imports(path, types=False) & set(files) if not name.startswith(f"{m}.")}
        for name, path in files.items()
    }
    while needs:
        free = [name for name, others in needs.items() if not others - {name}]
        assert free, f"these import each other in a circle: {sorted(needs)}"
        needs = {n: others - {*free} for n, others in needs.items() if n not in free}


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("from nbviz import FilterGrid", "FilterGrid"),
        ("from nbviz import widgets", "widgets"),
        ("import nbviz", "nbviz"),
        ("import nbviz.widgets.wire as w", "widgets"),
        ("from nbviz.widgets import wire", "widgets"),
        ("from ..widgets.wire import pack", "widgets"),
        ("from .. import FilterGrid", "FilterGrid"),
        ("def late():\n    from nbviz import FilterGrid", "FilterGrid"),
        ("from nbviz import network", None),
        ("from .filters import kernels", None),
        ("from nbviz.network import Network", None),
    ],
)
def test_an_import_cannot_slip_through(line, part, monkeypatch, tmp_path):
    path = tmp_path / "nbviz" / "analysis" / "new.py"
    path.parent.mkdir(parents=True)
    path.write_text(line)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert foreign_parts(path) == ({part} if part else set())


def test_analysis_knows_no_widget():
    barred = {"ipywidgets", "anywidget", "bqplot", "traitlets", "IPython"}
    for path in (ROOT / "nbviz" / "analysis").rglob("*.py"):
        assert not {m.split(".")[0] for m in imports(path)} & barred, path.name


def test_every_import_is_a_declared_dependency():
    declared = {
        re.split(r"[\s<>=!;\[]", r)[0].lower() for r in requires("nbviz") or [] if "extra" not in r
    }
    # scipy comes with scikit-learn, traitlets with ipywidgets; the extras are asked for first.
    declared |= {"nbviz", "scipy", "traitlets", "umap-learn", "pynndescent"}
    owners = packages_distributions()
    for path in (ROOT / "nbviz").rglob("*.py"):
        for module in {m.split(".")[0] for m in imports(path)} - set(sys.stdlib_module_names):
            names = {name.lower() for name in owners.get(module, [module])}
            assert names & declared, f"{path.name} imports {module}, which is not declared"


@pytest.mark.parametrize("path", [*PYTHON, *TYPESCRIPT], ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_stays_readable(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500


@pytest.mark.parametrize("path", PYTHON, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_function_stays_readable(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0]
            documented = ast.get_docstring(node) is not None
            start = (first.end_lineno or 0) if documented else node.lineno
            length = (node.end_lineno or 0) - start
            assert length <= 60, f"{path.name}: {node.name} has {length} lines"


def test_text_from_strangers_stays_text():
    for path in TYPESCRIPT:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", text), path


def test_both_halves_carry_one_version():
    assert json.loads((ROOT / "package.json").read_text())["version"] == nbviz.__version__
    assert f'version = "{nbviz.__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_the_lock_names_no_registry():
    assert '"resolved"' not in (ROOT / "package-lock.json").read_text()
