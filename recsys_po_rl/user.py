"""Users with latent interests that shift with the documents consumed.

Over 350 lines: one entity, half of it the contract of its fields, arguments and dynamics.
"""

from collections.abc import Callable, Sequence
from typing import Any, Optional

import edward2 as ed
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from recsim_ng.core.value import Config, Value, ValueSpec
from recsim_ng.entities.choice_models import affinities as affinities_lib
from recsim_ng.entities.choice_models import selectors
from recsim_ng.entities.recommendation import user
from recsim_ng.entities.state_models import dynamic, state

from recsys_po_rl import fields, gin_config
from recsys_po_rl.common import parameters, protocols, validation
from recsys_po_rl.common.parameters import PerUser, Scalar

tfd = tfp.distributions

AFFINITY_SIMILARITY = "negative_euclidean"
AFFINITY_OFFSET = 2.0  # added to every similarity; SPEC of the world, after recsim_ng's application
NO_CLICK_TIME = -1.0  # consumed time on no click
REPLAY_TOLERANCE = 1e-5  # absolute tolerance of a component of the interest
LARGEST_NORMAL = 9.0  # no float32 sampler returns a standard normal value beyond this
TIMEOUT_STEPS = 10  # steps without a click after which a user is replaced, if resets are enabled


def tensor_space(low: float = -np.inf, high: float = np.inf, shape: Sequence[int] = ()) -> Any:
    """Return the RecSim NG spec of a float32 field.

    Args:
      low: smallest value the field can hold.
      high: largest value the field can hold.
      shape: shape of the field.
    """
    return fields.tensor_spec(shape, low, high)


class _InterestModel(state.StateModel):
    """State model of the interest before squashing: drawn initially, then set to given values (with noise)."""

    def __init__(
        self,
        shape: tuple[int, int],
        noise_scale: Optional[parameters.PerUserParameter],
        initial_interest_generator: Any,
    ) -> None:
        super().__init__(batch_ndims=1, name="InterestModel")
        self._shape = shape
        self._noise_scale = noise_scale
        self._generator = initial_interest_generator

    def initial_state(self, parameters: Optional[Value] = None) -> Value:
        del parameters
        if self._generator is None:
            return Value(state=ed.MultivariateNormalDiag(loc=tf.zeros(self._shape), scale_diag=tf.ones(self._shape)))
        drawn = self._generator() if callable(self._generator) else self._generator.initial_state()
        interest = drawn.get("state") if isinstance(drawn, Value) else drawn
        if isinstance(interest, ed.RandomVariable):
            return Value(state=interest)
        return Value(state=self._deterministic_with_correct_batch_shape(tf.cast(interest, tf.float32)))

    def next_state(self, old_state: Value, inputs: Value, parameters: Optional[Value] = None) -> Value:
        del old_state, parameters
        moved = inputs.get("moved")
        if self._noise_scale is None:
            return Value(state=self._deterministic_with_correct_batch_shape(moved))
        scale = self._noise_scale.of_users()[:, tf.newaxis] * tf.ones_like(moved)
        return Value(state=ed.MultivariateNormalDiag(loc=moved, scale_diag=scale))

    def _deterministic_with_correct_batch_shape(self, field: tf.Tensor) -> ed.RandomVariable:
        # Tolerance: a replayed trajectory may have been recorded with another order of operations.
        return ed.Independent(tfd.Deterministic(loc=field, atol=REPLAY_TOLERANCE), reinterpreted_batch_ndims=1)

    def specs(self) -> ValueSpec:
        return ValueSpec(state=fields.tensor_spec(self._shape))


@gin_config.configurable
class InterestEvolutionUser(user.User):
    """Users who choose documents similar to their latent interest, which shifts with the quality of consumed documents.

    With interest z and a document of features f, quality q, length l:

        affinity = similarity(z, f) + offset; choice ~ multinomial logit over the slate and "no click"
        consumed time of the chosen document = l * sigmoid(-q), and -1 on no click
        if something was consumed: z <- z + step_size * q * (f - z) (+ noise)
        then, click or not:        z <- 4 M (sigmoid(z / M) - 1/2)

    A document of positive quality attracts the interest, a document of negative quality repels it; trashy documents are
    consumed longer. Reads num_users (U), num_topics (K), slate_size (S) from the config.

    Real-valued parameters may be tensors or variables: they are read at each use, and dynamics and log-probabilities
    are differentiable with respect to them. Their dtypes and shapes are validated, their values are not.

    State fields:
      interest.state: float32 [U, K], the initial draw, afterwards within (-2M, 2M).
      interest.linear_update.state: float32 [U, K], interest before squashing.
      interest.linear_update.tbranch.state: float32 [U, K], previous interest, kept on no click.
      interest.linear_update.fbranch.state: float32 [U, K], shifted interest, used after a click.
      With resets also steps_without_click: int32 [U]; fresh_interest.state: float32 [U, K], interest after a reset.
    Observation: empty; subclasses may reveal fields to the recommender.
    Response fields:
      consumed_time: float32 [U], at least 0, or -1 on no click, in the unit of the documents' length.
      choice: int32 [U], index in the slate, or S on no click; also any further fields of the choice model.

    Attributes:
      unmodelled_effects: effects of the story that the methods of the dynamics leave out, as text; see `dynamics`.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Withdraw the inherited `dynamics`: a subclass may tell another story, and states its dynamics itself."""
        super().__init_subclass__(**options)
        if "dynamics" not in vars(cls):
            cls.dynamics = _dynamics_not_stated  # type: ignore[assignment]

    def __init__(
        self,
        config: Config,
        affinity_model_ctor: Callable[..., Any] = affinities_lib.TargetPointSimilarity,
        choice_model_ctor: Callable[..., Any] = selectors.MultinomialLogitChoiceModel,
        no_click_mass: PerUser = 0.0,
        interest_step_size: PerUser = 0.1,
        reset_users_if_timed_out: bool = False,
        interest_update_noise_scale: Optional[PerUser] = None,
        initial_interest_generator: Any = None,
        max_user_affinity: Scalar = 10.0,
        affinity_similarity: str = AFFINITY_SIMILARITY,
        affinity_offset: Scalar = AFFINITY_OFFSET,
        timeout_steps: int = TIMEOUT_STEPS,
    ) -> None:
        """Create the entity.

        Args:
          config: num_users, num_topics, slate_size, each at least 1.
          affinity_model_ctor: called with ((U,), S, affinity_similarity); its `affinities(interest, features)` returns
            a Value with the field `affinities` [U, S].
          choice_model_ctor: called with ((U,), no-click logits [U]); has `choice(logits [U, S])` and `specs()`.
          no_click_mass: logit of no click, a number or one per user; may be -inf. If it is a tensor or variable,
            `choice_model_ctor` is called at each response and must not create variables.
          interest_step_size: relative shift of an interest per unit of quality, a number or one per user.
          reset_users_if_timed_out: whether a user without a click for `timeout_steps` steps is replaced by a new user.
          interest_update_noise_scale: standard deviation of the shift's noise, at least 0, a number or one per user.
          initial_interest_generator: draws initial interests [U, K]: a RecSim NG state model (its field `state` is
            used) or a callable without arguments that returns a tensor or Edward2 random variable. None: standard
            normal.
          max_user_affinity: M, above 0; interests stay within (-2M, 2M).
          affinity_similarity: a similarity supported by the affinity model.
          affinity_offset: offset added to every similarity.
          timeout_steps: steps without a click before a reset, at least 1.

        Raises:
          InvalidInputError: if an argument is out of these bounds, or a tensor has the wrong dtype or shape.
        """
        owner = type(self).__name__
        num_users = validation.config_value(config, "num_users", 1, owner)
        validation.config_value(config, "num_topics", 1, owner)
        self._slate_size = validation.config_value(config, "slate_size", 1, owner)
        super().__init__(config, name="User")
        self._max_user_affinity = parameters.scalar(
            f"{owner}: max_user_affinity", max_user_affinity, 0.0, exclusive_minimum=True
        )
        self._affinity_offset = parameters.scalar(f"{owner}: affinity_offset", affinity_offset)
        self._reset_users = validation.boolean(f"{owner}: reset_users_if_timed_out", reset_users_if_timed_out)
        self._timeout_steps = validation.integer(f"{owner}: timeout_steps", timeout_steps, 1)
        self._no_click_logits = parameters.PerUserParameter(
            f"{owner}: no_click_mass", no_click_mass, num_users, allow_minus_inf=True
        )
        self._step_size = parameters.PerUserParameter(f"{owner}: interest_step_size", interest_step_size, num_users)
        noise_scale = None
        if interest_update_noise_scale is not None:
            noise_scale = parameters.PerUserParameter(
                f"{owner}: interest_update_noise_scale", interest_update_noise_scale, num_users, minimum=0.0
            )
        if affinity_similarity == "single_peaked":
            raise validation.InvalidInputError(
                f"{owner}: affinity_similarity 'single_peaked' needs the peaks of each user, which these do not have"
            )
        validation.constructor(f"{owner}: affinity_model_ctor", affinity_model_ctor)
        validation.constructor(f"{owner}: choice_model_ctor", choice_model_ctor)
        self.unmodelled_effects = [
            f"next_interest with {effect}"
            for effect, is_active in (
                ("noise", interest_update_noise_scale is not None),
                ("resets of users who timed out", self._reset_users),
            )
            if is_active
        ]
        generator = initial_interest_generator
        if generator is not None and not callable(generator) and not hasattr(generator, "initial_state"):
            raise validation.InvalidTypeError(
                f"{owner}: initial_interest_generator must be a state model or callable, got {generator!r}"
            )
        try:
            self._affinity_model = affinity_model_ctor((num_users,), self._slate_size, affinity_similarity)
        except ValueError as error:
            raise validation.InvalidInputError(
                f"{owner}: affinity_similarity {affinity_similarity!r}: {error}"
            ) from error
        self._choice_model_ctor = choice_model_ctor
        self._choice_model = choice_model_ctor((num_users,), self._no_click_logits.of_users())
        if not self._no_click_logits.is_fixed and getattr(self._choice_model, "variables", None):
            raise validation.InvalidInputError(
                f"{owner}: no_click_mass must be numbers where choice_model_ctor makes variables of its own, "
                "got a tensor or variable"
            )
        self._has_generator = initial_interest_generator is not None
        self._interest_model = _InterestModel((num_users, self._num_topics), noise_scale, initial_interest_generator)
        self._linear_update = dynamic.NoOPOrContinueStateModel(self._interest_model, batch_ndims=1)

    # Dynamics, for the story below and for planners.

    def dynamics(self) -> Optional[protocols.UserDynamics]:
        """Return the dynamics by which planners compute, or None if the story has effects that they do not model.

        Not inherited: in a subclass that does not define `dynamics`, it returns None, because the three methods below
        may not describe the subclass's story. A subclass whose story they do describe, because it changes only the
        observation or overrides the methods too, defines `dynamics` as `return super().dynamics()`.
        """
        return None if self.unmodelled_effects else self

    def document_logits(self, interest: tf.Tensor, slate_docs: Value) -> tf.Tensor:
        """Return the logit of choosing each document of a slate.

        Args:
          interest: float32 [..., K].
          slate_docs: field doc_features float32 [..., S, K] is read.

        Returns:
          float32 [..., S].
        """
        features = tf.convert_to_tensor(slate_docs.get(fields.DOC_FEATURES))
        similarity = self._affinity_model.affinities(interest, features).get("affinities")
        return similarity + parameters.read(self._affinity_offset)

    def choice_logits(self, interest: tf.Tensor, slate_docs: Value) -> tf.Tensor:
        """Return the logits of the choice: the documents of the slate, then "no click".

        Args:
          interest: float32 [..., K]; the first axis is the users if the no-click mass differs between users.
          slate_docs: field doc_features float32 [..., S, K] is read.

        Returns:
          float32 [..., S + 1].
        """
        logits = self.document_logits(interest, slate_docs)
        no_click = self._no_click_logits.like(logits.shape[:-1])[..., tf.newaxis]
        return tf.concat([logits, no_click + tf.zeros_like(logits[..., :1])], axis=-1)

    def consumed_time(self, docs: Value) -> tf.Tensor:
        """Return the time for which a chosen document is consumed.

        Args:
          docs: fields doc_length and doc_quality, float32 [...], are read.

        Returns:
          float32 [...], in the unit of the length.
        """
        return docs.get(fields.DOC_LENGTH) * tf.sigmoid(-docs.get(fields.DOC_QUALITY))

    def next_interest(self, interest: tf.Tensor, doc: Optional[Value]) -> tf.Tensor:
        """Return the interest after a step, without noise or reset.

        Args:
          interest: float32 [..., K]; the first axis is the users if the step size differs between users.
          doc: the consumed document, fields doc_quality float32 [...] and doc_features float32 [..., K]; None on no
            click.

        Returns:
          float32 [..., K].
        """
        return self._squash(interest if doc is None else self._moved(interest, doc))

    def _moved(self, interest: tf.Tensor, doc: Value) -> tf.Tensor:
        quality = tf.convert_to_tensor(doc.get(fields.DOC_QUALITY))
        direction = quality[..., tf.newaxis] * (doc.get(fields.DOC_FEATURES) - interest)
        # A linear operator, as in recsim_ng's state models: Grappler would reorder a plain product of three factors.
        step = tf.linalg.LinearOperatorScaledIdentity(
            self._num_topics, multiplier=self._step_size.like(direction.shape[:-1])
        )
        return interest + step.matvec(direction)

    def _squash(self, interest: tf.Tensor) -> tf.Tensor:
        limit = parameters.read(self._max_user_affinity)
        return 4.0 * limit * (tf.sigmoid(interest / limit) - 0.5)

    # Methods of RecSim NG's story.

    def initial_state(self) -> Value:
        """Draw initial interests; see the class for the fields."""
        update = self._linear_update.initial_state()
        return self._with_timeout(Value(state=tf.identity(update.get("state"))), update)

    def next_state(self, previous_state: Value, user_response: Value, slate_docs: Value) -> Value:
        """Shift the interests of users who consumed a document; squash all interests."""
        interest = previous_state.get(fields.INTEREST)
        consumed = selectors.get_chosen(
            slate_docs.at(fields.DOC_QUALITY, fields.DOC_FEATURES).map(tf.convert_to_tensor),
            tf.convert_to_tensor(user_response.get(fields.CHOICE)),
        )
        nothing_consumed = tf.less(user_response.get(fields.CONSUMED_TIME), 0.0)
        update = self._linear_update.next_state(
            Value(state=interest), Value(condition=nothing_consumed, moved=self._moved(interest, consumed))
        )
        squashed = Value(state=self._squash(update.get("state")))
        return self._with_timeout(squashed, update, previous_state, nothing_consumed)

    def _with_timeout(
        self,
        interest: Value,
        update: Value,
        previous_state: Optional[Value] = None,
        nothing_consumed: Optional[tf.Tensor] = None,
    ) -> Value:
        """Merge the fields; with resets, replace users after too many steps without a click."""
        extra = Value()
        if self._reset_users:
            fresh = self._interest_model.initial_state().get("state")
            steps = tf.zeros((self._num_users,), tf.int32)
            if previous_state is not None:
                steps = tf.where(nothing_consumed, previous_state.get("steps_without_click") + 1, steps)
                gone = steps >= self._timeout_steps
                interest = Value(state=tf.where(gone[:, tf.newaxis], fresh, interest.get("state")))
                steps = tf.where(gone, tf.zeros_like(steps), steps)
            extra = Value(steps_without_click=steps, fresh_interest=Value(state=fresh))
        return interest.union(update.prefixed_with("linear_update")).prefixed_with("interest").union(extra)

    def observation(self, user_state: Value) -> Value:
        """Return an empty observation: the recommender observes only responses."""
        del user_state
        return Value()

    def next_response(self, previous_state: Value, slate_docs: Value) -> Value:
        """Draw a choice from the slate or no click; see the class for the fields."""
        interest = tf.convert_to_tensor(previous_state.get(fields.INTEREST))
        return self.response_from_logits(self.document_logits(interest, slate_docs), slate_docs)

    def response_from_logits(self, document_logits: tf.Tensor, slate_docs: Value) -> Value:
        """Draw a choice and compute the consumed time; for subclasses that change the logits.

        Args:
          document_logits: float32 [U, S].
          slate_docs: fields doc_length and doc_quality, float32 [U, S], are read; where its field empty_slot, bool
            [U, S], is true, nothing is shown and nothing can be chosen. Slates without that field are full.

        Returns:
          The response; see the class for the fields.
        """
        if fields.EMPTY_SLOT in slate_docs.as_dict:
            empty = tf.convert_to_tensor(slate_docs.get(fields.EMPTY_SLOT))
            document_logits = tf.where(empty, tf.cast(-np.inf, document_logits.dtype), document_logits)
        choice = self._present_choice_model().choice(document_logits)
        times = self.consumed_time(slate_docs)
        consumed_time = selectors.get_chosen(
            Value(consumed_time=times), choice.get(fields.CHOICE), nochoice_value=NO_CLICK_TIME
        )
        return consumed_time.union(choice)

    def _present_choice_model(self) -> Any:
        """Return the choice model, created again if the no-click mass may have changed since the last response."""
        if self._no_click_logits.is_fixed:
            return self._choice_model
        # Constructors of entities are traced too, and recsim_ng's log-probability would count them as random variables.
        with ed.trace(lambda constructor, *args, **kwargs: constructor(*args, **kwargs)):
            return self._choice_model_ctor((self._num_users,), self._no_click_logits.of_users())

    def specs(self) -> ValueSpec:
        """Return specs of `state`, `observation` and `response`."""
        shape = (self._num_users, self._num_topics)
        limit = np.inf
        # The bound holds from the second value on, not for the initial draw. A tensor's value is unknown here.
        if isinstance(self._max_user_affinity, float) and not self._has_generator:
            bound = 2.0 * self._max_user_affinity
            limit = np.inf if bound < LARGEST_NORMAL else bound
        interest = ValueSpec(state=fields.tensor_spec(shape, -limit, limit)).union(
            self._linear_update.specs().prefixed_with("linear_update")
        )
        user_state = interest.prefixed_with("interest")
        if self._reset_users:
            user_state = user_state.union(
                ValueSpec(
                    steps_without_click=fields.tensor_spec((self._num_users,), 0, self._timeout_steps, tf.int32),
                    fresh_interest=self._interest_model.specs(),
                )
            )
        response = ValueSpec(consumed_time=fields.tensor_spec((self._num_users,), NO_CLICK_TIME)).union(
            self._choice_model.specs()
        )
        return (
            user_state.prefixed_with("state")
            .union(ValueSpec().prefixed_with("observation"))
            .union(response.prefixed_with("response"))
        )


def _dynamics_not_stated(user: Any) -> None:
    """Return None: the method `dynamics` of subclasses that do not define it."""
    del user


def missing_dynamics(user: Any) -> list[str]:
    """Return what planners lack of a user entity: descriptions, empty if its `dynamics()` is not None.

    Args:
      user: any object; a user entity without the method `dynamics` is one without known dynamics.
    """
    dynamics = getattr(user, "dynamics", None)
    if callable(dynamics) and dynamics() is not None:
        return []
    return list(getattr(user, "unmodelled_effects", ())) or ["a dynamics() of its own"]
