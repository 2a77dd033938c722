"""Pages: their links resolve, and names of code in them exist."""

import importlib
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf
from recsim_ng.core.value import Value

from recsys_po_rl import fields
from recsys_po_rl.experiment import experiment
from recsys_po_rl.gin_config import parse

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Parts that benchmarks/learning_page.py copies into docs/LEARNING.md: their links are relative to that page.
PARTS_OF_LEARNING = ROOT / "benchmarks" / "results" / "learning"
FOLDERS = ["docs", "benchmarks", "examples", "configs", "tests", "recsys_po_rl"]
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in [*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))]
)
LINK = re.compile(r"\]\(([^)\s#]+)[^)]*\)")
ANCHORED_LINK = re.compile(r"\]\(([^)\s#:]*)#([^)\s]+)\)")


def folder_of_links(path):
    """Return the folder that the links of a page are relative to."""
    return ROOT / "docs" if path.parent == PARTS_OF_LEARNING else path.parent


def anchors(text):
    """Return the anchors of a page's headings, as GitHub makes them."""
    without_code = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", without_code, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_resolve(page):
    path = ROOT / page
    for link in LINK.findall(path.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", link):
            assert (folder_of_links(path) / link).exists(), link


@pytest.mark.parametrize("page", PAGES)
def test_anchors_of_links_are_headings(page):
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    for link, anchor in ANCHORED_LINK.findall(text):
        target = text if not link else (folder_of_links(path) / link).read_text(encoding="utf-8")
        assert anchor in anchors(target), f"{link}#{anchor}"


def test_anchors_are_those_of_headings_outside_of_code():
    assert anchors("# A Page\n```sh\n# a comment\n```\n## policy.keras\n") == {"a-page", "policykeras"}
    assert ANCHORED_LINK.findall("[a](b.md#part), [c](#own), [d](https://example.org/#x)") == [
        ("b.md", "part"),
        ("", "own"),
    ]


def test_a_broken_link_is_found():
    assert LINK.findall("see [a page](no/such/page.md#part) and [web](https://example.org)") == [
        "no/such/page.md",
        "https://example.org",
    ]


def test_the_architecture_page_names_every_module_and_package():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for path in sorted((ROOT / "recsys_po_rl").iterdir()):
        name = path.stem if path.suffix == ".py" else f"{path.name}/"
        if (path.suffix == ".py" or (path / "__init__.py").exists()) and name != "__init__":
            assert f"`{name}`" in text, name


NAMES = [
    ("recsys_po_rl.experiment.selection", "BestPolicySelector"),
    ("recsys_po_rl.experiment.recorder", "Recorder"),
    ("recsys_po_rl.experiment.monitor", "TrainingMonitor"),
    ("recsys_po_rl.experiment.single_seed", "evaluate_policies"),
    ("recsys_po_rl.policies.adapters", "policies_from"),
    ("recsys_po_rl.policies.base", "PolicyContext"),
    ("recsys_po_rl.training.replay", "SlateReplay"),
    ("recsys_po_rl.training.loop", "train"),
    ("recsys_po_rl.simulation.step", "SeededNetwork"),
    ("recsys_po_rl.simulation.dataflow", "needed"),
    ("recsys_po_rl.simulation.rollout", "compiled_loop"),
    ("recsys_po_rl.simulation.hoisting", "loop_invariant"),
    ("recsys_po_rl.simulation.seeding", "replayed_draws"),
]


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_names_on_the_architecture_page_exist(module, name):
    assert name in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert hasattr(importlib.import_module(module), name)


@pytest.fixture(scope="module")
def extending():
    """Names that the examples of docs/extending.md define, each executed as it stands."""
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        exec(block, names)
    return names


@pytest.mark.slow
def test_the_example_of_a_callback_is_called_at_each_step(extending):
    assert [row.step for row in extending["rows"]] == [1, 2]


@pytest.mark.slow
def test_the_dynamics_of_the_example_are_those_of_its_story(extending):
    entity = extending["ForgetfulUser"]({"num_users": 2, "num_topics": 3, "slate_size": 1})
    interest = tf.constant([[1.0, -2.0, 0.5], [0.1, 0.0, 3.0]])
    docs = Value(doc_features=tf.ones((2, 1, 3)), doc_quality=tf.constant([[0.5], [-1.0]]))
    response = Value(choice=tf.constant([0, 0]), consumed_time=tf.ones(2))
    state = Value(**{fields.INTEREST: interest})
    following = tf.convert_to_tensor(entity.next_state(state, response, docs).get(fields.INTEREST))
    planned = entity.dynamics().next_interest(interest, docs.map(lambda field: field[:, 0]))
    np.testing.assert_allclose(following, planned, rtol=1e-6)


@pytest.mark.slow
def test_the_other_examples_run_in_an_experiment(extending, tmp_path):
    parse(
        ["experiments/default.gin", "overlays/tiny.gin", "runtime/eager.gin"],
        [
            "recsys_po_rl.experiment.num_training_steps = 1",
            "recsys_po_rl.experiment.horizon = 2",
            "recsys_po_rl.experiment.policies = "
            "[@recsys_po_rl.newest_documents, @recsys_po_rl.myopic_full_information]",
            "recsys_po_rl.newest_documents.skip = 1",
            "recsys_po_rl.create_interest_evolution_simulation_network.user_ctor = @recsys_po_rl.ForgetfulUser",
            "recsys_po_rl.create_interest_evolution_simulation_network.metrics_ctor = "
            "@recsys_po_rl.ClicksAsRewardMetrics",
            "recsys_po_rl.PolicyGradientLearner.algorithm = @recsys_po_rl.PenalisedPolicyOptimization",
        ],
    )
    result = experiment(output_dir=str(tmp_path / "run"), quiet=True)
    policies = result.evaluation["policies"]
    assert {"learned", "newest_documents", "myopic_full_information"} <= set(policies)
    assert policies["newest_documents"]["details"] == {"doc_ids": [99, 98]}
    assert all(0.0 <= entry["mean"] <= 2.0 for entry in policies.values())  # clicks in two steps
    assert "PenalisedPolicyOptimization" in (tmp_path / "run" / "operative_config.gin").read_text()
