"""The picture of the price of partial observability."""

import json
import os

import pytest

from recsys_po_rl.evaluation import price
from recsys_po_rl.reporting import figures
from recsys_po_rl.run_folder.schema import Evaluation


def policy(label, mean, share, sees=False, interval=None, shares=None):
    return {
        "label": label, "sees_interest": sees, "mean": mean, "interval95": interval or [mean - 2.0, mean + 1.0],
        "share_of_gap": share, "share_interval95": shares or [share - 0.03, share + 0.03],
    }  # fmt: skip


CONTENT = {
    "policies": {},
    "horizon": 100,
    "price_of_partial_observability": {
        "unit": "users",
        "num_units": 2000,
        "gap": None,
        "differences": [],
        "policies": {
            "uniform_random": policy("random slates", 52.0, 0.0),
            "learned": policy("learned from histories", 75.0, 0.46),
            "belief_reference": policy("belief reference, from histories", 90.0, 0.76, shares=[None, None]),
            "learned_full_information": policy("learned, sees the interest", 108.0, 1.12, sees=True),
            "full_information_reference": policy("reference, sees the interest", 102.0, 1.0, True, [None, None]),
        },
    },
}
EVALUATION = Evaluation.from_json(CONTENT, "")


def test_bars_intervals_and_labels_are_those_of_the_evaluation():
    axes = figures.price_figure(EVALUATION).axes[0]
    entries = list(CONTENT["price_of_partial_observability"]["policies"].values())
    assert [bar.get_width() for bar in axes.patches] == [entry["mean"] for entry in entries]
    assert [label.get_text() for label in axes.get_yticklabels()] == [entry["label"] for entry in entries]
    ends = [container[2][0].get_segments()[0][:, 0].tolist() for container in axes.containers[1:]]
    assert ends == [entry["interval95"] for entry in entries if entry["interval95"][0] is not None]
    assert axes.get_xlabel() == "consumed time per user over 100 slates\n(mean; 95% intervals over 2000 users)"
    colours = [bar.get_facecolor() for bar in axes.patches]
    assert colours[0] == colours[1] == colours[2] != colours[3] == colours[4]
    assert [bool(bar.get_hatch()) for bar in axes.patches] == [entry["sees_interest"] for entry in entries]
    texts = [text.get_text() for text in axes.texts]
    assert "75.0;  46% [43%, 49%]" in texts
    assert "90.0;  76% [unbounded]" in texts
    assert "108.0;  112% [109%, 115%]" in texts  # not clipped
    low, high = axes.get_xlim()
    assert low == 0.0
    assert high > 109.0


def test_without_shares_means_alone_are_written():
    alone = {**CONTENT["price_of_partial_observability"], "policies": {
        "learned": {**policy("learned from histories", 75.0, 0.5), "share_of_gap": None, "share_interval95": None}
    }}  # fmt: skip
    evaluation = Evaluation.from_json({"policies": {}, "horizon": 7, "price_of_partial_observability": alone}, "")
    axes = figures.price_figure(evaluation).axes[0]
    assert "75.0" in [text.get_text() for text in axes.texts]
    assert axes.get_xlabel().startswith("consumed time per user over 7 slates")


@pytest.mark.parametrize(
    "evaluation",
    [
        Evaluation(policies={}, horizon=3),
        Evaluation(policies={}, price_of_partial_observability=price.price_of_partial_observability({})),
    ],
)
def test_nothing_to_draw_is_an_error(evaluation):
    with pytest.raises(ValueError, match="no price_of_partial_observability to draw"):
        figures.price_figure(evaluation)


@pytest.mark.parametrize(("name", "start"), [("price.png", b"\x89PNG"), ("price.svg", b"<?xml"), ("price", b"\x89PNG")])
def test_a_file_appears_whole_and_alone(tmp_path, name, start):
    (tmp_path / "new").mkdir()
    figures.save(figures.price_figure(EVALUATION), str(tmp_path / "new" / name))
    assert os.listdir(tmp_path / "new") == [name]
    assert (tmp_path / "new" / name).read_bytes().startswith(start)
    umask = os.umask(0)
    os.umask(umask)
    assert os.stat(tmp_path / "new" / name).st_mode & 0o777 == 0o666 & ~umask


def test_an_unknown_format_leaves_the_old_file_as_it_was(tmp_path):
    (tmp_path / "price.xyz").write_text("old")
    with pytest.raises(ValueError, match="xyz"):
        figures.save(figures.price_figure(EVALUATION), str(tmp_path / "price.xyz"))
    assert os.listdir(tmp_path) == ["price.xyz"]
    assert (tmp_path / "price.xyz").read_text() == "old"


@pytest.mark.slow
def test_pyplot_is_left_alone_and_matplotlib_comes_late(fresh_python):
    script = (
        "import json, sys; from recsys_po_rl.reporting import figures; "
        "from recsys_po_rl.run_folder.schema import Evaluation; "
        "early = 'matplotlib' in sys.modules; "
        f"figures.price_figure(Evaluation.from_json(json.loads({json.dumps(CONTENT)!r}), '')); "
        "print(early, 'matplotlib' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    ran = fresh_python("-c", script)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["False", "True", "False"]
