"""Mode compare: compares runs, on the terminal and as an HTML page."""

import os
from collections.abc import Sequence
from typing import Optional

from recsys_po_rl.common import output, validation
from recsys_po_rl.reporting import comparison as compare_lib
from recsys_po_rl.reporting.comparison import Comparison
from recsys_po_rl.reporting.html import comparison_page
from recsys_po_rl.run_folder import layout, run_files

PAGE = "compare.html"
UNDER = "comparisons"  # parent of the time-stamped folders


def compare(
    run_dirs: Sequence[str], output_dir: Optional[str] = None, unpaired: bool = False, quiet: bool = False
) -> Comparison:
    """Compare finished runs with the first one; print a table and write compare.html.

    Args:
      run_dirs: run folders, at least two; they are only read.
      output_dir: folder of compare.html; a new, time-stamped folder under comparisons/ if None.
      unpaired: whether to treat the runs as independent samples, regardless of their worlds and users.
      quiet: whether to print nothing.

    Returns:
      The comparison.

    Raises:
      InvalidInputError: one line, if a folder does not hold a finished run; if the runs' worlds, seeds or users differ,
        with the keys that differ; or if the output folder already holds a run or a comparison, or cannot be written.
    """
    runs = [run_files.read(folder) for folder in run_dirs]
    comparison = compare_lib.compare(runs, unpaired)
    if output_dir is not None and os.path.exists(os.path.join(output_dir, PAGE)):
        raise validation.InvalidInputError(
            f"output_dir {output_dir!r} already holds a comparison ({PAGE}): choose another"
        )
    page = comparison_page.page(comparison, runs)
    layout.free_path(output_dir, UNDER)
    try:
        folder = layout.create(output_dir, UNDER)
        layout.write_text(folder, PAGE, page)
    except OSError as error:
        raise validation.InvalidInputError(f"{PAGE} cannot be written: {error.strerror}") from error
    if not quiet:
        output.say(comparison_page.text(comparison, [run.config for run in runs]))
        output.say(f"\npage: {os.path.join(folder, PAGE)}")
    return comparison
