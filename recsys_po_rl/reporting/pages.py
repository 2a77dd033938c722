"""Mode report: writes the page report.html of a run from its folder."""

import os

from recsys_po_rl.common import validation
from recsys_po_rl.reporting.html import pretraining_page
from recsys_po_rl.reporting.html import report as report_lib
from recsys_po_rl.run_folder import csv_tables, pretraining_file, run_files
from recsys_po_rl.run_folder import layout as run_dir_lib


def report(run_dir: str) -> str:
    """Write report.html into a run folder, finished or not, and into the folders of its seeds.

    Args:
      run_dir: path of the run folder, or of the folder of a pretraining.

    Returns:
      Path of the page; for several seeds, of the page over all seeds.

    Raises:
      InvalidInputError: one line, if the folder does not contain a run, or the page cannot be written.
    """
    run = run_files.read(run_dir)
    for part in (*run.seeds, run):
        page = _page(part)
        try:
            run_dir_lib.write_text(part.folder, run_dir_lib.REPORT, page)
        except OSError as error:
            path = os.path.join(part.folder, run_dir_lib.REPORT)
            raise validation.InvalidInputError(f"{path!r} cannot be written: {error.strerror}") from error
    return os.path.join(run.folder, run_dir_lib.REPORT)


def _page(run: run_files.RunFiles) -> str:
    """Return the page of a run, or of a pretraining."""
    try:
        record = pretraining_file.read(run.folder)
    except FileNotFoundError:
        return report_lib.page(run)
    epochs = csv_tables.whole_rows(os.path.join(run.folder, run_dir_lib.PRETRAINING_EPOCHS))
    return pretraining_page.page(run, record, epochs)
