"""Pictures and settings of matplotlib; pictures and pages that cannot be made."""

import dataclasses
import json
import os

import matplotlib
import pytest

from recsys_po_rl.cli import commands, modes
from recsys_po_rl.experiment import experiment
from recsys_po_rl.experiment import run as run_lib
from recsys_po_rl.reporting import figures, pages
from recsys_po_rl.run_folder import layout
from tests.reporting.test_figures import EVALUATION
from tests.support import toy_run

SETTINGS = {
    "text.usetex": True,
    "savefig.bbox": "tight",
    "savefig.transparent": True,
    "axes.facecolor": "black",
    "font.family": "no such font",
    "figure.constrained_layout.use": False,
    "backend": "module://no_such_backend",
}


@pytest.mark.slow
def test_settings_of_the_process_do_not_enter_and_stay(tmp_path):
    figures.save_price_figure(EVALUATION, str(tmp_path))
    before = (tmp_path / layout.PRICE_FIGURE).read_bytes()
    with matplotlib.rc_context():
        backend = matplotlib.rcParams._get("backend")
        try:
            matplotlib.rcParams.update(SETTINGS)
            figures.save_price_figure(EVALUATION, str(tmp_path))
            assert {name: matplotlib.rcParams._get(name) for name in SETTINGS} == {
                **SETTINGS,
                "font.family": [SETTINGS["font.family"]],
            }
        finally:
            matplotlib.rcParams.update({"backend": backend})
    assert (tmp_path / layout.PRICE_FIGURE).read_bytes() == before


def test_a_picture_that_cannot_be_drawn_or_written_is_a_warning(tmp_path, monkeypatch):
    with pytest.warns(UserWarning, match=r"none/price.*png' is left out: FileNotFoundError: ") as warned:
        figures.save_price_figure(EVALUATION, str(tmp_path / "none"))
    assert "\n" not in str(warned[0].message)

    def fail(evaluation):
        raise RuntimeError("no\nfont")

    monkeypatch.setattr(figures, "price_figure", fail)
    with pytest.warns(UserWarning, match=r"price.*png' is left out: RuntimeError: no font"):
        figures.save_price_figure(EVALUATION, str(tmp_path))
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_run_is_done_without_its_picture_and_its_page(tmp_path, monkeypatch, capsys):
    toy_run.make_evaluations_cheap(monkeypatch.setattr)
    original = toy_run.single_seed.evaluate_policies

    def evaluation(*args):
        return dataclasses.replace(
            original(*args), price_of_partial_observability=EVALUATION.price_of_partial_observability
        )

    def fail(*args):
        raise RuntimeError("no\nfont")

    monkeypatch.setattr(toy_run.single_seed, "evaluate_policies", evaluation)
    monkeypatch.setattr(run_lib, "_show", lambda plan, result: None)
    monkeypatch.setattr(figures, "price_figure", fail)
    monkeypatch.setattr(pages, "report", fail)
    run = {"seeds": (3,), "output_dir": str(tmp_path / "run"), **toy_run.TOY}
    monkeypatch.setitem(modes.MODES, "toy", lambda flags: experiment(**run))
    assert commands.run(toy_run.types.SimpleNamespace(mode="toy")) == 0
    assert capsys.readouterr().err.splitlines() == [
        f"warning: {str(tmp_path / 'run' / name)!r} is left out: RuntimeError: no font"
        for name in (layout.PRICE_FIGURE, layout.REPORT)
    ]
    assert layout.is_finished(str(tmp_path / "run"))
    written = json.loads((tmp_path / "run" / layout.EVALUATION).read_text())
    assert written["price_of_partial_observability"] == EVALUATION.price_of_partial_observability.to_json()
