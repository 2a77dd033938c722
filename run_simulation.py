#!/usr/bin/env python3
"""Command line of a checkout: the same program as `recsys-po-rl`; --help lists its modes and flags."""

import sys

from recsys_po_rl_cli import parser

MODES, parse_flags, main = parser.MODES, parser.parse_flags, parser.main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], "run_simulation.py"))
