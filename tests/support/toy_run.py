"""A run whose learner is cheap: a few numbers, moved by Adam along a seeded walk, judged by a formula.

What is interrupted, written and read is the real experiment's. `benchmarks/kills.py` uses it too.
"""

import csv
import dataclasses
import pathlib
import types

import numpy as np
import tensorflow as tf

from recsys_po_rl.evaluation import evaluator, price
from recsys_po_rl.evaluation.results import MeanInterval, PolicyResult
from recsys_po_rl.experiment import selection, single_seed
from recsys_po_rl.reporting import pages
from recsys_po_rl.run_folder import layout
from recsys_po_rl.run_folder.schema import Evaluation
from recsys_po_rl.training import diagnostics
from recsys_po_rl.training.learner import StepResult


class ToyRecommender(tf.Module):
    def __init__(self):
        super().__init__()
        self.weights = tf.Variable(tf.keras.initializers.RandomNormal()((3,)))
        self.count = tf.Variable(0.0, trainable=False)


class ToyCritic(tf.Module):
    def __init__(self):
        super().__init__()
        self.mean = tf.Variable(0.5, trainable=False)
        self.weight = tf.Variable([0.1, 0.2])
        self.optimizer = tf.keras.optimizers.Adam(0.1)
        self.optimizer.build([self.weight])


class ToyLearner:
    """Learner with every kind of state: a critic with statistics, two optimizers with slots, a schedule."""

    def __init__(self, network, horizon, runtime_ctor):
        del horizon, runtime_ctor
        self.recommender = network.recommender
        self.critic = ToyCritic()
        self.optimizer = tf.keras.optimizers.Adam(0.1)
        self.optimizer.build([self.recommender.weights])

    def step(self, keys, progress):
        self.optimizer.learning_rate.assign(0.1 * (1.0 - 0.5 * progress))
        noise = tf.random.stateless_normal((3,), tf.cast(keys[0].world, tf.int32))
        gradient = noise + 0.1 * self.recommender.weights + tf.reduce_sum(self.critic.weight)
        self.optimizer.apply_gradients([(gradient, self.recommender.weights)])
        self.recommender.count.assign_add(1.0)
        self.critic.mean.assign(0.9 * self.critic.mean + tf.reduce_mean(noise))
        self.critic.optimizer.apply_gradients([(noise[:2] * self.critic.mean, self.critic.weight)])
        return StepResult(tf.reduce_sum(self.recommender.weights), tf.norm(gradient), tf.constant(1.0))


def toy_network(num_users, corpus_seed, **options):
    recommender = ToyRecommender()
    return types.SimpleNamespace(
        recommender=recommender,
        trainable_variables=recommender.trainable_variables,
        variables=[],
        config={},
        corpus=None,
    )


def toy_runtime(variables):
    return types.SimpleNamespace(mode="graph")


def judged(recommender):
    return np.sin(7.0 * recommender.weights.numpy())


def toy_evaluation(config, context, network, runtime, trained, timings, folder):
    entries = {}
    for name, weights in (("learned", trained.best), ("learned_last", trained.last)):
        selection.with_weights(network, weights)
        mean = float(judged(network.recommender).mean())
        entries[name] = PolicyResult(
            mean=mean, interval95=[mean, mean], mean_upstream_count=mean, num_users=2,
            minus_learned=MeanInterval(mean=0.0, interval95=[0.0, 0.0]),
            others={"weights": [weight.tolist() for weight in weights]},
        )  # fmt: skip
    return Evaluation(
        policies=entries, best_step=trained.best_step, horizon=config.horizon,
        price_of_partial_observability=price.price_of_partial_observability({}),
    )  # fmt: skip


def make_evaluations_cheap(setattr_):
    """Replaces what needs a network that can be run; `setattr_` as that of pytest's monkeypatch."""
    setattr_(single_seed, "evaluate_policies", toy_evaluation)
    setattr_(
        selection.BestPolicySelector,
        "outcome",
        lambda self, weights: types.SimpleNamespace(
            total=judged(selection.with_weights(self._network, weights).recommender), behaviour=None
        ),
    )
    setattr_(diagnostics, "gradient_variances", lambda learner, keys: {"none": float(learner.critic.mean), "mean": 1.0})
    setattr_(evaluator, "pooled", lambda entries: dataclasses.replace(entries[0], others={"of": entries}))
    setattr_(price, "pooled", lambda prices: prices[0])
    setattr_(pages, "report", lambda folder: layout.write_text(folder, layout.REPORT, "a page"))


TOY = dict(
    num_training_steps=7, horizon=3, users_per_step=2, num_shards=2, validate_every_steps=2, checkpoint_every_steps=2,
    gradient_variance_every_steps=3, policies=[], quiet=True, network_ctor=toy_network, runtime_ctor=toy_runtime,
    learner_ctor=ToyLearner,
)  # fmt: skip


def untimed(path):
    with path.open(newline="") as file:
        return [
            {key: cell for key, cell in row.items() if not key.endswith(("_seconds", "_per_second"))}
            for row in csv.DictReader(file)
        ]


def contents(folder):
    """All that must not depend on interruptions, of every run folder under a folder."""
    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".csv":
            found[name] = untimed(path)
        elif path.name in (layout.EVALUATION, layout.CONFIG):
            found[name] = path.read_text()
        elif path.suffix == ".index":
            reader = tf.train.load_checkpoint(str(path).removesuffix(".index"))
            found[name] = {
                key: np.asarray(reader.get_tensor(key)).tobytes()
                for key in reader.get_variable_to_shape_map()
                if "save_counter" not in key and "_CHECKPOINTABLE" not in key
            }
        elif path.is_file() and ".tfevents." not in path.name:
            found[name] = True
    return found
