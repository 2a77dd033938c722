"""The main job learns: a shortened default experiment beats the random policy clearly, on seeds 0, 1 and 2."""

import pytest

from recsys_po_rl import gin_config
from recsys_po_rl.experiment import experiment

# Of 300 steps; the full runs are in docs/LEARNING.md.
STEPS = 60


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_learned_is_at_least_1_4_times_random_with_intervals_apart(seed, tmp_path):
    gin_config.parse(
        ["experiments/default.gin"],
        [
            f"recsys_po_rl.experiment.seeds = [{seed}]",
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
    # The study's own figures for these corpora, 99 responses: 23.9, 27.8, 26.4, half-widths 0.2 to 0.8.
    assert random["mean_upstream_count"] == pytest.approx({0: 23.9, 1: 27.8, 2: 26.4}[seed], abs=1.0)
