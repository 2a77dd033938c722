"""Comparisons: paired where users are the same, refused where they are not, Welch where it is asked for."""

import json

import numpy as np
import pytest

from recsys_po_rl.common import validation
from recsys_po_rl.evaluation import statistics
from recsys_po_rl.reporting import comparison as comparison_lib
from recsys_po_rl.reporting.html import comparison_page
from recsys_po_rl.run_folder import per_user, run_files
from tests.support.run_folder import HOSTILE, Page, evaluation, policy, write_run

N = 200
WORLD = evaluation()["world"]
LUCK = np.random.RandomState(5).randn(N)


def write(folder, learned=60.0, seed=0, num_users=N, noise=1.0, **options):
    """A run whose learned policy brings `learned` on average; luck is shared, noise is its own."""
    write_run(folder, seed, learned=learned, **options)
    own = np.random.RandomState(int(learned * 8)).randn(N) * noise
    totals = {"learned": learned + 5 * LUCK + own - own.mean() - 5 * LUCK.mean(), "uniform_random": 20 + LUCK}
    per_user.save(str(folder), {name: of[:num_users] for name, of in totals.items()})
    return folder


def compared(*folders, **options):
    return comparison_lib.compare([run_files.read(str(folder)) for folder in folders], **options)


def change(folder, **entries):
    content = json.loads((folder / "evaluation.json").read_text())
    content.update(entries)
    (folder / "evaluation.json").write_text(json.dumps(content))


def test_users_are_paired(tmp_path):
    one, other = write(tmp_path / "one"), write(tmp_path / "other", 62.0)
    found = compared(one, other)
    assert (found.names, found.paired, found.unit) == (["one", "other"], True, "users")
    assert (found.num_units, found.horizons) == ([N, N], [8, 8])
    assert [row.policy for row in found.rows] == [
        "learned", "full_information_reference", "best_fixed_slate", "uniform_random",
    ]  # fmt: skip
    learned = found.rows[0]
    assert [of.mean for of in learned.means] == [60.0, 62.0]
    totals = [per_user.load(str(folder))["learned"] for folder in (one, other)]
    assert learned.differences == [None, statistics.paired_difference(totals[1], totals[0])]
    assert learned.differences[1].mean == pytest.approx(2.0, abs=1e-4)
    assert found.rows[1].differences == [None, None]  # per_user.npz does not have it
    assert found.rows[3].differences[1][:3] == (0.0, 0.0, 0.0)
    # Luck cancels: far narrower than what independent samples would have.
    apart = compared(one, other, unpaired=True).rows[0].differences[1]
    assert apart.mean == pytest.approx(2.0)
    assert learned.differences[1].high - learned.differences[1].low < 0.5 * (apart.high - apart.low)


def test_the_first_users_are_paired_where_one_run_has_more(tmp_path):
    one, other = write(tmp_path / "one", num_users=150), write(tmp_path / "other", 62.0)
    found = compared(one, other, one)
    totals = [per_user.load(str(folder))["learned"][:150] for folder in (one, other)]
    assert found.rows[0].differences[1] == statistics.paired_difference(totals[1], totals[0])
    assert found.num_units == [150, 150, 150]
    assert found.names == [str(one), str(other), str(one)] or len(set(found.names)) == 3


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"corpus_seed": 3}, r"they differ in corpus_seed \(0 and 3\)"),
        ({"seed": 7}, r"their seeds differ, \[0\] and \[7\]"),
        ({"world": {**WORLD, "num_docs": 10}}, r"num_docs \(9 and 10\)"),
        (
            {"world": {**WORLD, "evaluation_batch_size": 50, "horizon": 9}},
            r"evaluation_batch_size \(100 and 50\), horizon \(8 and 9\)",
        ),
        ({"world": {}}, r"num_docs \(9 and not there\)"),
        ({"world": {**WORLD, "form": 2}}, "recorded by different versions of this project"),
        ({"world": None}, r"evaluation\.json of other does not say what its world was"),
    ],
)
def test_other_worlds_and_users_are_not_paired(tmp_path, entries, said):
    one, other = write(tmp_path / "one"), write(tmp_path / "other", 62.0)
    change(other, **entries)
    with pytest.raises(validation.InvalidInputError, match=said) as caught:
        compared(one, other)
    assert "one and other cannot be paired" in str(caught.value)
    assert "--unpaired" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert compared(one, other, unpaired=True).rows[0].differences[1].mean == pytest.approx(2.0)


def test_names_of_macros_do_not_say_whether_worlds_differ(tmp_path):
    one, other = write(tmp_path / "one"), write(tmp_path / "other", 62.0)
    for folder in (one, other):
        change(folder, world={**WORLD, "recsys_po_rl.InterestEvolutionUser.no_click_mass": "%MASS"})
    with pytest.raises(validation.InvalidInputError, match=r"recorded .*no_click_mass as the macro %MASS") as caught:
        compared(one, other)
    assert "\n" not in str(caught.value)
    assert compared(one, other, unpaired=True).rows[0].differences[1].mean == pytest.approx(2.0)


def test_a_world_that_differs_without_saying_so_shows_in_the_random_policy(tmp_path):
    one, other = write(tmp_path / "one"), write(tmp_path / "other", 62.0)
    totals = per_user.load(str(other))
    totals["uniform_random"][:5] += 1.0  # a few choices that rounding turned
    per_user.save(str(other), totals)
    compared(one, other)
    totals["uniform_random"][:40] += 1.0
    per_user.save(str(other), totals)
    with pytest.raises(
        validation.InvalidInputError, match=r"uniform_random, which learns nothing, .* to 20% of the users"
    ):
        compared(one, other)


def write_seeds(folder, means, **options):
    for seed, mean in means.items():
        write(folder / f"seed_{seed}", mean, seed, **options)
    (folder / "evaluation.json").write_text(json.dumps(evaluation()))
    return folder


def test_policies_of_several_seeds_on_the_users_of_one_are_all_there(tmp_path):
    runs = [
        write_seeds(tmp_path / name, means)
        for name, means in (("one", {0: 60.0, 1: 70.0}), ("other", {0: 62.0, 1: 72.5}))
    ]
    for run in runs:
        for seed in (0, 1):
            change(run / f"seed_{seed}", seed=7, trained_seed=seed)
    found = compared(*runs)
    assert (found.unit, found.num_units) == ("seeds", [2, 2])
    row = next(row for row in found.rows if row.policy == "learned")
    assert row.differences[1].mean == pytest.approx(2.25)


def test_over_several_seeds_the_unit_is_the_seed(tmp_path):
    one = write_seeds(tmp_path / "one", {0: 60.0, 1: 62.0, 2: 64.0})
    other = write_seeds(tmp_path / "other", {0: 61.0, 1: 63.5, 2: 66.0})
    found = compared(one, other)
    assert (found.unit, found.num_units) == ("seeds", [3, 3])
    assert found.rows[0].differences[1] == statistics.paired_difference([61.0, 63.5, 66.0], [60.0, 62.0, 64.0])
    apart = compared(one, other, unpaired=True).rows[0].differences[1]
    assert apart == statistics.unpaired_difference(
        statistics.mean_interval([61.0, 63.5, 66.0]), statistics.mean_interval([60.0, 62.0, 64.0])
    )
    fewer = write_seeds(tmp_path / "fewer", {0: 60.0, 2: 62.0})
    with pytest.raises(validation.InvalidInputError, match=r"their seeds differ, \[0, 1, 2\] and \[0, 2\]"):
        compared(one, fewer)
    assert compared(one, fewer, unpaired=True).num_units == [3, 2]


def test_runs_that_are_not_finished_or_too_few_are_refused(tmp_path):
    one = write(tmp_path / "one")
    with pytest.raises(validation.InvalidInputError, match="at least two run folders, got 1"):
        compared(one)
    with pytest.raises(validation.InvalidInputError, match=r"half' is not finished: there is no evaluation\.json"):
        compared(one, write_run(tmp_path / "half", finished=False))
    several = write_seeds(tmp_path / "several", {0: 60.0, 1: 62.0})
    (several / "seed_1" / "evaluation.json").unlink()
    with pytest.raises(validation.InvalidInputError, match=r"there is no evaluation\.json in seed_1"):
        compared(one, several, unpaired=True)


def test_a_run_without_totals_of_each_user_is_not_paired(tmp_path):
    one, other = write(tmp_path / "one"), write(tmp_path / "other", 62.0)
    (other / per_user.FILE).unlink()
    with pytest.raises(validation.InvalidInputError, match=r"has no per_user\.npz"):
        compared(one, other)
    assert compared(one, other, unpaired=True).rows[0].differences[1].mean == 2.0


@pytest.mark.parametrize("entries", [{"policies": None}, {"policies": {"learned": 3}}, {"seed": None}, {"horizon": []}])
def test_foreign_files_are_one_line(tmp_path, entries):
    one, other = write(tmp_path / "one"), write(tmp_path / "other")
    change(other, **entries)
    with pytest.raises(validation.InvalidInputError, match="has not the form that this project writes") as caught:
        compared(one, other)
    assert "\n" not in str(caught.value)


def test_text_says_what_differs(tmp_path):
    one = write(tmp_path / "one", config="a.b.c = 1\n")
    other = write(tmp_path / "other", 57.5, config="a.b.c = 2\na.b.d = 3\n")
    runs = [run_files.read(str(folder)) for folder in (one, other)]
    text = comparison_page.text(comparison_lib.compare(runs), [run.config for run in runs])
    assert text.splitlines()[0] == (
        "Cumulative consumed time per user over 8 slates; 95% intervals over users; "
        "differences are paired, on the same 200 users with the same random draws."
    )
    learned = next(line for line in text.splitlines() if line.startswith("learned")).split()
    assert learned[:7] == ["learned", "60.00", "[59.00,", "61.00]", "57.50", "[56.50,", "58.50]"]
    assert learned[7] == "-2.50"
    assert "The policy learned in other brings 2.50 [2." in text
    assert " less than that of one." in text
    assert text.splitlines()[-6:] == [
        "a.b.c", "  one:    1", "  other:  2", "a.b.d", "  one:    not bound", "  other:  3",
    ]  # fmt: skip


def test_the_page_shows_both_runs_and_nothing_hostile(tmp_path):
    one = write(tmp_path / "one", config="a.b.c = 1\n")
    other = write(
        tmp_path / "other", 62.0, config="".join(f"a.b.c{at} = {text!r}\n" for at, text in enumerate(HOSTILE))
    )
    content = json.loads((other / "evaluation.json").read_text())
    content["policies"].update({text: policy(30.0, 60.0) for text in HOSTILE})
    (other / "evaluation.json").write_text(json.dumps(content))
    (other / "environment.json").write_text(json.dumps({"versions": {text: text for text in HOSTILE}}))
    runs = [run_files.read(str(folder)) for folder in (one, other)]
    found = comparison_lib.compare(runs)
    page = Page(comparison_page.page(found, runs))
    assert "cannot be shown" not in page.text
    assert [text for level, text in page.headings if level == 2] == [
        "In short", "Policies", "Learning curves", "Users over the horizon, under the learned policies",
        "Configuration differences", "Version differences",
    ]  # fmt: skip
    assert "The policy learned in other brings 2.00" in page.text
    assert any(
        text.startswith("Mean cumulative reward in training. one: from 10 to 40. other: from 10 to 40.")
        for text in page.alternatives()
    )
    for text in HOSTILE[:4]:
        assert page.text.count(" ".join(text.split())) >= 2, text
    printed = comparison_page.text(found, [run.config for run in runs])
    assert all(letter.isprintable() or letter == "\n" for letter in printed)


def test_where_a_configuration_is_unknown_no_difference_is_claimed(tmp_path):
    comparison = compared(write(tmp_path / "one"), write(tmp_path / "other", 62.0))
    text = comparison_page.text(comparison, [{"recsys_po_rl.experiment.horizon": "100"}, None])
    assert "Configuration differences: not known, other has no config.gin that can be read" in text
    assert "not bound" not in text
