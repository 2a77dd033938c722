"""Value function of the reference policies: a dynamic program on a grid, or fitted value iteration."""

import math
from collections.abc import Hashable
from typing import Union

from recsys_po_rl.common import validation
from recsys_po_rl.policies import planning
from recsys_po_rl.policies.base import LeftOutError, PolicyContext, SearchCost
from recsys_po_rl.policies.values import fitted, grid

GRID_USERS = 2000  # users over whose first interests the value of a dynamic program is averaged


class ReferenceValue:
    """Options of the computation, which policies with equal options share.

    At K <= 2 the value is computed by a dynamic program on a grid (10 to 20 s on one core for 121 x 121 points, 100
    documents, 100 steps), otherwise by fitted value iteration (30 to 40 s for 10 iterations of 1000 users).
    """

    def __init__(
        self,
        policy: str,
        use_grid: bool,
        grid_points: int,
        num_iterations: int,
        users_per_iteration: int,
        hidden: int,
    ) -> None:
        """Validate the options.

        Args:
          policy: name of the policy, for messages.
          use_grid: whether to solve on a grid if K <= 2.
          grid_points: grid lines of each component, at least 3.
          num_iterations: number of iterations of value iteration, at least 1.
          users_per_iteration: number of users rolled out in each iteration, at least 1, rounded up to whole batches.
          hidden: units of each hidden layer of the fitted value, at least 1.

        Raises:
          InvalidInputError: if an option is out of bounds.
        """
        self._use_grid = validation.boolean(f"{policy}: use_grid", use_grid)
        self._grid_points = validation.integer(f"{policy}: grid_points", grid_points, 3)
        self._num_iterations = validation.integer(f"{policy}: num_iterations", num_iterations, 1)
        self._users_per_iteration = validation.integer(f"{policy}: users_per_iteration", users_per_iteration, 1)
        self._hidden = validation.integer(f"{policy}: hidden", hidden, 1)

    def compute(self, context: PolicyContext) -> Union[grid.RefinedSolution, fitted.FittedValue]:
        """Compute the value in a world, or return it if a policy with equal options has computed it.

        Args:
          context: the world.

        Raises:
          LeftOutError: if the user entity does not define its dynamics, or the dynamic program cannot be solved.
        """
        if self._fits_a_grid(context) and _is_static(context):
            return context.memoised(self._grid_key, lambda: self._solve(context))
        return context.memoised(self._fit_key, lambda: self._fit(context))

    def search_cost(self, context: PolicyContext) -> SearchCost:
        """Return the work of `compute`; see `Policy.search_cost`.

        A corpus is taken to be static: whether it is shows only when the network is built.
        """
        if self._fits_a_grid(context):
            num_slates = math.comb(context.config["num_docs"], context.config["slate_size"])
            num_points = self._grid_points ** context.config["num_topics"]
            return SearchCost(
                0,
                self._grid_key,
                relative_cost=planning.VALUE_COST,
                grid_slates=num_points * num_slates * context.horizon,
            )
        user_steps = self._num_iterations * self._users_per_iteration * context.horizon
        return SearchCost(user_steps, self._fit_key, relative_cost=planning.VALUE_COST)

    @property
    def _grid_key(self) -> Hashable:
        return "grid_value", self._grid_points

    @property
    def _fit_key(self) -> Hashable:
        return "fitted_value", self._num_iterations, self._users_per_iteration, self._hidden

    def _fits_a_grid(self, context: PolicyContext) -> bool:
        return self._use_grid and context.config["num_topics"] <= grid.MAX_TOPICS

    def _solve(self, context: PolicyContext) -> grid.RefinedSolution:
        user, docs = context.user_dynamics(), context.documents()
        interests = context.first_interests(GRID_USERS)
        sizes = context.config["num_topics"], context.config["slate_size"]
        try:
            return grid.solve_refined(user, docs, *sizes, context.horizon, interests, self._grid_points)
        except validation.InvalidInputError as error:
            raise LeftOutError(f"no dynamic program: {error}") from error

    def _fit(self, context: PolicyContext) -> fitted.FittedValue:
        return fitted.fit(
            lambda value: context.runtime(context.planning_network(value)),
            context.config["num_topics"],
            context.horizon,
            context.seed,
            self._num_iterations,
            batches_per_iteration=-(-self._users_per_iteration // context.batch_size),
            hidden=self._hidden,
        )


def _is_static(context: PolicyContext) -> bool:
    try:
        context.documents()
    except LeftOutError:
        return False
    return True
