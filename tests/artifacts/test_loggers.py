import csv
import math

import numpy as np
import pytest

from recsys_po_rl.artifacts import loggers


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.csv"


def test_header_and_whole_lines_are_visible_before_close(path):
    logger = loggers.CsvLogger(str(path))
    assert path.read_text() == ""
    logger.write({"step": 0, "loss": 0.5, "note": "first"})
    assert path.read_text() == "step,loss,note\n0,0.5,first\n"
    logger.write({"step": 1, "loss": -2.25, "note": "second"})
    assert path.read_text() == "step,loss,note\n0,0.5,first\n1,-2.25,second\n"
    logger.close()
    assert path.read_text() == "step,loss,note\n0,0.5,first\n1,-2.25,second\n"


@pytest.mark.parametrize("row", [{"step": 1}, {"step": 1, "reward": 2.0}, {"loss": 2.0, "step": 1}])
def test_a_row_with_other_columns_is_refused_and_writes_nothing(path, row):
    logger = loggers.CsvLogger(str(path))
    logger.write({"step": 0, "loss": 0.5})
    with pytest.raises(ValueError, match=rf"must have the columns step, loss, got {', '.join(row)}$"):
        logger.write(row)
    logger.write({"step": 1, "loss": 1.5})
    logger.close()
    assert path.read_text() == "step,loss\n0,0.5\n1,1.5\n"


def test_an_existing_file_is_refused_and_kept(path):
    path.write_text("of another run\n")
    with pytest.raises(FileExistsError):
        loggers.CsvLogger(str(path))
    assert path.read_text() == "of another run\n"


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        loggers.CsvLogger(str(tmp_path / "missing" / "metrics.csv"))


@pytest.mark.parametrize("number_type", [float, np.float64, np.float32])
def test_floats_read_back_equal(path, number_type):
    numbers = [0.1, 1 / 3, -1e-300, 1.7976931348623157e308, 5e-324, 123456789.123456789, 2.0, math.inf, -math.inf]
    with np.errstate(over="ignore", under="ignore"):
        numbers = [number_type(number) for number in numbers]
    logger = loggers.CsvLogger(str(path))
    for step, number in enumerate(numbers):
        logger.write({"step": step, "loss": number})
    logger.close()
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [number_type(row["loss"]) for row in rows] == numbers
    assert [int(row["step"]) for row in rows] == list(range(len(numbers)))


def test_nan_reads_back_as_nan(path):
    logger = loggers.CsvLogger(str(path))
    logger.write({"loss": math.nan})
    logger.close()
    assert math.isnan(float(path.read_text().splitlines()[1]))
