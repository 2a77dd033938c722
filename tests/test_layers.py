"""The rooms of the house: what may import what, and no circles."""

import ast
import pathlib

import pytest

# From the roof down. A module may import modules of lower floors only, or of its own room.
FLOORS = [
    ["__main__"],
    ["experiment"],
    ["reporting"],
    ["interest_evolution_simulation"],
    ["references"],
    ["training"],
    ["evaluation"],
    ["simulation_config"],
    ["runtime"],
    ["baselines"],
    ["recommender"],
    ["corpus", "user", "metrics"],
    ["scoring"],
    ["slates"],
    ["fields"],
    ["flow"],
    ["invariants"],
    ["draws"],
    ["samplers"],
    ["artifacts"],
    ["memory", "halves"],
    ["gin_config"],
    ["gin_state", "gin_text"],
    ["common"],
    ["version"],
    ["_compat"],
]
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
PACKAGE = pathlib.Path(__file__).resolve().parent.parent / "recsys_po_rl"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room_of(dotted):
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 else None


def imported(path):
    """Dotted names of our own modules that a module imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "recsys_po_rl":
            if node.module == "recsys_po_rl":
                found.update(f"recsys_po_rl.{alias.name}" for alias in node.names)
            else:
                found.add(node.module)
                found.update(
                    f"{node.module}.{alias.name}"
                    for alias in node.names
                    if (PACKAGE.parent / node.module.replace(".", "/") / f"{alias.name}.py").exists()
                )
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name.split(".")[0] == "recsys_po_rl")
    return found


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(PACKAGE)) for path in MODULES])
def test_a_module_imports_only_rooms_below_its_own(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert own in FLOOR_OF, f"give the room {own} a floor"
    for dotted in imported(path):
        other = room_of(dotted)
        if other == own:
            continue
        assert other in FLOOR_OF, dotted
        assert FLOOR_OF[other] > FLOOR_OF[own], f"{path.name} imports {dotted}, which lies above it or beside it"


def test_modules_within_a_room_make_no_circle():
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


def test_scorers_and_slates_know_nothing_of_recsim_ng():
    for path in MODULES:
        if "scoring" in path.parts or path.name == "slates.py":
            assert "recsim_ng" not in path.read_text(encoding="utf-8").replace("recsim_ng's", "")


def test_versions_are_known_to_compat_alone():
    for path in MODULES:
        if path.name not in ("_compat.py", "version.py", "run_dir.py"):
            text = path.read_text(encoding="utf-8")
            assert "__version__" not in text, path
            assert "version_info" not in text, path
