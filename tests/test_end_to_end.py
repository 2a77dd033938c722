"""The main job learns: a shortened default experiment beats the random policy clearly."""

import pytest

from recsys_po_rl import gin_config
from recsys_po_rl.experiment import experiment

# Of 300 steps; the full runs are in docs/LEARNING.md.
STEPS = 60


@pytest.mark.slow
def test_learned_is_at_least_1_4_times_random_with_intervals_apart(tmp_path):
    gin_config.parse(
        ["experiments/default.gin"],
        [
            "recsys_po_rl.experiment.seeds = [0]",
            f"recsys_po_rl.experiment.num_training_steps = {STEPS}",
            "recsys_po_rl.experiment.policies = [@recsys_po_rl.uniform_random]",
            "recsys_po_rl.experiment.num_evaluation_users = 1000",
        ],
    )
    policies = experiment(output_dir=str(tmp_path / "run"), quiet=True).evaluation["policies"]
    learned, random = policies["learned"], policies["uniform_random"]
    assert learned["mean"] >= 1.4 * random["mean"]
    assert learned["interval95"][0] > random["interval95"][1]
    assert random["minus_learned"]["interval95"][1] < 0.0
    # The study's own figure for this corpus, 99 responses, has a half-width below 0.8.
    assert random["mean_upstream_count"] == pytest.approx(23.9, abs=1.0)
