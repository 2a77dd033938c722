import csv
import errno
import math

import numpy as np
import pytest

from recsys_po_rl.run_folder import csv_tables


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.csv"


def test_header_and_whole_lines_are_visible_before_close(path):
    logger = csv_tables.CsvLogger(str(path))
    assert path.read_text() == ""
    logger.write({"step": 0, "loss": 0.5, "note": "first"})
    assert path.read_text() == "step,loss,note\n0,0.5,first\n"
    logger.write({"step": 1, "loss": -2.25, "note": "second"})
    assert path.read_text() == "step,loss,note\n0,0.5,first\n1,-2.25,second\n"
    logger.close()
    assert path.read_text() == "step,loss,note\n0,0.5,first\n1,-2.25,second\n"


@pytest.mark.parametrize("row", [{"step": 1}, {"step": 1, "reward": 2.0}, {"loss": 2.0, "step": 1}])
def test_a_row_with_other_columns_is_refused_and_writes_nothing(path, row):
    logger = csv_tables.CsvLogger(str(path))
    logger.write({"step": 0, "loss": 0.5})
    with pytest.raises(ValueError, match=rf"must have the columns step, loss, got {', '.join(row)}$"):
        logger.write(row)
    logger.write({"step": 1, "loss": 1.5})
    logger.close()
    assert path.read_text() == "step,loss\n0,0.5\n1,1.5\n"


def test_an_existing_file_is_refused_and_kept(path):
    path.write_text("of another run\n")
    with pytest.raises(FileExistsError):
        csv_tables.CsvLogger(str(path))
    assert path.read_text() == "of another run\n"


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        csv_tables.CsvLogger(str(tmp_path / "missing" / "metrics.csv"))


@pytest.mark.parametrize("number_type", [float, np.float64, np.float32])
def test_floats_read_back_equal(path, number_type):
    numbers = [0.1, 1 / 3, -1e-300, 1.7976931348623157e308, 5e-324, 123456789.123456789, 2.0, math.inf, -math.inf]
    with np.errstate(over="ignore", under="ignore"):
        numbers = [number_type(number) for number in numbers]
    logger = csv_tables.CsvLogger(str(path))
    for step, number in enumerate(numbers):
        logger.write({"step": step, "loss": number})
    logger.close()
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [number_type(row["loss"]) for row in rows] == numbers
    assert [int(row["step"]) for row in rows] == list(range(len(numbers)))


def test_nan_reads_back_as_nan(path):
    logger = csv_tables.CsvLogger(str(path))
    logger.write({"loss": math.nan})
    logger.close()
    assert math.isnan(float(path.read_text().splitlines()[1]))


@pytest.mark.parametrize(
    ("after_step", "kept"), [(0, ""), (1, "step,loss\n1,0.5\n"), (2, "step,loss\n1,0.5\n2,0.25\n2,0.125\n")]
)
def test_rows_of_later_steps_are_cut_off(path, after_step, kept):
    path.write_text("step,loss\n1,0.5\n2,0.25\n2,0.125\n3,0.0\n3,0.")
    logger = csv_tables.CsvLogger(str(path), after_step)
    assert path.read_text() == kept
    logger.write({"step": after_step + 1, "loss": 1.0})
    logger.close()
    assert path.read_text() == (kept or "step,loss\n") + f"{after_step + 1},1.0\n"


@pytest.mark.parametrize(
    "text", ["", "st", "step,loss", "step,loss\n", "step,loss\n1", "step,loss\n1,0.5", "x,y\n1,2\n"]
)
def test_a_table_without_a_row_begins_anew(path, text):
    path.write_text(text)
    logger = csv_tables.CsvLogger(str(path), 5)
    logger.write({"step": 6, "loss": 1.0})
    logger.close()
    assert path.read_text() == "step,loss\n6,1.0\n"


def test_a_missing_table_is_made_after_any_step(path):
    csv_tables.CsvLogger(str(path), 3).close()
    assert path.read_text() == ""


def test_other_columns_are_refused_after_a_cut_too(path):
    path.write_text("step,loss\n1,0.5\n")
    logger = csv_tables.CsvLogger(str(path), 1)
    with pytest.raises(ValueError, match="must have the columns step, loss, got step, reward"):
        logger.write({"step": 2, "reward": 1.0})


def test_text_with_commas_and_quotes_reads_back(path):
    message = 'under 0.05, "low": \u00fc'
    logger = csv_tables.CsvLogger(str(path))
    logger.write({"step": 1, "message": message})
    logger.close()
    assert csv_tables.whole_rows(str(path)) == [{"step": "1", "message": message}]


def test_only_whole_rows_are_read(path):
    assert csv_tables.whole_rows(str(path)) == []
    path.write_text("step,loss\n1,0.5\n2\n3,0.125\n")
    assert csv_tables.whole_rows(str(path)) == [{"step": "1", "loss": "0.5"}]


def test_a_line_that_the_disk_takes_by_halves_is_whole_or_gone(path):
    logger = csv_tables.CsvLogger(str(path))
    logger.write({"step": 1, "loss": 0.5})

    class Disk:
        """Takes three bytes at a time, of which there is room for some."""

        def __init__(self, file, room):
            self.fileno, self.close, self._file, self._room = file.fileno, file.close, file, room

        def write(self, content):
            if not self._room:
                raise OSError(errno.ENOSPC, "No space left on device")
            taken = content[: min(3, self._room)]
            self._room -= len(taken)
            return self._file.write(taken)

    file = logger._file
    logger._file = Disk(file, 5)
    with pytest.raises(OSError, match="No space left"):
        logger.write({"step": 2, "loss": 0.25})
    assert path.read_text() == "step,loss\n1,0.5\n"
    logger._file = Disk(file, 100)
    logger.write({"step": 2, "loss": 0.25})
    assert path.read_text() == "step,loss\n1,0.5\n2,0.25\n"
    logger.close()
