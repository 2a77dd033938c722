"""Tables of results for a terminal."""

import dataclasses

import numpy as np
import pytest

from recsys_po_rl.evaluation import evaluator, price
from recsys_po_rl.experiment import run
from recsys_po_rl.reporting import tables
from recsys_po_rl.run_folder.schema import Change, Evaluation, LearnedWhereTrained

MEANS = {
    "uniform_random": 50.0,
    "learned": 62.0,
    "belief_reference": 66.0,
    "learned_full_information": 68.0,
    "full_information_reference": 70.0,
}


def evaluation_of(means, seed=0, shift=0.0, learned_position=None, **more):
    rng = np.random.default_rng(seed)
    everyone = rng.gamma(7.5, 1.0, 400)
    outcomes = {}
    for name, mean in means.items():
        total = everyone + rng.normal(size=400)
        total += mean + shift - total.mean()
        outcomes[name] = evaluator.Outcome(total, total - 0.5)
    return Evaluation(
        policies={name: evaluator.summary(of, outcomes["learned"]) for name, of in outcomes.items()},
        price_of_partial_observability=price.price_of_partial_observability(outcomes, learned_position),
        horizon=100,
        **more,
    )


def test_the_table_has_the_best_policy_first_and_marks_who_sees_the_interest():
    evaluation = evaluation_of(
        MEANS,
        full_information=["learned_full_information", "full_information_reference", "not_evaluated"],
        left_out={"myopic": "PlainUser has no choice_logits"},
    )
    lines = tables.policy_table(evaluation).splitlines()
    assert lines[0] == "Cumulative consumed time per user over 100 slates, mean over 400 fresh users"
    names = [line.split("  ")[0] for line in lines[4:9]]
    assert names == [
        "full_information_reference *", "learned_full_information *", "belief_reference", "learned", "uniform_random",
    ]  # fmt: skip
    assert lines[4].split()[2] == "70.00"
    assert "+8.00" in lines[4]
    assert lines[7].count("[") == 1  # of the learned policy itself there is no difference
    assert lines[9] == "* sees the interest, which the others have to guess from histories"
    assert lines[10] == "myopic: left out, PlainUser has no choice_logits"
    assert len(lines) == 11


def test_without_full_information_there_is_no_footnote():
    assert "*" not in tables.policy_table(evaluation_of(MEANS))


def test_measures_across_few_runs_are_not_called_95_percent():
    several = run.pooled([evaluation_of(MEANS, seed, shift=seed) for seed in range(5)])
    text = tables.policy_table(several)
    assert "mean over 5 seeds" in text
    across = text[text.index("Across 5 runs") :]
    assert "they cover 90% and 89% of the time, measured on normal scores" in across
    assert "nominally 95%" in across
    assert "95%" not in across.replace("nominally 95%", "")
    learned = next(line for line in across.splitlines() if line.startswith("learned "))
    assert learned.split()[1] == "64.00"  # shifts 0 to 4: the middle three average 2
    assert learned.count("[") == 1
    random = next(line for line in across.splitlines() if line.startswith("uniform_random "))
    assert " 1.00 " in random


def test_a_single_run_has_unbounded_intervals():
    text = tables.policy_table(run.pooled([evaluation_of(MEANS)]))
    assert "[unbounded]" in text
    assert "they cover unknown" not in text
    assert "None" not in text


def test_the_price_in_plain_lines():
    text = tables.price_lines(evaluation_of(MEANS))
    lines = text.splitlines()
    assert lines[0].startswith("The price of partial observability")
    assert "over 100 slates; 95% intervals over 400 users, paired" in lines[1]
    shares = {"random slates": "0%", "learned": "60%", "belief reference": "80%",
              "learned, sees interest and step": "90%", "reference, sees interest and step": "100%"}  # fmt: skip
    for line, (label, share) in zip(lines[4:9], shares.items(), strict=True):
        assert line.startswith(label)
        assert f" {share} " in line
    assert "The gap, from random slates to the reference that sees the interest, is 20.00 [19." in text
    assert "Seeing the interest and the step is worth 6.00 [" in text
    assert "Seeing the interest is worth 4.00 [" in text
    assert "Without seeing the interest, the belief reference gets 4.00 [" in text
    assert "A reference is the value of a policy: the optimum is at least that, and a share can exceed 100%." in text
    assert len(lines) <= 15
    assert max(map(len, lines)) <= 120


def test_every_step_of_the_dial_is_a_plain_sentence():
    means = {**MEANS, "learned_slates": 63.0, "learned_step": 62.5, "learned_slates_and_step": 64.0,
             "learned_interest": 67.0}  # fmt: skip
    text = tables.price_lines(evaluation_of(means, learned_position="learned_clicks"))
    for sentence in (
        "Beside the clicks, remembering its own slates is worth 1.00 [",
        "Beside the clicks, knowing the step is worth 0.50 [",
        "Beside the clicks, its own slates and the step together are worth 2.00 [",
        "Seeing the interest, without the step, is worth 5.00 [",
        "Knowing the step is worth 1.00 [",
        "Seeing the interest is worth 4.00 [",
    ):
        assert sentence in text
    assert max(map(len, text.splitlines())) <= 120


def test_a_learner_that_knows_the_step_gains_the_interest_alone():
    text = tables.price_lines(evaluation_of(MEANS, learned_position="learned_slates_and_step"))
    assert "Seeing the interest is worth 6.00 [" in text
    assert "Seeing the interest and the step" not in text


def test_a_share_above_one_is_shown():
    text = tables.price_lines(evaluation_of({**MEANS, "learned_full_information": 75.0}))
    assert " 125% " in text


def test_a_learner_above_the_belief_reference_is_said_in_plain_words():
    text = tables.price_lines(evaluation_of({**MEANS, "learned": 67.0}))
    assert "Without seeing the interest, the belief reference gets -1.00 [" not in text
    assert "Without seeing the interest, the learner gets 1.00 [" in text
    assert "more than the belief reference" in text


def test_a_missing_end_of_the_gap_is_named_with_its_reason():
    means = {name: mean for name, mean in MEANS.items() if name != "full_information_reference"}
    reason = "PlainUser has no next_interest"
    text = tables.price_lines(evaluation_of(means, left_out={"full_information_reference": reason}))
    assert f"The gap is not known: full_information_reference is left out, {reason}." in text
    assert "0%" not in text.replace("100%", "")
    unasked = tables.price_lines(evaluation_of(means))
    assert "full_information_reference is left out, it was not asked for." in unasked


def test_a_gap_that_may_be_none_is_called_so():
    text = tables.price_lines(evaluation_of({**MEANS, "full_information_reference": 50.001}))
    assert "It is not clearly above 0 on these users: shares of it mean little." in text


@pytest.mark.parametrize("evaluation", [Evaluation(policies={}), evaluation_of({"learned": 1.0})])
def test_without_a_comparison_nothing_is_said(evaluation):
    assert tables.price_lines(evaluation) == ""


def test_over_seeds_the_price_names_the_seeds():
    several = run.pooled([evaluation_of(MEANS, seed, shift=seed) for seed in range(3)])
    assert "95% intervals over 3 seeds, paired" in tables.price_lines(several)


def test_an_evaluation_elsewhere_names_both_worlds():
    own = LearnedWhereTrained(mean=55.0, interval95=[54.0, None], num_users=400, horizon=9)
    evaluation = evaluation_of(MEANS, trained_seed=3, changed=[], learned_where_it_was_trained=own)
    same = "evaluated in the same world, on the same users"
    last = "learned reaches 62.00 here, and 55.00 [54.00, nan] over 9 slates where it was trained"
    assert tables.which_is_which(evaluation, "RUN").splitlines() == ["trained in RUN", same, last]
    changed = [Change(name="a", trained=None, evaluated="9"), Change(name="long", trained="1", evaluated=None)]
    several = run.pooled([dataclasses.replace(evaluation, changed=changed)] * 2)
    assert tables.which_is_which(dataclasses.replace(several, changed=changed), "RUN").splitlines() == [
        "trained in RUN", "evaluated with", "  a = 9               (trained with its default)",
        "  long = (not bound)  (trained with 1)", f"seed 3: {last}", f"seed 3: {last}",
    ]  # fmt: skip
