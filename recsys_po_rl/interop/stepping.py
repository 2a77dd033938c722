"""Stepped simulations of the worlds of gin files; the gin configuration of the caller stays as it is."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Optional

from recsys_po_rl import gin_config, gin_state
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import config as config_lib
from recsys_po_rl.experiment import run as run_lib
from recsys_po_rl.policies.external import ExternalRecommender
from recsys_po_rl.simulation.rollout import Record
from recsys_po_rl.simulation.stepping import SteppedSimulation
from recsys_po_rl.simulation_config import SimulationNetwork

DEFAULT_GIN_FILES = ("experiments/default.gin",)


class World(NamedTuple):
    """Simulation that is stepped, and the number of slates that each user is shown."""

    simulation: SteppedSimulation
    network: SimulationNetwork
    horizon: int  # T


def world_from_gin(
    gin_files: Sequence[str],
    gin_bindings: Sequence[str],
    num_users: int,
    corpus_seed: int = 0,
    full_information: bool = False,
    mode: str = "xla",
    record: Optional[Record] = None,
) -> World:
    """Build a stepped simulation of the world of an experiment's configuration.

    The caller's gin configuration is empty while the files are read and the network is built and traced, and unchanged
    after. In eager mode an entity that calls a gin configurable in a step reads the caller's configuration.

    Args:
      gin_files: gin files, as of the command line; none: the default experiment.
      gin_bindings: gin bindings, as of the command line.
      num_users: U.
      corpus_seed: seed of the corpus, where no binding of `experiment.corpus_seed` replaces it.
      full_information: whether users reveal their interest.
      mode: mode of execution, see `SteppedSimulation`.
      record: fields that `reset` and `step` return, see `SteppedSimulation`.

    Raises:
      InvalidInputError: if a file, a binding or an argument is invalid, or the network has other users.
    """
    with gin_state.isolated():
        given = parse_world(gin_files, gin_bindings)
        horizon = validation.integer("experiment.horizon", given["horizon"], 1)
        network_ctor = validation.constructor("experiment.network_ctor", given["network_ctor"])
        seed = corpus_seed if given["corpus_seed"] is None else given["corpus_seed"]
        build = gin_config.wrong_calls_in_one_line(functools.partial(_build, network_ctor))
        network = build(
            num_users=num_users,
            corpus_seed=validation.integer("experiment.corpus_seed", seed, 0),
            recommender_ctor=ExternalRecommender,
            full_information=full_information,
        )
        if network.config["num_users"] != num_users:
            raise validation.InvalidInputError(
                f"the network has {network.config['num_users']} users and {num_users} are needed: "
                "experiment.network_ctor must take num_users"
            )
        simulation = SteppedSimulation(network.variables, network.recommender.places, mode, record)
        simulation.trace()  # entities may read gin when they are traced
    return World(simulation, network, horizon)


def parse_world(gin_files: Sequence[str], gin_bindings: Sequence[str]) -> dict[str, Any]:
    """Parse files and bindings, and return the arguments of `experiment` by name; within `gin_state.isolated`.

    Args:
      gin_files: gin files, as of the command line; none: the default experiment.
      gin_bindings: gin bindings, as of the command line.

    Raises:
      InvalidInputError: if a file or a binding is invalid.
    """
    for name, texts in (("gin_files", gin_files), ("gin_bindings", gin_bindings)):
        if isinstance(texts, (str, bytes)) or not all(isinstance(text, str) for text in texts):
            raise validation.InvalidTypeError(f"{name} must be a list of texts, got {validation.shown(texts)}")
    gin_config.parse([*(gin_files or DEFAULT_GIN_FILES)], [*gin_bindings])
    return config_lib.bound(run_lib.experiment)


def _build(network_ctor: Callable[..., SimulationNetwork], **options: Any) -> SimulationNetwork:
    return network_ctor(**options)
