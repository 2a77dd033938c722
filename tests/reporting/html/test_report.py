"""The page about a run: what it says, what it says of what is missing, and that nothing on it runs."""

import itertools
import json
import re

import pytest

from recsys_po_rl.evaluation.portrait import Portrait
from recsys_po_rl.reporting.html import report, users
from recsys_po_rl.run_folder import run_files
from tests.support.run_folder import HOSTILE, Page, evaluation, policy, portrait, write_run

SECTIONS = [
    "In three sentences", "Policies", "The price of partial observability", "Training", "Users over the horizon",
    "Slates that the policy shows", "Configuration of the run",
]  # fmt: skip


def page_of(folder):
    return Page(report.page(run_files.read(str(folder))))


@pytest.fixture
def finished(tmp_path):
    alarm = "0,3,entropy,0.1,0.2,the entropy is under its bound"
    return write_run(tmp_path / "some_run", alarms=[alarm], config="recsys_po_rl.experiment.horizon = 8\n")


def test_the_verdict_has_its_figures_and_intervals(finished):
    text = page_of(finished).text
    assert (
        "brings 60.00 [59.00, 61.00] of consumed time per user over 8 slates (200 fresh users; brackets are 95% "
        "intervals), 40.00 [39.50, 40.50] more than random slates, and 10.00 [9.50, 10.50] more than best_fixed_slate, "
        "the best that knows neither interests nor how users behave." in text
    )
    assert (
        "It closes 80% [78%, 82%] of the gap between random slates and the reference that sees what users are "
        "interested in, which brings 10.00 [9.50, 10.50] more than the learned policy." in text
    )
    assert (
        "the mean quality of what they consume goes from +0.75 [+0.62, +0.88] to -0.25 [-0.38, -0.12], their click "
        "rate from 50% [38%, 62%] to 80% [68%, 92%], the distance from their first interest from 1.00 [0.88, 1.12] to "
        "4.00 [3.88, 4.12]." in text
    )


def test_a_worse_and_an_unclear_policy_are_called_so(tmp_path):
    content = evaluation(learned=15.0)
    content["policies"]["best_fixed_slate"] = policy(15.2, 15.0)
    (write_run(tmp_path) / "evaluation.json").write_text(json.dumps(content))
    text = page_of(tmp_path).text
    assert "5.00 [4.50, 5.50] less than random slates" in text
    assert "0.20 [-0.30, 0.70] less, which is not clear, than best_fixed_slate" in text


def test_negative_differences_are_turned_round(tmp_path):
    content = evaluation()
    content["price_of_partial_observability"]["differences"] = [
        {"of": "belief_reference", "minus": "learned", "mean": -2.0, "interval95": [-2.5, -1.75]},
        {"of": "full_information_reference", "minus": "belief_reference", "mean": 9.0, "interval95": [8.0, 10.0]},
        {"of": "unheard_of", "minus": "learned", "mean": 1.0, "interval95": [None, None]},
    ]
    (write_run(tmp_path) / "evaluation.json").write_text(json.dumps(content))
    text = page_of(tmp_path).text
    assert "Without seeing the interest, the learner brings 2.00 [1.75, 2.50] more than the belief reference." in text
    assert "Seeing the interest is worth 9.00 [8.00, 10.00] to the reference." in text


def test_every_part_of_a_finished_run_is_there(finished):
    page = page_of(finished)
    assert [text for level, text in page.headings if level == 2] == SECTIONS
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert len(set(page.ids)) == len(page.ids)
    for said in (
        "70.00 [69.00, 71.00] +10.00 [+9.50, +10.50]",  # the table
        "belief_ reference : left out, it was not asked for",
        "The gap, from random slates to the reference that sees the interest, is 50.00 [49.00, 51.00].",
        "1 alarm.", "the entropy is under its bound",
        "The policy of step 4 is kept.",
        "-0.50 on average in the third toward trash, +0.00 between, +0.38 in the third toward nutrition",
        "7 1 +0.50 25% 12%",  # a document
        "experiment. horizon 100 8",  # a difference from the default
        "9.8.7", "13 seconds in all",
    ):  # fmt: skip
        assert said in page.text, said
    alternatives = page.alternatives()
    assert any(text.startswith("Mean cumulative reward per user. in training: from 10 to 40.") for text in alternatives)
    assert any("alarm at step 3: entropy" in text for text in alternatives)
    assert any(
        "Shown by the learned policy" in text and "In the last part most is topic 1 (+0.5), 100%" in text
        for text in alternatives
    )
    assert page.tags.count("svg") == len(alternatives) + sum(
        (tag, name) == ("svg", "aria-hidden") for tag, name, _ in page.attributes
    )
    bars = [value for tag, name, value in page.attributes if (tag, name) == ("i", "style")]
    assert f"width:{round(100 * 60 / 71, 2)}%" in bars


def test_nothing_hostile_gets_out_of_its_text(tmp_path):
    folder = write_run(tmp_path / "run")
    content = evaluation()
    for text in HOSTILE:
        content["policies"][text] = policy(30.0, 60.0)
        content["left_out"][text] = text
        content["full_information"].append(text)
        content["price_of_partial_observability"]["policies"][text] = {
            **content["price_of_partial_observability"]["policies"]["learned"], "label": text,
        }  # fmt: skip
    content["price_of_partial_observability"]["unit"] = HOSTILE[0]
    content["selection"]["best_step"] = HOSTILE[0]
    (folder / "evaluation.json").write_text(json.dumps(content))
    (folder / "environment.json").write_text(
        json.dumps(
            {
                "seeds": [0],
                "versions": dict(zip(HOSTILE, HOSTILE)),
                "started": HOSTILE[1],
                "machine": {"platform": HOSTILE[2], "processor": HOSTILE[2], "cpu_count": 2},
            }
        )
    )
    shown = portrait()
    for of in shown["policies"].values():
        of["documents_early"] = [{**of["documents_early"][0], "document": text} for text in HOSTILE]
    shown["topics"] = [{**topic, "name": text} for topic, text in zip(shown["topics"], HOSTILE)]
    (folder / "portrait.json").write_text(json.dumps(shown))
    (folder / "timings.json").write_text(json.dumps(dict.fromkeys(HOSTILE, 1.0)))
    (folder / "config.gin").write_text("".join(f"a.b.c{at} = {text!r}\n" for at, text in enumerate(HOSTILE)))
    cells = [text.replace('"', '""') for text in HOSTILE[:4]]
    (folder / "alarms.csv").write_text(
        "seed,step,alarm,value,threshold,message\n"
        + "".join(f'0,2,"{text}","{text}","{text}","{text}"\n' for text in cells)
    )
    (folder / "metrics.csv").write_text('seed,step,mean_reward,"<script>x</script>"\n0,1,2.0,3.0\n0,2,3.0,4.0\n')
    page = page_of(folder)  # which refuses every tag and attribute that has no place on it
    assert "cannot be shown" not in page.text
    for text in HOSTILE[:4]:
        assert page.text.count(" ".join(text.split())) >= 3, text


@pytest.mark.parametrize("steps", [0, 3])
def test_a_run_that_is_not_finished_says_what_is_missing(tmp_path, steps):
    page = page_of(write_run(tmp_path, num_steps=steps, finished=False))
    assert f"This run is not finished: {steps} of 4 training steps are done, evaluation.json is missing." in page.text
    assert "There is no evaluation yet." in page.text
    assert "There is no portrait.json yet" in page.text
    assert ("No training step is done yet" in page.text) == (steps == 0)
    assert [text for level, text in page.headings if level == 2] == SECTIONS


def test_a_folder_with_no_more_than_a_configuration(tmp_path):
    (tmp_path / "config.gin").write_text("")
    assert "This run is not finished: 0 training steps are done" in page_of(tmp_path).text


def test_several_seeds_have_bands_and_intervals_over_seeds(tmp_path):
    for seed in (0, 1, 2):
        write_run(tmp_path / f"seed_{seed}", seed)
    unfinished = page_of(tmp_path)
    assert "This run is not finished (seed_0: finished; seed_1: finished; seed_2: finished)." in unfinished.text
    assert "Figures of policies are those of seed_0 alone." in unfinished.text
    content = evaluation()
    for entry in content["policies"].values():
        entry["num_seeds"] = 3
    (tmp_path / "evaluation.json").write_text(json.dumps(content))
    page = page_of(tmp_path)
    assert "(3 seeds; brackets are 95% intervals)" in page.text
    assert "Bands are 95% intervals over 3 seeds." in page.text
    assert "Lines are means over 3 seeds, bands reach from the lowest seed to the highest." in page.text
    assert "Slates 1 to 4 (seed_1)" in page.text
    assert "not finished" not in page.text


def test_pooled_measures_are_means_over_runs():
    one, other = portrait(), portrait()
    other["policies"]["learned"] = json.loads(json.dumps(other["policies"]["learned"]))
    other["policies"]["learned"]["users"]["all"]["reward_per_step"]["mean"] = [0.75, None]
    one, other = (Portrait.from_json(content, "") for content in (one, other))
    line = users.pooled([one, other], "learned", "all", "reward_per_step")
    assert line.mean == [0.5, 0.75]
    assert line.low[0] == pytest.approx(0.5 - 12.7062 * 0.25, rel=1e-4)  # t quantile of one degree of freedom
    assert line.low[1] is None
    alone = users.pooled([one], "learned", "all", "mean_quality_consumed")
    assert alone == ([0.5, None], [0.4, None], [0.6, None])
    assert users.pooled([one, other], "learned", "all", "unheard_of") is None


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("evaluation.json", lambda of: of.pop("policies")),
        ("evaluation.json", lambda of: of["policies"].pop("learned")),
        ("evaluation.json", lambda of: of["policies"]["learned"].update(interval95=None)),
        ("evaluation.json", lambda of: of["policies"]["learned"].update(mean="sixty", minus_learned=3)),
        ("evaluation.json", lambda of: of.update(policies=[1], left_out=2, full_information=3, selection=4)),
        ("evaluation.json", lambda of: of.update(price_of_partial_observability={"policies": {"a": 1, "b": 2}})),
        ("portrait.json", lambda of: of.update(parts=None)),
        ("portrait.json", lambda of: of.update(topics=[{}])),
        ("portrait.json", lambda of: of["policies"].update(learned={})),
        ("portrait.json", lambda of: of.update(policies=7)),
        ("portrait.json", lambda of: of.pop("policies")),
        ("environment.json", lambda of: of.update(seeds=3, versions=[1], machine="x")),
        ("timings.json", lambda of: of.update(training={})),
    ],
)
def test_foreign_content_is_said_and_the_rest_is_shown(tmp_path, name, change):
    folder = write_run(tmp_path)
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))
    page = page_of(folder)
    assert [text for level, text in page.headings if level == 2] == SECTIONS
    assert "in training: from 10 to 40." in " ".join(page.alternatives())
    if name in ("portrait.json", "environment.json"):
        assert f"{name}: " in page.text
    if name == "portrait.json":
        assert "portrait.json cannot be read, see above" in page.text
        assert "There is no portrait.json yet" not in page.text


def test_differences_name_what_is_not_the_same():
    found = report.differences({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "4", "d": "5"})
    assert found == [("b", ["2", "4"]), ("c", ["3", None]), ("d", [None, "5"])]


def test_the_page_is_the_same_every_time(finished):
    pages = {report.page(run_files.read(str(finished))) for _ in range(2)}
    assert len(pages) == 1
    assert not re.search("https?://", pages.pop())


def test_an_evaluation_elsewhere_says_what_is_not_as_it_was_trained(tmp_path):
    content = {
        **evaluation(),
        "trained_seed": 3,
        "learned_where_it_was_trained": {"mean": 55.0, "interval95": [54.0, 56.0], "horizon": 6},
        "changed": [{"name": HOSTILE[0], "trained": None, "evaluated": "9"}],
    }
    write_run(tmp_path, num_steps=0)
    (tmp_path / "evaluation.json").write_text(json.dumps(content))
    page = page_of(tmp_path)
    assert "the training is in the run that it evaluates" in page.text
    assert "(seed 3), over 6 slates, the policy brings 55.00 [54.00, 56.00]." in page.text
    assert "not bound 9" in page.text
    (tmp_path / "evaluation.json").write_text(json.dumps({**content, "changed": []}))
    assert "Nothing else is bound than in the training." in page_of(tmp_path).text
    (tmp_path / "evaluation.json").write_text(json.dumps({**content, "changed": 3}))
    assert "cannot be shown" in page_of(tmp_path).text
