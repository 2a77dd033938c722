"""Constructors of the policies that the learned one is compared with; a policy has the name of its function.

Policies of one function under several gin scopes are named with their scopes as a prefix, see `named_apart`.

Each constructor takes a `Study` and returns a recommender constructor, called with the network's config alone, or a
whole network of the study's batch size. The result may have an attribute `details`, a dict for evaluation.json. A
policy that cannot be built in this world raises `LeftOutError`, whose message is the reason. Each constructor validates
its arguments before it calls the study: `rehearsal` uses this order to report invalid arguments before training starts.
"""

import collections
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, Union

import numpy as np
import tensorflow as tf
from recsim_ng.core.value import Value

from recsys_po_rl import fields, gin_config
from recsys_po_rl import user as user_lib
from recsys_po_rl.common import validation
from recsys_po_rl.corpus import StaticCorpus
from recsys_po_rl.policies import baselines, belief, popularity, slate_search
from recsys_po_rl.policies.baselines import FixedSlateRecommender, UniformRandomRecommender
from recsys_po_rl.policies.values import attraction, grid
from recsys_po_rl.policies.values import fitted as fitted_lib
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import SimulationNetwork

GRID_USERS = 2000  # users over whose first interests the value of a dynamic program is averaged

RecommenderCtor = Callable[..., Any]
Policy = Union[RecommenderCtor, SimulationNetwork]


class LeftOutError(Exception):
    """Policy that cannot be built in this world; the message is the reason in one line."""


def named_apart(policies: Sequence[Callable[..., Any]]) -> list[Callable[..., Any]]:
    """Return the policies, with gin scopes as a prefix of equal names, as in `few/popular_by_clicks`.

    Args:
      policies: functions of a study, see the module's docstring.

    Returns:
      The same policies in order. Policies with equal names and equal scopes keep equal names.
    """
    counts = collections.Counter(policy.__name__ for policy in policies)
    return [
        _renamed(policy, f"{scope}/{policy.__name__}")
        if counts[policy.__name__] > 1 and (scope := gin_config.scope_of(policy))
        else policy
        for policy in policies
    ]


def _renamed(policy: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(policy)
    def renamed(study: Study, **arguments: Any) -> Any:
        return policy(study, **arguments)

    renamed.__name__ = renamed.__qualname__ = name
    return renamed


def function_name(name: str) -> str:
    """Return the name of a policy's function: the policy's own name without gin scopes."""
    return name.rsplit("/", 1)[-1]


_Result = TypeVar("_Result")


def _once_a_study(method: Callable[..., _Result]) -> Callable[..., _Result]:
    """Memoise a method per study, as `functools.cache` does; the results are freed with the study."""

    @functools.wraps(method)
    def remembered(study: Any, *arguments: Any) -> _Result:
        found = vars(study).setdefault("_found", {})
        key = (method.__name__, arguments)
        if key not in found:
            found[key] = method(study, *arguments)
        return found[key]

    return remembered


class Study:
    """World at one seed: the argument of the policies' constructors.

    Attributes:
      config: the network's configuration, see `create_interest_evolution_simulation_network`.
      seed: seed of the run.
      horizon: T.
      batch_size: number of users of the study's networks.
    """

    def __init__(
        self,
        network_ctor: Callable[..., SimulationNetwork],
        runtime_ctor: Callable[..., SeededRuntime],
        config: Mapping[str, Any],
        seed: int,
        horizon: int,
        batch_size: int,
    ) -> None:
        """Store the arguments.

        Args:
          network_ctor: constructor of a network, called with num_users and, to replace the recommender,
            recommender_ctor.
          runtime_ctor: constructor of a runtime, called with a network's variables.
          config: the network's configuration.
          seed: seed of the run.
          horizon: T.
          batch_size: number of users of the study's networks.
        """
        self._network_ctor = network_ctor
        self._runtime_ctor = runtime_ctor
        self.config = config
        self.seed = seed
        self.horizon = horizon
        self.batch_size = batch_size

    def network(self, **options: Any) -> SimulationNetwork:
        """Return a network of `batch_size` users in this world; options as of the network's constructor."""
        return self._network_ctor(**{"num_users": self.batch_size, **options})

    def runtime(self, network: SimulationNetwork) -> SeededRuntime:
        """Return a runtime of a network."""
        return self._runtime_ctor(network.variables)

    @functools.cached_property
    def _entities(self) -> SimulationNetwork:
        return self.network(recommender_ctor=UniformRandomRecommender)

    def user_laws(self) -> Any:
        """Return a user entity whose `dynamics()` is not None, for planners.

        Raises:
          LeftOutError: if the entity's dynamics are not known.
        """
        user = self._entities.user
        missing = user_lib.missing_dynamics(user)
        if missing:
            raise LeftOutError(f"the user entity {type(user).__name__} lacks {', '.join(missing)}")
        return user

    def documents(self) -> Value:
        """Return the D documents of this world, tensors by `fields.DOC_FIELDS`.

        Raises:
          LeftOutError: if the corpus is not static.
        """
        corpus = self._entities.corpus
        if not isinstance(corpus, StaticCorpus):
            raise LeftOutError(f"the corpus {type(corpus).__name__} is not static: its documents are not known before")
        return corpus.initial_state().map(tf.convert_to_tensor)

    def planning_network(self, value: Any = None) -> SimulationNetwork:
        """Return a network with observed interests and a recommender that plans with a value function.

        Args:
          value: value of an interest, see `baselines.plan`.

        Raises:
          LeftOutError: if the user entity does not define its dynamics.
        """
        planner = functools.partial(
            baselines.PlanningRecommender, user=self.user_laws(), horizon=self.horizon, value=value
        )
        return self.network(recommender_ctor=planner, full_information=True)

    def first_interests(self, num_users: int) -> np.ndarray:
        """Draw initial interests of at least `num_users` users, not those of the evaluation; float32 [N, K]."""
        runtime = self.runtime(self._entities)
        return np.concatenate(
            [
                runtime.trajectory(
                    1,
                    keys=seeding.make_keys(self.seed, "references", "first_interests", batch=batch),
                    record={fields.USER_STATE: [fields.INTEREST]},
                )[fields.USER_STATE].get(fields.INTEREST)[0]
                for batch in range(-(-num_users // self.batch_size))
            ]
        )

    @_once_a_study
    def fitted_value(self, num_iterations: int, users_per_iteration: int, hidden: int) -> fitted_lib.FittedValue:
        """Return the result of `fitted_lib.fit` in this world; the users are rounded up to whole batches."""
        validation.integer("users_per_iteration", users_per_iteration, 1)
        return fitted_lib.fit(
            lambda value: self.runtime(self.planning_network(value)),
            self.config["num_topics"],
            self.horizon,
            self.seed,
            num_iterations,
            batches_per_iteration=-(-users_per_iteration // self.batch_size),
            hidden=hidden,
        )

    @_once_a_study
    def grid_value(self, points: int) -> grid.RefinedSolution:
        """Solve the dynamic program of `grid.solve_refined` in this world.

        Raises:
          LeftOutError: if the dynamic program cannot be solved in this world.
        """
        user, docs = self.user_laws().dynamics(), self.documents()
        interests = self.first_interests(GRID_USERS)
        sizes = self.config["num_topics"], self.config["slate_size"]
        try:
            return grid.solve_refined(user, docs, *sizes, self.horizon, interests, points)
        except validation.InvalidInputError as error:
            raise LeftOutError(f"no dynamic program: {error}") from error

    @_once_a_study
    def popularity(self, num_log_users: int) -> popularity.Popularity:
        """Count the consumption of each document by at least `num_log_users` users of the uniformly random policy."""
        network = self.network(recommender_ctor=UniformRandomRecommender)
        return popularity.popularity_from_logs(
            self.runtime(network),
            self.config["num_docs"],
            self.horizon,
            num_batches=-(-num_log_users // self.batch_size),
            seed=self.seed,
        )

    def most_popular(self, num_log_users: int, measure: str) -> RecommenderCtor:
        """Return a recommender that always shows the S documents of largest `measure`, a field of `Popularity`."""
        validation.integer("num_log_users", num_log_users, 1)
        weights = getattr(self.popularity(num_log_users), measure)
        doc_ids = popularity.top_documents(weights, self.config["slate_size"])
        ctor: RecommenderCtor = _with_details(
            functools.partial(FixedSlateRecommender, doc_ids=doc_ids),
            doc_ids=[int(doc_id) for doc_id in doc_ids],
            num_log_users=-(-num_log_users // self.batch_size) * self.batch_size,  # whole batches
        )
        return ctor


@gin_config.configurable
def uniform_random(study: Study) -> RecommenderCtor:
    """Build the policy that draws every slate uniformly at random."""
    del study
    return UniformRandomRecommender


@gin_config.configurable
def popular_by_clicks(study: Study, num_log_users: int = 1000) -> RecommenderCtor:
    """Build the policy that always shows the S documents that users of the random policy clicked most.

    Args:
      study: the world.
      num_log_users: users in the log, rounded up to whole batches.
    """
    return study.most_popular(validation.integer("popular_by_clicks: num_log_users", num_log_users, 1), "clicks")


@gin_config.configurable
def popular_by_time(study: Study, num_log_users: int = 1000) -> RecommenderCtor:
    """Build the policy that always shows the S documents with the most total consumed time under the random policy.

    Args:
      study: the world.
      num_log_users: users in the log, rounded up to whole batches.
    """
    return study.most_popular(validation.integer("popular_by_time: num_log_users", num_log_users, 1), "consumed_time")


def _with_details(policy: Any, **details: Any) -> Any:
    """Set a policy's attribute `details`, the dict for evaluation.json, and return the policy."""
    policy.details = details
    return policy


@gin_config.configurable
def best_fixed_topic(study: Study, num_search_users: int = 1000) -> RecommenderCtor:
    """Build the policy that shows random documents of one topic, the topic with the best mean in simulation.

    Every topic is simulated on the same users, which are not those of the evaluation. At 1000 users means have standard
    errors of 0.2 to 0.5 time units on the corpora of the project's table.

    Args:
      study: the world.
      num_search_users: number of users on whom each topic is simulated.

    Raises:
      LeftOutError: if the corpus is not static.
    """
    validation.integer("best_fixed_topic: num_search_users", num_search_users, 1)
    study.documents()
    network = study.network(recommender_ctor=baselines.TopicRecommender)
    means = slate_search.topic_means(
        study.runtime(network),
        network.recommender,
        study.config["num_topics"],
        study.horizon,
        study.seed,
        num_search_users,
        study.batch_size,
    )
    topic = int(np.argmax(means))
    ctor = functools.partial(baselines.TopicRecommender, topic=topic)
    return _with_details(ctor, topic=topic, num_search_users=num_search_users * len(means))


@gin_config.configurable
def best_fixed_slate(study: Study, rounds: Sequence[tuple[int, int]] = slate_search.ROUNDS) -> RecommenderCtor:
    """Build the policy that always shows the same S documents, the winner of the halving search in `slate_search`.

    By default 80000 + 60000 + 10000 users are simulated, and every slate is tried if there are at most 5000 slates. The
    evaluation uses other users, so that its mean is not biased by the maximisation.

    Args:
      study: the world.
      rounds: the budget: for each round the largest number of slates and the number of users of each slate.

    Raises:
      LeftOutError: if the corpus is not static.
    """
    rounds = slate_search.checked_rounds(rounds)
    ids = study.documents().get(fields.DOC_ID).numpy()
    network = study.network(recommender_ctor=baselines.SlateOfEachUserRecommender)
    found = slate_search.search_slates(
        study.runtime(network), network.recommender, len(ids), study.horizon, study.seed, rounds
    )
    doc_ids = [int(ids[place]) for place in found.places]
    ctor = functools.partial(FixedSlateRecommender, doc_ids=doc_ids)
    return _with_details(
        ctor,
        doc_ids=doc_ids,
        num_candidates=found.num_candidates,
        num_search_users=found.num_users,
        exhaustive=found.exhaustive,
    )


@gin_config.configurable
def myopic_full_information(study: Study) -> SimulationNetwork:
    """Build the policy that observes the interest and maximises the expected consumed time of the current step.

    Args:
      study: the world.

    Raises:
      LeftOutError: if the user entity does not define its dynamics.
    """
    return study.planning_network()


@gin_config.configurable
def tuned_full_information(
    study: Study, coefficients: Sequence[float] = attraction.COEFFICIENTS, num_search_users: int = 500
) -> SimulationNetwork:
    """Build the policy that observes the interest and plans with the tuned score `attraction.Attraction`.

    The slate maximises the expected consumed time of the current step plus the score of the next interest. Its
    coefficient is the best of `coefficients` on `num_search_users` users, which are not those of the evaluation.

    Args:
      study: the world.
      coefficients: candidate coefficients, in units of time.
      num_search_users: number of users on whom each coefficient is simulated.

    Raises:
      LeftOutError: if the user entity does not define its dynamics, or the corpus is not static.
    """
    validation.integer("tuned_full_information: num_search_users", num_search_users, 1)
    coefficients = attraction.checked_coefficients(coefficients)
    score = attraction.Attraction(study.user_laws().dynamics(), study.documents(), study.horizon)
    network = study.planning_network(score)
    means = attraction.tune(
        study.runtime(network), score, coefficients, study.horizon, study.seed, num_search_users, study.batch_size
    )
    return _with_details(
        network, coefficient=score.coefficient.numpy().item(), num_search_users=num_search_users * len(means)
    )


@gin_config.configurable
def full_information_reference(
    study: Study,
    use_grid: bool = True,
    grid_points: int = 121,
    num_iterations: int = 10,
    users_per_iteration: int = 1000,
    hidden: int = 64,
) -> SimulationNetwork:
    """Build the policy that observes the interest and plans with a computed value function.

    The policy's mean reward is a lower bound on the optimum. At K <= 2 the value is computed by a dynamic program on a
    grid (10 to 20 s on one core for 121 x 121 points, 100 documents, 100 steps), otherwise by fitted value iteration
    (30 to 40 s for 10 iterations of 1000 users).

    Details: `method`; for a grid also `grid_points`, `grid_value` (mean value in the grid's table, all T responses,
    units of time) and `grid_change` (`grid_value` minus that of a grid with half as many intervals); for a fit
    `num_search_users` and `mean_rewards` (of each iteration's policy).

    Args:
      study: the world.
      use_grid: whether to solve on a grid if K <= 2.
      grid_points: grid lines of each component, at least 3.
      num_iterations: number of iterations of value iteration, at least 1.
      users_per_iteration: number of users rolled out in each iteration, rounded up to whole batches.
      hidden: units of each hidden layer of the fitted value.

    Raises:
      LeftOutError: if the user entity does not define its dynamics.
    """
    _check_value_options(
        "full_information_reference", use_grid, grid_points, num_iterations, users_per_iteration, hidden
    )
    if use_grid and _fits_a_grid(study):
        refined = study.grid_value(grid_points)
        return _with_details(
            study.planning_network(refined.solution.value),
            method="dynamic program on a grid",
            grid_points=refined.solution.points,
            grid_value=refined.mean_value,
            grid_change=refined.change,
        )
    fitted = study.fitted_value(num_iterations, users_per_iteration, hidden)
    return _with_details(
        study.planning_network(fitted.value),
        method="fitted value iteration",
        num_search_users=fitted.num_users,
        mean_rewards=[iteration.mean_reward for iteration in fitted.iterations],
    )


@gin_config.configurable
def belief_reference(
    study: Study,
    num_particles: int = 64,
    shrinkage: float = 0.9,
    use_grid: bool = True,
    grid_points: int = 121,
    num_iterations: int = 10,
    users_per_iteration: int = 1000,
    hidden: int = 64,
) -> RecommenderCtor:
    """Build the QMDP policy: a particle filter over histories, and the value of `full_information_reference`.

    The policy knows the users' dynamics and shows how much a history reveals of the interest. Its mean reward is not an
    upper bound, since the policy never explores to gain information. The value is computed once if both references have
    equal options. The work is about `num_particles` times that of full information.

    Args:
      study: the world.
      num_particles: number of particles for each user.
      shrinkage: shrinkage of resampled particles, see `belief.resample`.
      use_grid: as in `full_information_reference`.
      grid_points: as in `full_information_reference`.
      num_iterations: as in `full_information_reference`.
      users_per_iteration: as in `full_information_reference`.
      hidden: as in `full_information_reference`.

    Raises:
      LeftOutError: if the user entity does not define its dynamics.
    """
    _check_value_options("belief_reference", use_grid, grid_points, num_iterations, users_per_iteration, hidden)
    validation.integer("belief_reference: num_particles", num_particles, 1)
    validation.number("belief_reference: shrinkage", shrinkage, 0.0, 1.0)
    if use_grid and _fits_a_grid(study):
        value: Any = study.grid_value(grid_points).solution.value
    else:
        value = study.fitted_value(num_iterations, users_per_iteration, hidden).value
    ctor = functools.partial(
        belief.BeliefRecommender,
        user=study.user_laws(),
        horizon=study.horizon,
        value=value,
        num_particles=num_particles,
        shrinkage=shrinkage,
    )
    return _with_details(ctor, num_particles=num_particles)


def _check_value_options(
    policy: str, use_grid: bool, grid_points: int, num_iterations: int, users_per_iteration: int, hidden: int
) -> None:
    validation.boolean(f"{policy}: use_grid", use_grid)
    validation.integer(f"{policy}: grid_points", grid_points, 3)
    validation.integer(f"{policy}: num_iterations", num_iterations, 1)
    validation.integer(f"{policy}: users_per_iteration", users_per_iteration, 1)
    validation.integer(f"{policy}: hidden", hidden, 1)


def _fits_a_grid(study: Study) -> bool:
    if study.config["num_topics"] > grid.MAX_TOPICS:
        return False
    try:
        study.documents()
    except LeftOutError:
        return False
    return True
