"""Policies that observe the interest and know the dynamics: myopic, with a tuned score, with a computed value."""

from collections.abc import Sequence

from recsys_po_rl import gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.policies import planning
from recsys_po_rl.policies.base import BuiltPolicy, Policy, PolicyContext, SearchCost
from recsys_po_rl.policies.values import attraction, grid
from recsys_po_rl.policies.values.reference import ReferenceValue


@gin_config.configurable(name="myopic_full_information")
class MyopicFullInformation(Policy):
    """Policy that observes the interest and maximises the expected consumed time of the current step."""

    def build(self, context: PolicyContext) -> BuiltPolicy:
        """Build the policy; left out if the user entity does not define its dynamics. See `Policy.build`."""
        return BuiltPolicy(context.planning_network())

    def search_cost(self, context: PolicyContext) -> SearchCost:
        """Return the work of planning one step ahead; see `Policy.search_cost`."""
        del context
        return SearchCost(relative_cost=planning.MYOPIC_COST)


@gin_config.configurable(name="tuned_full_information")
class TunedFullInformation(Policy):
    """Policy that observes the interest and plans with the tuned score `attraction.Attraction`.

    The slate maximises the expected consumed time of the current step plus the score of the next interest. Its
    coefficient is the best of several on users who are not those of the evaluation.
    """

    def __init__(self, coefficients: Sequence[float] = attraction.COEFFICIENTS, num_search_users: int = 500) -> None:
        """Validate the arguments.

        Args:
          coefficients: candidate coefficients, in units of time.
          num_search_users: number of users on whom each coefficient is simulated, at least 1.

        Raises:
          InvalidInputError: if a number is out of bounds, or there are no coefficients.
        """
        self.num_search_users = validation.integer(f"{self.name}: num_search_users", num_search_users, 1)
        self.coefficients = attraction.checked_coefficients(coefficients)

    def build(self, context: PolicyContext) -> BuiltPolicy:
        """Tune the score; left out without dynamics of the users or a static corpus. See `Policy.build`."""
        score = attraction.Attraction(context.user_dynamics(), context.documents(), context.horizon)
        network = context.planning_network(score)
        means = attraction.tune(
            context.runtime(network),
            score,
            self.coefficients,
            context.horizon,
            context.seed,
            self.num_search_users,
            context.batch_size,
        )
        return BuiltPolicy(
            network,
            {
                "coefficient": score.coefficient.numpy().item(),
                "num_search_users": self.num_search_users * len(means),
            },
        )

    def search_cost(self, context: PolicyContext) -> SearchCost:
        """Return the work of simulating every coefficient; see `Policy.search_cost`."""
        user_steps = len(self.coefficients) * self.num_search_users * context.horizon
        return SearchCost(user_steps, relative_cost=planning.VALUE_COST)


@gin_config.configurable(name="full_information_reference")
class FullInformationReference(Policy):
    """Policy that observes the interest and plans with a computed value function, see `ReferenceValue`.

    The policy's mean reward is a lower bound on the optimum.

    Details: `method`; for a grid also `grid_points`, `grid_value` (mean value in the grid's table, all T responses,
    units of time) and `grid_change` (`grid_value` minus that of a grid with half as many intervals); for a fit
    `num_search_users` and `mean_rewards` (of each iteration's policy).
    """

    def __init__(
        self,
        use_grid: bool = True,
        grid_points: int = 121,
        num_iterations: int = 10,
        users_per_iteration: int = 1000,
        hidden: int = 64,
    ) -> None:
        """Validate the arguments.

        Args:
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

    def build(self, context: PolicyContext) -> BuiltPolicy:
        """Compute the value; left out if the user entity does not define its dynamics. See `Policy.build`."""
        computed = self._value.compute(context)
        if isinstance(computed, grid.RefinedSolution):
            return BuiltPolicy(
                context.planning_network(computed.solution.value),
                {
                    "method": "dynamic program on a grid",
                    "grid_points": computed.solution.points,
                    "grid_value": computed.mean_value,
                    "grid_change": computed.change,
                },
            )
        return BuiltPolicy(
            context.planning_network(computed.value),
            {
                "method": "fitted value iteration",
                "num_search_users": computed.num_users,
                "mean_rewards": [iteration.mean_reward for iteration in computed.iterations],
            },
        )

    def search_cost(self, context: PolicyContext) -> SearchCost:
        """Return the work of computing the value; see `Policy.search_cost`."""
        return self._value.search_cost(context)
