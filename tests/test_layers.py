"""Import directions: six layers, no cycles."""

import ast
import functools
import pathlib

import pytest

# From the ground up: a module imports modules of its own row, or of rows above it in this table. Rows within a layer
# are ordered too.
LAYERS = {
    0: [["_compat", "version"], ["common"], ["gin_text", "gin_state", "gin_config", "fields"]],
    1: [["simulation"], ["distributions"], ["scoring"]],
    2: [
        ["corpus", "user", "metrics", "fully_observed_user", "history_recommender"],
        ["catalogue_corpus"],
        ["recommender"],
        ["simulation_config"],
    ],
    3: [["evaluation"], ["training"], ["policies"]],
    4: [["run_folder"], ["logs"]],
    5: [["interest_evolution_simulation", "reporting"], ["experiment"], ["interop"]],
    6: [["cli"], ["__main__"]],
}
MAX_LINES = 350  # of a module without a reason for more
ROWS = [row for layer in LAYERS.values() for row in layer]
ROW_OF = {name: number for number, row in enumerate(ROWS) for name in row}
PACKAGE = pathlib.Path(__file__).resolve().parent.parent / "recsys_po_rl"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@functools.cache
def imported(path):
    """Dotted names of the package's own modules that a module imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "recsys_po_rl":
            if node.module == "recsys_po_rl":
                names.update(f"recsys_po_rl.{alias.name}" for alias in node.names)
            else:
                names.add(node.module)
                names.update(
                    f"{node.module}.{alias.name}"
                    for alias in node.names
                    if (PACKAGE.parent / node.module.replace(".", "/") / f"{alias.name}.py").exists()
                )
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names if alias.name.split(".")[0] == "recsys_po_rl")
    return names


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(PACKAGE)) for path in MODULES])
def test_a_module_imports_only_layers_below(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert own in ROW_OF, f"give {own} a place in LAYERS"
    for dotted in imported(path):
        other = dotted.split(".")[1]
        assert other in ROW_OF, dotted
        assert ROW_OF[other] <= ROW_OF[own], f"{path.name} imports {dotted}, which lies above it"


def test_modules_import_one_another_without_cycles():
    edges = {}
    for path in MODULES:
        dotted = "recsys_po_rl." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        edges[dotted] = {other for other in imported(path) if other != dotted}
    done, open_ = set(), []

    def visit(module):
        assert module not in open_, " -> ".join([*open_, module])
        if module in done or module not in edges:
            return
        open_.append(module)
        for other in edges[module]:
            visit(other)
        open_.pop()
        done.add(module)

    for module in edges:
        visit(module)
    assert len(done) == len(MODULES)


def test_scorers_and_distributions_do_without_recsim_ng():
    for path in MODULES:
        if {"scoring", "distributions"} & set(path.parts):
            assert "recsim_ng" not in path.read_text(encoding="utf-8").replace("recsim_ng's", ""), path


def test_only_compat_knows_versions():
    for path in MODULES:
        if path.name not in ("_compat.py", "version.py", "layout.py"):
            text = path.read_text(encoding="utf-8")
            assert "__version__" not in text, path
            assert "version_info" not in text, path


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(PACKAGE)) for path in MODULES])
def test_a_long_module_says_why(path):
    text = path.read_text(encoding="utf-8")
    if len(text.splitlines()) > MAX_LINES:
        assert f"ver {MAX_LINES} lines" in (ast.get_docstring(ast.parse(text)) or "")
