"""Entry point of `python -m recsys_po_rl`: the command line `recsys-po-rl`, with the package imported beforehand."""

import os
import sys

from recsys_po_rl.cli import parser

if __name__ == "__main__":
    sys.exit(parser.main(sys.argv[1:], f"{os.path.basename(sys.executable)} -m recsys_po_rl"))
