"""Mode report: writes the page report.html of a run from its folder."""

import os

from recsys_po_rl.common import validation
from recsys_po_rl.reporting.html import pretraining_page, sweep_page
from recsys_po_rl.reporting.html import report as report_lib
from recsys_po_rl.run_folder import csv_tables, pretraining_file, run_files, sweep_file
from recsys_po_rl.run_folder import layout as run_dir_lib


def report(run_dir: str) -> str:
    """Write report.html into a run folder, finished or not, and into the folders of its seeds.

    Args:
      run_dir: path of the run folder, or of the folder of a pretraining or a sweep.

    Returns:
      Path of the page; for several seeds, of the page over all seeds.

    Raises:
      InvalidInputError: one line, if the folder does not contain a run, or the page cannot be written.
    """
    if isinstance(run_dir, (str, os.PathLike)) and os.path.isfile(os.path.join(run_dir, sweep_file.SWEEP)):
        return report_sweep(os.fspath(run_dir))
    run = run_files.read(run_dir)
    for part in (*run.seeds, run):
        _write(part.folder, run_dir_lib.REPORT, _page(part))
    return os.path.join(run.folder, run_dir_lib.REPORT)


def report_sweep(folder: str) -> str:
    """Write sweep.html into the folder of a sweep, and return its path.

    Raises:
      InvalidInputError: one line, if the folder does not contain a sweep, or the page cannot be written.
    """
    name = os.path.basename(os.path.abspath(folder))
    return _write(folder, sweep_file.PAGE, sweep_page.page(name, sweep_file.read(folder)))


def _write(folder: str, name: str, page: str) -> str:
    path = os.path.join(folder, name)
    try:
        run_dir_lib.write_text(folder, name, page)
    except OSError as error:
        raise validation.InvalidInputError(f"{path!r} cannot be written: {error.strerror}") from error
    return path


def _page(run: run_files.RunFiles) -> str:
    """Return the page of a run, or of a pretraining."""
    try:
        record = pretraining_file.read(run.folder)
    except FileNotFoundError:
        return report_lib.page(run)
    epochs = csv_tables.whole_rows(os.path.join(run.folder, run_dir_lib.PRETRAINING_EPOCHS))
    return pretraining_page.page(run, record, epochs)
