"""The table of bad library calls: an expression, and what the first line of its error must say.

Expressions are evaluated where `names()` is defined. Read by test_bad_inputs.py and benchmarks/make_bad_inputs.py.
"""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from tests.support.logs import log_of

U, K, D, S, H, E, T = 4, 3, 7, 2, 5, 6, 2  # users, topics, documents, slate, history, embedding, steps


def names() -> dict[str, Any]:
    """Return the names that the expressions use; every axis has a length of its own."""
    from recsim_ng.core.value import Value

    import recsys_po_rl
    from recsys_po_rl import corpus, metrics, policies, recommender, scoring, user
    from recsys_po_rl.common import validation
    from recsys_po_rl.distributions import top_k_plackett_luce
    from recsys_po_rl.evaluation import evaluator, statistics
    from recsys_po_rl.experiment import experiment
    from recsys_po_rl.interop.gymnasium import InterestEvolutionEnv, InterestEvolutionVectorEnv
    from recsys_po_rl.interop.minari import to_minari
    from recsys_po_rl.interop.open_bandit import to_open_bandit_feedback, to_open_bandit_slates
    from recsys_po_rl.interop.scope_rl import to_scope_rl
    from recsys_po_rl.policies import best_fixed_slate, best_fixed_topic, external, fixed_slate, popularity
    from recsys_po_rl.policies.values import attraction, fitted, grid
    from recsys_po_rl.run_folder import csv_tables, layout
    from recsys_po_rl.scoring.averaged_history import AveragedHistoryModel
    from recsys_po_rl.scoring.gru import GRUModel
    from recsys_po_rl.scoring.self_attention import SelfAttentionModel
    from recsys_po_rl.simulation import seeding
    from recsys_po_rl.simulation.runtime import SeededRuntime
    from recsys_po_rl.simulation.stepping import SteppedSimulation
    from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network as make_network
    from recsys_po_rl.training import advantages as advantages_lib
    from recsys_po_rl.training import algorithms, diagnostics, losses, schedules
    from recsys_po_rl.training.learner import PolicyGradientLearner

    log = log_of(
        {
            "user_id": [0, 0, 1],
            "step": [0, 0, 0],
            "slot": [0, 1, 0],
            "item_id": [2, 5, 7],
            "clicked": [False, True, False],
            "consumed_time": [0, 1.5, 0],
        }
    )
    config = {
        "num_users": U, "num_topics": K, "num_docs": D, "slate_size": S, "history_length": H, "corpus_seed": 3,
    }  # fmt: skip
    network = make_network(num_users=U, num_topics=K, num_docs=D, slate_size=S, history_length=H, corpus_seed=3,
                           corpus_ctor=corpus.ReferenceCorpus)  # fmt: skip
    runtime = SeededRuntime(network.variables, mode="eager")

    def state(**changes: Any) -> Any:
        """A static corpus's documents, some of them changed; None leaves a field out."""
        good = corpus.reference_corpus_state(D, K, 3).as_dict
        return Value(**{name: value for name, value in {**good, **changes}.items() if value is not None})

    return {
        "np": np, "tf": tf, "nan": math.nan, "inf": math.inf, "recsys_po_rl": recsys_po_rl,
        "config": config, "network": network, "runtime": runtime, "make_network": make_network, "state": state,
        "StaticCorpus": corpus.StaticCorpus, "ReferenceCorpus": corpus.ReferenceCorpus,
        "CorpusWithTopicAndQuality": corpus.CorpusWithTopicAndQuality,
        "User": user.InterestEvolutionUser, "Metrics": metrics.ConsumedTimeAsRewardMetrics,
        "Recommender": recommender.CollabFilteringRecommender, "fixed_slate": fixed_slate,
        "best_fixed_topic": best_fixed_topic, "popularity": popularity,
        "scorer": scoring.CollabFilteringModel(U, D, E, H, name="scorer"),
        "CollabFilteringModel": scoring.CollabFilteringModel,
        "GRUModel": GRUModel, "SelfAttentionModel": SelfAttentionModel, "AveragedHistoryModel": AveragedHistoryModel,
        "ids": np.ones((U, H), np.int32), "times": np.ones((U, H), np.float32),
        "slate_law": top_k_plackett_luce.TopKPlackettLuce, "logits": np.zeros((U, D), np.float32),
        "SeededRuntime": SeededRuntime, "seeding": seeding, "keys": seeding.make_keys(0),
        "Learner": PolicyGradientLearner, "learner": PolicyGradientLearner(network, T, runtime_ctor=_eager),
        "advantages_lib": advantages_lib, "losses": losses, "algorithms": algorithms, "schedules": schedules,
        "diagnostics": diagnostics,
        "rewards": np.ones((T, U), np.float32), "evaluator": evaluator, "statistics": statistics,
        "best_fixed_slate": best_fixed_slate, "attraction": attraction, "fitted": fitted,
        "grid": grid, "docs": state(), "layout": layout, "csv_tables": csv_tables,
        "experiment": experiment, "policies": policies, "validation": validation,
        "VectorEnv": InterestEvolutionVectorEnv, "Env": InterestEvolutionEnv, "SteppedSimulation": SteppedSimulation,
        "external": external, "sizes": external.ObservationSizes(U, S, D, H),
        "log": log, "to_minari": to_minari, "to_open_bandit_feedback": to_open_bandit_feedback,
        "to_open_bandit_slates": to_open_bandit_slates, "to_scope_rl": to_scope_rl,
    }  # fmt: skip


def _eager(variables: Any) -> Any:
    from recsys_po_rl.simulation.runtime import SeededRuntime

    return SeededRuntime(variables, mode="eager")


CORPORA = [
    ("StaticCorpus(config, state(doc_id=None))", "static_state lacks 'doc_id', it has doc_topic"),
    ("StaticCorpus(config, state(doc_features=None))", "static_state lacks 'doc_features'"),
    ("StaticCorpus(config, state(doc_id=np.arange(1, 9)))", r"'doc_id' must have shape \(7,\), got \(8,\)"),
    (
        "StaticCorpus(config, state(doc_topic=np.zeros((7, 1), int)))",
        r"'doc_topic' must have shape \(7,\), got \(7, 1\)",
    ),
    ("StaticCorpus(config, state(doc_quality=0.5))", r"'doc_quality' must have shape \(7,\), got \(\)"),
    ("StaticCorpus(config, state(doc_features=np.zeros((3, 7), 'f4')))", r"'doc_features' must have shape \(7, 3\)"),
    ("StaticCorpus(config, state(doc_length=np.ones(6, 'f4')))", r"'doc_length' must have shape \(7,\), got \(6,\)"),
    ("StaticCorpus(config, state(doc_id=np.arange(1, 8) + 0.5))", "'doc_id' must be integers, got float64"),
    ("StaticCorpus(config, state(doc_topic=np.zeros(7, 'f4')))", "'doc_topic' must be integers, got float32"),
    ("StaticCorpus(config, state(doc_quality=['good'] * 7))", "'doc_quality' must be numbers, got string"),
    ("StaticCorpus(config, state(doc_features=np.zeros((7, 3), bool)))", "'doc_features' must be numbers, got bool"),
    ("StaticCorpus(config, state(doc_length=['a'] * 7))", "'doc_length' must be numbers, got string"),
    ("StaticCorpus(config, state(doc_id=np.ones(7, np.int32)))", "'doc_id' must be different"),
    ("StaticCorpus(config, state(doc_id=np.arange(7, dtype=np.int32)))", "'doc_id' must be at least 1, got 0"),
    ("StaticCorpus(config, state(doc_topic=np.full(7, 3, np.int32)))", "'doc_topic' must be between 0 and 2, got 3"),
    ("StaticCorpus(config, state(doc_topic=np.full(7, -1, np.int32)))", "'doc_topic' must be between 0 and 2, got -1"),
    ("StaticCorpus(config, state(doc_quality=np.full(7, nan, 'f4')))", "'doc_quality' must be finite, got nan"),
    ("StaticCorpus(config, state(doc_features=np.full((7, 3), inf, 'f4')))", "'doc_features' must be finite, got inf"),
    (
        "StaticCorpus(config, state(doc_length=np.full(7, nan, 'f4')))",
        "'doc_length' must be finite and at least 0, got",
    ),
    ("StaticCorpus(config, state(doc_length=np.full(7, -1, 'f4')))", "'doc_length' must be finite and at least 0, got"),
    (
        "StaticCorpus(config, state(), video_length=-1.0)",
        "video_length must be a finite number of at least 0, got -1.0",
    ),
    ("StaticCorpus({'num_docs': 7}, state())", "config lacks 'num_topics', it has 'num_docs'"),
    ("StaticCorpus({**config, 'num_docs': 0}, state())", r"config\['num_docs'\] must be an integer of at least 1"),
    ("StaticCorpus(config, {'doc_id': 1})", "static_state must be a Value, got dict"),
    ("ReferenceCorpus({**config, 'corpus_seed': None})", "seed .* must be an integer of at least 0, got None"),
    ("ReferenceCorpus(config, seed=2**32)", "seed must be at most 4294967295, got 4294967296"),
    ("ReferenceCorpus(config, video_length=nan)", "video_length must be a finite number of at least 0, got nan"),
    (
        "CorpusWithTopicAndQuality(config, feature_stddev=nan)",
        "feature_stddev must be a finite number above 0, got nan",
    ),
    ("CorpusWithTopicAndQuality({}, 0.0)", "config lacks 'num_docs', it has no key"),
]

SCORERS = [
    ("scorer(ids[:, :4], times)", r"doc_id_history must have shape \(batch, 5\), got \(4, 4\)"),
    ("scorer(ids, times[:, :4])", r"c_time_history must have shape \(batch, 5\), got \(4, 4\)"),
    ("scorer(ids[0], times[0])", r"doc_id_history must have shape \(batch, 5\), got \(5,\)"),
    ("scorer(ids * 1.0, times)", "doc_id_history must be an integer tensor, got float64"),
    ("scorer(ids, times.astype(str))", "c_time_history must be a float tensor, got string"),
    ("scorer(ids)", "c_time_history is missing"),
    ("scorer({'doc_id_history': ids})", "the dict of inputs lacks c_time_history"),
    ("scorer((ids, times, times))", "inputs must be the pair .*, got 3 of them"),
    ("scorer(ids * 8, times)", "doc_id_history must be between 0 and 7"),
    ("scorer(ids * -1, times)", "doc_id_history must be between 0 and 7"),
    ("scorer(ids, times * nan)", "c_time_history must be finite"),
    ("scorer(ids, times * inf)", "c_time_history must be finite"),
    ("scorer.build((4, 6))", r"must have shape \(batch, 5\), got \(4, 6\)"),
    ("scorer.get_layer()", "Provide either a layer name or layer index"),
    ("CollabFilteringModel(0, 7, 6, 5)", "num_users must be an integer of at least 1, got 0"),
    ("CollabFilteringModel(4, 7.0, 6, 5)", "num_docs must be an integer of at least 1, got 7.0"),
    ("CollabFilteringModel(4, 7, '6', 5)", "doc_embed_dim must be an integer of at least 1, got '6'"),
    ("CollabFilteringModel(4, 7, 6, nan)", "history_length must be an integer of at least 1, got nan"),
    (
        "CollabFilteringModel(4, 7, 6, 5, proposal_stddev=nan)",
        "proposal_stddev must be a finite number above 0, got nan",
    ),
    ("GRUModel(4, 7, 6, 5, units=0)", "units must be an integer of at least 1, got 0"),
    ("SelfAttentionModel(4, 7, 6, 5, num_heads=4)", "num_heads.*6.*4|doc_embed_dim.*6.*4"),
    ("SelfAttentionModel(4, 7, 6, 5, dropout=nan)", "dropout must be a finite number of at least 0, got nan"),
    ("AveragedHistoryModel(4, 7, 6, 5, decays=[nan])", "decays: each must be a finite number .*, got nan"),
]

SLATES = [
    ("slate_law(logits, 0)", "slate_size must be an integer of at least 1, got 0"),
    ("slate_law(logits, 8)", "slate_size must be at most the number of documents, 7, got 8"),
    ("slate_law(logits, 2.0)", "slate_size must be an integer of at least 1, got 2.0"),
    ("slate_law(logits, 2, columns=[1])", "slate_size must be at most the number of documents, 1, got 2"),
    ("slate_law(tf.zeros(()), 1)", "logits must have an axis of documents, got a scalar"),
    ("slate_law(np.zeros((4, 7), int), 2)", "logits must be floating, got int64"),
    ("slate_law(logits, 2).log_prob(np.zeros((4, 3), int))", "slates must have shape .*2"),
    ("slate_law(np.zeros((4, 3000), 'f4'), 3).entropy()", "sums 27000000000 terms .*use estimated_entropy"),
]

ENTITIES = [
    ("make_network(num_users=0)", "num_users must be an integer of at least 1, got 0"),
    ("make_network(num_users=nan)", "num_users must be an integer of at least 1, got nan"),
    ("make_network(corpus_seed=-1)", "corpus_seed must be an integer of at least 0, got -1"),
    (
        "make_network(user_ctor=ReferenceCorpus, corpus_seed=0)",
        "user_ctor must make what stands in the place of the user",
    ),
    ("make_network(corpus_ctor=User)", "corpus_ctor must make what stands in the place of the corpus"),
    (
        "make_network(recommender_ctor=Metrics)",
        "recommender_ctor must make what stands in the place of the recommender",
    ),
    ("make_network(metrics_ctor=User)", "metrics_ctor must make what stands in the place of the metrics"),
    ("User({**config, 'slate_size': 0})", r"config\['slate_size'\] must be an integer of at least 1, got 0"),
    ("User({})", "config lacks 'num_users', it has no key"),
    ("User(config, interest_step_size=nan)", "interest_step_size must be finite, got nan"),
    ("User(config, no_click_mass=inf)", "no_click_mass must be finite or -inf, got inf"),
    ("User(config, no_click_mass=[0.0] * 5)", r"no_click_mass must be a number or 4 numbers, got .* \(5,\)"),
    ("User(config, no_click_mass=tf.zeros(5))", r"no_click_mass must be a number or 4 numbers, got a tensor .* \(5,\)"),
    ("User(config, interest_step_size=tf.Variable(True))", "interest_step_size must be .*, got a tensor of bool"),
    ("User(config, affinity_offset=tf.Variable([1.0]))", r"affinity_offset must be a number, got a tensor .* \(1,\)"),
    ("User(config, max_user_affinity=nan)", "max_user_affinity must be a finite number above 0, got nan"),
    ("User(config, affinity_similarity='single_peaked')", "affinity_similarity 'single_peaked' needs the peaks"),
    ("User(config, interest_update_noise_scale=-1.0)", "interest_update_noise_scale must be finite of at least 0"),
    ("Metrics({'num_users': '4'})", r"config\['num_users'\] must be an integer of at least 1, got '4'"),
    ("Recommender({**config, 'history_length': 0})", r"config\['history_length'\] must be an integer of at least 1"),
    ("Recommender(config, doc_embed_dim=nan)", "doc_embed_dim must be an integer of at least 1, got nan"),
    ("Recommender({**config, 'slate_size': 8})", "slate_size.* at most .*7.*8|slate_size.*8.*7"),
    ("fixed_slate.FixedSlateRecommender(config, doc_ids=(1,))", "doc_ids must be .*2"),
    ("fixed_slate.FixedSlateRecommender(config, doc_ids=(1, 1))", "doc_ids must be .*different"),
    ("fixed_slate.FixedSlateRecommender(config, doc_ids=(0, 1))", "doc_ids must be an integer of at least 1, got 0"),
    ("fixed_slate.FixedSlateRecommender(config, doc_ids=(1, 8))", "doc_ids must be .*7, got 8"),
    ("best_fixed_topic.TopicRecommender(config, topic=-1)", "topic must be an integer of at least 0, got -1"),
    ("best_fixed_topic.TopicRecommender(config, topic=3)", "topic must be .*2, got 3"),
    ("popularity.SampledDocumentsRecommender(config, log_weights=(1.0, 2.0))", "log_weights must be 7 numbers, got 2"),
    ("popularity.SampledDocumentsRecommender(config, log_weights=(nan,) * 7)", "log_weights must be a finite.*nan"),
]

RUNTIME = [
    ("SeededRuntime(network.variables, mode='fast')", "mode must be one of eager, graph, xla, got 'fast'"),
    ("SeededRuntime(network.variables, mode=3)", "mode must be one of eager, graph, xla, got 3"),
    ("SeededRuntime(network.variables, policy_variables=['slates'])", r"policy_variables: each must be one of .*slate"),
    ("SeededRuntime(network.variables, world_variables='corpus state')", "world_variables must be a list of names"),
    ("runtime.execute(-1)", "num_steps must be an integer of at least 0, got -1"),
    ("runtime.execute(1.5)", "num_steps must be an integer of at least 0, got 1.5"),
    ("runtime.execute(nan)", "num_steps must be an integer of at least 0, got nan"),
    ("runtime.execute(1, starting_value={})", "starting_value lacks .*'user state'"),
    ("runtime.trajectory(0)", "length must be an integer of at least 1, got 0"),
    ("runtime.trajectory('3')", "length must be an integer of at least 1, got '3'"),
    ("runtime.trajectory(2, record={'user': ['choice']})", "record must be one of .*got 'user'"),
    (
        "runtime.trajectory(2, record={'user response': ['chosen']})",
        "record of 'user response' must be one of .*choice",
    ),
    ("runtime.trajectory(2, record={'user response': 'choice'})", "record of 'user response' must be a list"),
    ("runtime.trajectory(2, record=['user response'])", "record must be a dict"),
    ("runtime.trajectories(2, [])", "keys must hold at least one"),
    ("runtime.trajectories(0, [keys])", "length must be an integer of at least 1, got 0"),
    ("runtime.flow('user')", "variable must be one of .*got 'user'"),
    ("seeding.make_keys('0')", "seed must be an integer"),
    ("seeding.make_keys(0.5)", "seed must be an integer"),
    ("seeding.make_keys(-1)", "seed must be an integer of at least 0, got -1"),
    ("seeding.make_keys(nan)", "seed must be an integer"),
]

LEARNING = [
    ("Learner(network, 0)", "horizon must be an integer of at least 1, got 0"),
    ("Learner(network, 2, discount=nan)", "discount must be a finite number .*, got nan"),
    ("Learner(network, 2, entropy_bonus=nan)", "entropy_bonus must be a finite number of at least 0, got nan"),
    ("Learner(network, 2, max_gradient_norm=nan)", "max_gradient_norm must be a finite number above 0, got nan"),
    ("Learner(network, 2, trace_decay=0.5)", "trace_decay must be 1 without a critic, got 0.5"),
    ("Learner(network, 2, optimizer=schedules.Linear)", "optimizer must make a Keras optimizer"),
    ("Learner(network, 2, optimizer=lambda: tf.keras.optimizers.Adam(nan))", "learning_rate must be a finite number"),
    ("Learner(network, 2, optimizer=lambda: tf.keras.optimizers.Adam('x'))", "Keras refuses"),
    ("Learner(network, 2, algorithm=schedules.Linear)", "algorithm must make one of training.algorithms"),
    (
        "Learner(network, 2, entropy_schedule=algorithms.Reinforce)",
        "entropy_schedule must make one of training.schedules",
    ),
    ("learner.step([])", "number of shards must be a multiple of the 1 minibatches, got 0"),
    ("learner.step([keys], nan)", "progress must be a finite number of at least 0 and of at most 1, got nan"),
    ("learner.step([keys], 1.5)", "progress must be a finite number of at least 0 and of at most 1, got 1.5"),
    ("algorithms.ProximalPolicyOptimization(clip_range=nan)", "clip_range must be a finite number above 0, got nan"),
    ("schedules.Linear(until=0)", "until must be a finite number above 0 and of at most 1, got 0"),
    ("diagnostics.gradient_variances(learner, [keys])", "keys must be those of at least 2 shards, got 1"),
    ("advantages_lib.rewards_to_go(rewards[0], 1.0)", r"rewards must have the axes \[T steps, U users\], got rank 1"),
    ("advantages_lib.rewards_to_go(rewards, 1.5)", "discount must be between 0 and 1, got 1.5"),
    ("advantages_lib.rewards_to_go(rewards, nan)", "discount must be between 0 and 1, got nan"),
    ("advantages_lib.generalized_advantages(rewards, rewards[:, :3], 1.0, 1.0)", "must have the same shape"),
    ("advantages_lib.generalized_advantages(rewards, rewards, 1.0, -0.1)", "must be between 0 and 1, got -0.1"),
    ("advantages_lib.minus_leave_one_out_mean(rewards[:, :1])", "at least 2 users"),
    ("advantages_lib.minus_population_mean(rewards[0])", r"must have the axes \[T steps, U users\], got rank 1"),
    ("advantages_lib.whiten(rewards[0])", r"must have the axes \[T steps, U users\], got rank 1"),
    ("losses.ppo_clip_loss(rewards, rewards, rewards, 0.0)", "clip_range must be above 0, got 0.0"),
    ("losses.ppo_clip_loss(rewards, rewards[:1], rewards, 0.2)", "must have the same shape"),
    ("losses.reinforce_loss(rewards, rewards[:1])", "must have the same shape"),
]

EVALUATION = [
    ("evaluator.evaluate(runtime, 0, 4, 4, 0)", "horizon must be an integer of at least 1, got 0"),
    ("evaluator.evaluate(runtime, 2, 0, 4, 0)", "num_users must be an integer of at least 1, got 0"),
    ("evaluator.evaluate(runtime, 2, 4, 0, 0)", "batch_size must be an integer of at least 1, got 0"),
    ("evaluator.evaluate(runtime, 2, 4, 3, 0)", "batch_size must be .*4.*got 3"),
    ("evaluator.evaluate(runtime, 2, 4, 4, -1)", "seed must be an integer of at least 0, got -1"),
    ("statistics.mean_interval(np.array([]))", "values must be a non-empty vector of finite numbers"),
    ("statistics.mean_interval(np.array([1.0, nan]))", "values must be a non-empty vector of finite numbers"),
    ("statistics.mean_interval(np.array([1.0, inf]))", "values must be a non-empty vector of finite numbers"),
    ("statistics.mean_interval(np.ones((2, 2)))", "values must be a non-empty vector of finite numbers"),
    ("statistics.mean_interval(np.ones(3), 1.0)", "confidence must be between 0 and 1, got 1.0"),
    ("statistics.mean_interval(np.ones(3), nan)", "confidence must be between 0 and 1, got nan"),
    ("statistics.paired_difference(np.ones(3), np.ones(4))", "paired values must have the same shape"),
    ("statistics.ratio_of_means(np.ones(3), np.zeros(3))", "denominators must not average 0"),
    ("statistics.ratio_of_means(np.ones(3), np.ones(4))", r"same shape|shape"),
    ("best_fixed_slate.checked_rounds([(1, 0)])", "rounds: users of each must be an integer of at least 1, got 0"),
    ("attraction.checked_coefficients([nan])", "coefficients: each must be a finite number, got nan"),
    ("fitted.ValueNetwork(3, 2, 0, 0)", "hidden must be an integer of at least 1, got 0"),
    ("grid.solve(network.user, docs, 3, 2, 2, 9)", "num_topics must be at most 2 for a grid, got 3"),
]

FILES = [
    ("layout.free_path('')", "output_dir must be a path, got ''"),
    ("layout.free_path(3)", "output_dir must be a path, got 3"),
    ("layout.free_path('/dev/null/run')", "output_dir '/dev/null/run' cannot be made"),
    ("csv_tables.CsvLogger('/dev/null/metrics.csv')", "Not a directory"),
    ("experiment(seeds='0')", "experiment.seeds must be a list of at least one integer, got '0'"),
    ("experiment(seeds=[nan])", "experiment.seeds: each must be an integer of at least 0, got nan"),
    ("experiment(horizon=nan)", "experiment.horizon must be an integer of at least 1, got nan"),
    ("experiment(horizon=np.ones(2))", "experiment.horizon must be an integer of at least 1, got \\[1.0, 1.0\\]"),
    ("experiment(policies=[policies.UniformRandom] * 2)", "experiment.policies must have different names"),
    ("experiment(policies=[Recommender])", "experiment.policies: CollabFilteringRecommender is a recommender"),
    ("experiment(output_dir=3)", "output_dir must be a path, got 3"),
]

DOORS = [
    ("VectorEnv(0)", "num_envs must be an integer of at least 1, got 0"),
    ("VectorEnv(2, autoreset_mode='LATER')", "autoreset_mode must be one of .*got 'LATER'"),
    ("VectorEnv(2, stream='')", "stream must be a text, got ''"),
    ("VectorEnv(2, render_mode='human')", "render_mode must be None, got 'human'"),
    ("VectorEnv(2, gin_files='default.gin')", "gin_files must be a list of texts, got 'default.gin'"),
    ("VectorEnv(2, gin_files=['no_such.gin'])", "no gin file 'no_such.gin'"),
    ("Env(speed=2)", "options: each must be one of .*got 'speed'"),
    ("external.places_of(ids, sizes, 'actions')", r"actions must be integers of shape \(4, 2\), got int32 of shape"),
    ("external.places_of(np.ones((4, 2)), sizes, 'actions')", "actions must be integers of shape .*got float64"),
    ("external.places_of(np.full((4, 2), 7), sizes, 'actions')", "actions must be indices .*from 0 to 6, got 7"),
    ("external.places_of(None, sizes, 'actions')", "actions must be integers of shape .*got object"),
    ("SteppedSimulation(network.variables, tf.Variable([[0]]), 'eager').step([[0]])", "call reset first"),
    ("policies.ExternalPolicy()", "external_policy: act must be a function from observations to slates, got None"),
    ("policies.ExternalPolicy(3)", "external_policy: act must be a function from observations to slates, or have"),
    ("recsys_po_rl.evaluate_policy(print, num_users=1)", "num_users must be an integer of at least 2, got 1"),
    ("recsys_po_rl.evaluate_policy(print, seed=-1)", "seed must be an integer of at least 0, got -1"),
]

DATASETS = [
    ("to_minari(log, '../log')", "name must be at most 100 letters, digits, '_' and '-', .*got '../log'"),
    ("to_minari(log, 'recsys-po-rl/log-v0')", "name must be at most 100 letters.*id is 'recsys-po-rl/<name>-v0'"),
    ("to_minari(log, '')", "name must be at most 100 letters, .*got ''"),
    ("to_minari(log, 3)", "name must be at most 100 letters, .*got 3"),
    ("to_minari(log, 'log', author=3)", "author must be a text or None, got 3"),
    ("to_minari(log, 'log', description=['text'])", "description must be a text or None, got"),
    ("to_minari(log, 'log', num_docs=0)", "num_docs must be an integer of at least 1, got 0"),
    ("to_minari(log, 'log', slate_size=nan)", "slate_size must be an integer of at least 1, got nan"),
    ("to_minari(log, 'log', horizon=-1)", "horizon must be an integer of at least 1, got -1"),
    ("to_minari(log, 'log', history_length=2.0)", "history_length must be an integer of at least 1, got 2.0"),
    ("to_minari(log, 'log', metadata='text')", "metadata must be a JSON object, got 'text'"),
    ("to_minari(log, 'log', metadata={'a': nan})", "metadata must be a JSON object: "),
    ("to_minari(log, 'log', metadata={'a': log})", "metadata must be a JSON object: .*not JSON serializable"),
    ("to_minari(log, 'log', env='CartPole-v1')", r"env must be made by gymnasium.make\('recsys_po_rl/"),
    ("to_open_bandit_feedback(log, slot=2)", "slot must be below 2, got 2"),
    ("to_open_bandit_feedback(log, slot='0')", "slot must be an integer of at least 0, got '0'"),
    ("to_open_bandit_feedback(log, num_docs=6)", "num_docs must be at least that of the log, 7, got 6"),
    ("to_open_bandit_slates(log)", "all slots from 0 to 1, and user 1 lacks one at step 0"),
    ("to_open_bandit_slates(log.take([]))", "log: it has no rows"),
    ("to_scope_rl(log)", "log: propensity is unknown at 2 of 2 steps"),
    ("to_scope_rl(log, history_length=0)", "history_length must be an integer of at least 1, got 0"),
    ("to_scope_rl(log, dataset_id=nan)", "dataset_id must be an integer of at least 0, got nan"),
]

GROUPS = {
    "Corpora": CORPORA,
    "Scorers": SCORERS,
    "Slates": SLATES,
    "Entities and networks": ENTITIES,
    "Runtime": RUNTIME,
    "Learning": LEARNING,
    "Evaluation and references": EVALUATION,
    "Files and the experiment": FILES,
    "Doors": DOORS,
    "Datasets": DATASETS,
}
