"""Particle belief over the latent interest, and a recommender that acts on the belief (QMDP)."""

import functools
from typing import Any, NamedTuple, Optional

import edward2 as ed
import tensorflow as tf
from recsim_ng.core.value import Config, Value, ValueSpec
from recsim_ng.entities.choice_models import selectors

from recsys_po_rl import fields, gin_config, recommender
from recsys_po_rl import user as user_lib
from recsys_po_rl.common import protocols, validation
from recsys_po_rl.policies import planning
from recsys_po_rl.policies.base import BuiltPolicy, Policy, PolicyContext, SearchCost
from recsys_po_rl.policies.values import grid
from recsys_po_rl.policies.values.reference import ReferenceValue

_PARTICLE_COST = 4.0  # time of a user-step for each particle, see `planning.VALUE_COST`
_EXCHANGES = 1  # passes in which each document of a slate is exchanged for a better one


class Belief(NamedTuple):
    """Weighted particles of each user's interest."""

    particles: tf.Tensor  # float32 [U, P, K]
    log_weights: tf.Tensor  # float32 [U, P], normalised


def update(user: protocols.UserDynamics, belief: Belief, choice: tf.Tensor, slate_docs: Value) -> Belief:
    """Condition a belief on a response by Bayes' rule, then move the particles by the known dynamics, without noise.

    Args:
      user: dynamics of the users, see `InterestEvolutionUser.dynamics`.
      belief: belief before the response.
      choice: int32 [U], place in the slate, S for nothing.
      slate_docs: the slate, fields [U, S, ...].

    Returns:
      The belief after the response.
    """
    docs = slate_docs.at(fields.DOC_FEATURES, fields.DOC_QUALITY).map(tf.convert_to_tensor)
    logits = user.choice_logits(belief.particles, docs.map(lambda field: field[:, tf.newaxis]))
    chosen = tf.one_hot(choice, logits.shape[-1], True, False, dtype=tf.bool)[:, tf.newaxis]
    likelihood = tf.reduce_sum(tf.where(chosen, tf.nn.log_softmax(logits), 0.0), axis=-1)
    consumed = selectors.get_chosen(docs, choice).map(lambda field: field[:, tf.newaxis])
    nothing = tf.equal(choice, logits.shape[-1] - 1)[:, tf.newaxis, tf.newaxis]
    particles = tf.where(
        nothing, user.next_interest(belief.particles, None), user.next_interest(belief.particles, consumed)
    )
    return Belief(particles, tf.nn.log_softmax(belief.log_weights + likelihood))


def resample(belief: Belief, uniform: tf.Tensor, normal: tf.Tensor, shrinkage: float) -> Belief:
    """Resample users whose effective number of particles is below P / 2: systematic, with kernel smoothing.

    Resampled particles z become a z + (1 - a) mean + sqrt(1 - a^2) stddev * normal, componentwise, which keeps the
    belief's mean and variances (Liu and West 2001, "Combined Parameter and State Estimation in Simulation-Based
    Filtering").

    Args:
      belief: belief before resampling.
      uniform: float32 [U], in [0, 1), offsets of the systematic comb.
      normal: float32 [U, P, K], standard normal.
      shrinkage: a, 0 to 1; 1: resampled particles are not moved.

    Returns:
      The belief, with equal weights for resampled users.
    """
    num_particles = belief.log_weights.shape[-1]
    weights = tf.exp(belief.log_weights)
    total = tf.cumsum(weights, axis=-1)
    comb = (tf.range(num_particles, dtype=tf.float32) + uniform[:, tf.newaxis]) / num_particles
    passed = tf.cast(total[:, tf.newaxis, :] <= comb[:, :, tf.newaxis], tf.int32)
    parents = tf.minimum(tf.reduce_sum(passed, axis=-1), num_particles - 1)
    mean = tf.reduce_sum(weights[..., tf.newaxis] * belief.particles, axis=1, keepdims=True)
    variance = tf.reduce_sum(weights[..., tf.newaxis] * (belief.particles - mean) ** 2, axis=1, keepdims=True)
    moved = shrinkage * tf.gather(belief.particles, parents, batch_dims=1) + (1.0 - shrinkage) * mean
    moved += tf.sqrt((1.0 - shrinkage**2) * variance) * normal
    scarce = tf.reduce_sum(weights**2, axis=-1, keepdims=True) > 2.0 / num_particles
    equal = tf.zeros_like(belief.log_weights) - tf.math.log(float(num_particles))
    return Belief(
        tf.where(scarce[..., tf.newaxis], moved, belief.particles), tf.where(scarce, equal, belief.log_weights)
    )


def slates_for(weights: tf.Tensor, logits: tf.Tensor, values: tf.Tensor, slate_size: int) -> planning.BestSlates:
    """Find slates with a large expected value of one choice under the belief.

    The value of a slate A is sum_p weight_p (sum_A w_p v_p / (w0_p + sum_A w_p)). Slates are built greedily, document
    by document; then each document in turn is exchanged for the best in its place. Exact for S = 1; a local optimum
    otherwise.

    Args:
      weights: float32 [U, P], of the particles, summing to 1.
      logits: float32 [U, P, D + 1], of choosing each of all documents and, last, nothing.
      values: float32 [U, P, D], value of choosing each document minus the value of choosing nothing.
      slate_size: S.

    Returns:
      Slates [U, S] and their mean values [U].
    """
    mass = tf.exp(logits - tf.reduce_max(logits, axis=-1, keepdims=True))
    documents, nothing = mass[..., :-1], mass[..., -1]
    worth = documents * values
    num_docs = documents.shape[-1]

    def one_more(places: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the best document to add to those in `places`, and the mean value with it."""
        taken = tf.zeros((tf.shape(weights)[0], num_docs), tf.float32)
        for place in places:
            taken += tf.one_hot(place, num_docs)
        already = tf.einsum("upd,ud->up", worth, taken)[..., tf.newaxis]
        others = (nothing + tf.einsum("upd,ud->up", documents, taken))[..., tf.newaxis]
        ratios = tf.math.divide_no_nan(already + worth, others + documents)
        means = tf.reduce_sum(weights[..., tf.newaxis] * ratios, axis=1)
        means = tf.where(taken > 0, means.dtype.min, means)
        return tf.argmax(means, axis=-1, output_type=tf.int32), tf.reduce_max(means, axis=-1)

    places: list[tf.Tensor] = []
    value = tf.zeros(())
    for _ in range(slate_size):
        place, value = one_more(places)
        places.append(place)
    for _ in range(_EXCHANGES if slate_size > 1 else 0):
        for slot in range(slate_size):
            places[slot], value = one_more(places[:slot] + places[slot + 1 :])
    return planning.BestSlates(tf.stack(places, axis=-1), value)


@gin_config.configurable
class BeliefRecommender(recommender.StepCountingRecommender):
    """Recommender that infers the latent interest from choices and maximises a known value averaged over the belief.

    QMDP (Littman et al. 1995, "Learning policies for partially observable environments: Scaling up"): the policy acts
    as if the interest were observed from the next step on, and therefore never explores to gain information. The value
    of the next interest is linearised over the step: its gradient, at the interest after nothing was consumed, times
    the move.

    State fields, in addition to those of `StepCountingRecommender`:
      particles: float32 [U, P, K], interests; initially drawn as the users' first interests.
      log_weights: float32 [U, P], normalised.
    """

    def __init__(
        self,
        config: Config,
        user: Any = None,
        horizon: int = 1,
        value: Optional[protocols.ValueFunction] = None,
        num_particles: int = 64,
        shrinkage: float = 0.9,
        name: str = "Recommender",
    ) -> None:
        """Create the entity.

        Args:
          config: as in `HistoryRecommender`.
          user: a user entity of U users whose `dynamics()` is not None; its `initial_state` draws first interests.
          horizon: T, responses in an episode, at least 1.
          value: value of an interest, see `planning.plan`; None: 0.
          num_particles: P, at least 1; the work is proportional to users times particles times documents.
          shrinkage: shrinkage of resampled particles, 0 to 1, see `resample`; 0.9 was the best of 0.9, 0.98 and 1 at
            K = 2, corpus 0.
          name: name of the entity.

        Raises:
          InvalidInputError: if the user entity's dynamics are not known, or a number is out of bounds.
        """
        super().__init__(config, name=name)
        owner = type(self).__name__
        missing = user_lib.missing_dynamics(user)
        if missing:
            raise validation.InvalidInputError(f"{owner}: user {type(user).__name__} lacks {', '.join(missing)}")
        self._user = user  # its `initial_state` draws the particles
        self._dynamics = user.dynamics()
        self._value = value
        self._num_topics = validation.config_value(config, "num_topics", 1, owner)
        self._horizon = validation.integer(f"{owner}: horizon", horizon, 1)
        self._num_particles = validation.integer(f"{owner}: num_particles", num_particles, 1)
        self._shrinkage = validation.number(f"{owner}: shrinkage", shrinkage, 0.0, 1.0)

    def initial_state(self) -> Value:
        """Return empty histories and particles drawn as the users' first interests, with equal weights."""
        drawn = [self._user.initial_state().get(fields.INTEREST) for _ in range(self._num_particles)]
        particles = tf.stack([tf.convert_to_tensor(interest) for interest in drawn], axis=1)
        weights = tf.zeros((self._num_users, self._num_particles)) - tf.math.log(float(self._num_particles))
        return _with_belief(super().initial_state(), Belief(particles, weights))

    def next_state(self, previous_state: Value, user_response: Value, slate_docs: Value) -> Value:
        """Append the consumed documents to the histories, count the step and update the belief."""
        histories = super().next_state(previous_state, user_response, slate_docs)
        choice = tf.convert_to_tensor(user_response.get(fields.CHOICE))
        belief = update(self._dynamics, self._belief(previous_state), choice, slate_docs)
        # A uniform number computed from a normal one, which is the same in every mode of the runtime.
        drawn = tf.convert_to_tensor(ed.Normal(loc=tf.zeros((self._num_users,)), scale=1.0))
        uniform = 0.5 * tf.math.erfc(-drawn / 2.0**0.5)
        normal = tf.convert_to_tensor(ed.Normal(loc=tf.zeros(belief.particles.shape), scale=1.0))
        belief = resample(belief, uniform, normal, self._shrinkage)
        return _with_belief(histories, belief)

    def slate_ranks(self, previous_state: Value, user_obs: Value, available_docs: Value) -> Any:
        """Return slates with a large expected value under the belief; int32 [U, S]."""
        del user_obs
        docs = available_docs.map(tf.convert_to_tensor)
        belief = self._belief(previous_state)
        steps_left = tf.cast(self._horizon - 1 - tf.convert_to_tensor(previous_state.get(fields.STEP)), tf.float32)
        logits = self._dynamics.choice_logits(belief.particles, docs)
        values = self._dynamics.consumed_time(docs) + tf.zeros_like(logits[..., :-1])
        if self._value is not None:
            values += self._worth_of_moves(belief.particles, docs, steps_left)
        return slates_for(tf.exp(belief.log_weights), logits, values, self._slate_size).ranks

    def specs(self) -> ValueSpec:
        """Return the specs of `state` and `slate`."""
        shape = (self._num_users, self._num_particles)
        further = ValueSpec(
            **{
                fields.PARTICLES: fields.tensor_spec((*shape, self._num_topics)),
                fields.LOG_WEIGHTS: fields.tensor_spec(shape, high=0.0),
            }
        )
        return super().specs().union(further.prefixed_with("state"))

    def _worth_of_moves(self, particles: tf.Tensor, docs: Value, steps_left: tf.Tensor) -> tf.Tensor:
        """Return the value of the interest after each document minus that after no document; float32 [U, P, D]."""
        assert self._value is not None
        stay = self._dynamics.next_interest(particles, None)
        with tf.GradientTape() as tape:
            tape.watch(stay)
            worth = self._value(stay, steps_left[:, tf.newaxis])
        slope = tf.where((steps_left > 0)[:, tf.newaxis, tf.newaxis], tape.gradient(worth, stay), 0.0)
        moves = self._dynamics.next_interest(particles[:, :, tf.newaxis], docs) - stay[:, :, tf.newaxis]
        return tf.reduce_sum(slope[:, :, tf.newaxis] * moves, axis=-1)

    def _belief(self, state: Value) -> Belief:
        return Belief(
            tf.convert_to_tensor(state.get(fields.PARTICLES)), tf.convert_to_tensor(state.get(fields.LOG_WEIGHTS))
        )


def _with_belief(histories: Value, belief: Belief) -> Value:
    return histories.union(Value(**{fields.PARTICLES: belief.particles, fields.LOG_WEIGHTS: belief.log_weights}))


@gin_config.configurable(name="belief_reference")
class BeliefReference(Policy):
    """QMDP policy: a particle filter over histories, and the value of `FullInformationReference`.

    The policy knows the users' dynamics and shows how much a history reveals of the interest. Its mean reward is not an
    upper bound, since the policy never explores to gain information. The value is computed once if both references have
    equal options. The work is about `num_particles` times that of full information.
    """

    def __init__(
        self,
        num_particles: int = 64,
        shrinkage: float = 0.9,
        use_grid: bool = True,
        grid_points: int = 121,
        num_iterations: int = 10,
        users_per_iteration: int = 1000,
        hidden: int = 64,
    ) -> None:
        """Validate the arguments.

        Args:
          num_particles: number of particles for each user, at least 1.
          shrinkage: shrinkage of resampled particles, 0 to 1, see `resample`.
          use_grid: as in `ReferenceValue`.
          grid_points: as in `ReferenceValue`.
          num_iterations: as in `ReferenceValue`.
          users_per_iteration: as in `ReferenceValue`.
          hidden: as in `ReferenceValue`.

        Raises:
          InvalidInputError: if an argument is out of bounds.
        """
        self.use_grid = use_grid
        self.grid_points = grid_points
        self.num_iterations = num_iterations
        self.users_per_iteration = users_per_iteration
        self.hidden = hidden
        self._value = ReferenceValue(
            self.name,
            use_grid=use_grid,
            grid_points=grid_points,
            num_iterations=num_iterations,
            users_per_iteration=users_per_iteration,
            hidden=hidden,
        )
        self.num_particles = validation.integer(f"{self.name}: num_particles", num_particles, 1)
        self.shrinkage = validation.number(f"{self.name}: shrinkage", shrinkage, 0.0, 1.0)

    def belief_arguments(self, context: PolicyContext) -> dict[str, Any]:
        """Compute the value, and return the arguments of a `BeliefRecommender` beside the config.

        Raises:
          LeftOutError: if the user entity does not define its dynamics.
        """
        computed = self._value.compute(context)
        return {
            "user": context.modelled_user(),
            "horizon": context.horizon,
            "value": computed.solution.value if isinstance(computed, grid.RefinedSolution) else computed.value,
            "num_particles": self.num_particles,
            "shrinkage": self.shrinkage,
        }

    def build(self, context: PolicyContext) -> BuiltPolicy:
        """Compute the value; left out if the user entity does not define its dynamics. See `Policy.build`."""
        ctor = functools.partial(BeliefRecommender, **self.belief_arguments(context))
        return BuiltPolicy(context.network(recommender_ctor=ctor), {"num_particles": self.num_particles})

    def search_cost(self, context: PolicyContext) -> SearchCost:
        """Return the work of computing the value; see `Policy.search_cost`."""
        of_value = self._value.search_cost(context)
        return of_value._replace(
            relative_cost=_PARTICLE_COST * self.num_particles, relative_search_cost=of_value.relative_cost
        )
