"""Pages: their links resolve, and names of code in them exist."""

import importlib
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
)
LINK = re.compile(r"\]\(([^)\s#]+)[^)]*\)")


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_resolve(page):
    path = ROOT / page
    for link in LINK.findall(path.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", link):
            assert (path.parent / link).exists(), link


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
