"""Console script `recsys-po-rl`, outside the package so that flags are parsed before TensorFlow is imported.

`import recsys_po_rl` imports TensorFlow: it selects Keras 2, makes RecSim NG importable and registers the scorers with
Keras. Importing any module of the package does the same, so `recsys_po_rl/cli/parser.py` is loaded by its path here.
"""

import importlib.util
import pathlib
import sys
from typing import Any


def _load_parser() -> Any:
    package: Any = importlib.util.find_spec("recsys_po_rl")  # locates the package without importing it
    path = pathlib.Path(package.submodule_search_locations[0]) / "cli" / "parser.py"
    spec: Any = importlib.util.spec_from_file_location("recsys_po_rl.cli.parser", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


parser = _load_parser()


def main() -> int:
    """Run the command line with the arguments of the process; return the exit status."""
    return parser.main(sys.argv[1:], "recsys-po-rl")
