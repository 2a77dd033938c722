#!/usr/bin/env python3
"""Runs an experiment: python run_simulation.py [--gin_files F]... [--gin_bindings 'a.b = 1']... [--output_dir DIR]."""

import argparse
import sys

DEFAULT_GIN_FILE = "experiments/default.gin"


def parse_flags(arguments: list[str]) -> argparse.Namespace:
    """Reads the command line; needs neither TensorFlow nor the package, so that --help answers at once."""
    parser = argparse.ArgumentParser(
        description="Trains a recommender in a world whose users change behind its back, and compares it with others.",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python run_simulation.py --gin_files experiments/default.gin "
        "--gin_bindings 'recsys_po_rl.experiment.seeds = [1]' --output_dir runs/one",
    )
    parser.add_argument(
        "--gin_files",
        action="append",
        metavar="FILE",
        help=f"gin file, here or in configs/; repeatable, later files win (default: {DEFAULT_GIN_FILE})",
    )
    parser.add_argument(
        "--gin_bindings",
        action="append",
        default=[],
        metavar="BINDING",
        help="gin binding such as 'recsys_po_rl.experiment.horizon = 50'; repeatable, after all files",
    )
    parser.add_argument(
        "--output_dir", metavar="DIR", help="run folder, new or empty (default: a time-stamped one under runs/)"
    )
    parser.add_argument("--mode", choices=["train_and_evaluate"], default="train_and_evaluate", help="what to do")
    flags = parser.parse_args(arguments)
    flags.gin_files = flags.gin_files or [DEFAULT_GIN_FILE]
    return flags


if __name__ == "__main__":
    flags = parse_flags(sys.argv[1:])
    from recsys_po_rl.experiment import command_line

    sys.exit(command_line.run(flags))
