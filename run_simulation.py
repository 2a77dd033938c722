#!/usr/bin/env python3
"""The front door of a checkout: the same as `python -m recsys_po_rl`; --help lists what there is."""

import pathlib
import runpy
import sys

# Run by its path: importing it would import the package, and with it TensorFlow, before the flags are read.
_PROGRAM = runpy.run_path(str(pathlib.Path(__file__).resolve().parent / "recsys_po_rl" / "__main__.py"))
MODES, parse_flags, main = _PROGRAM["MODES"], _PROGRAM["parse_flags"], _PROGRAM["main"]

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], pathlib.Path(__file__).name))
