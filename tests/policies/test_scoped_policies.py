"""Policies of one function under several gin scopes have several names."""

import cloudpickle
import gin
import pytest

from recsys_po_rl import gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import config, run
from recsys_po_rl.experiment.dry_run import scaling
from recsys_po_rl.policies import catalogue

EXPERIMENT, POPULAR = "recsys_po_rl.experiment.policies", "recsys_po_rl.popular_by_clicks"
SIZES = (
    f"few/{POPULAR}.num_log_users = 20",
    f"many/{POPULAR}.num_log_users = 300",
    f"{POPULAR}.num_log_users = 1000",
)


def checked_policies(listed, *bindings):
    gin_config.parse([], [*SIZES, *bindings, f"{EXPERIMENT} = {listed}"])
    return config.validated(**config.bound(run.experiment)).policies


def names_of(listed, *bindings):
    return [policy.__name__ for policy in checked_policies(listed, *bindings)]


def test_policies_of_one_function_have_their_scopes_in_front_of_their_names():
    assert names_of(f"[@few/{POPULAR}, @many/{POPULAR}]") == ["few/popular_by_clicks", "many/popular_by_clicks"]
    assert names_of(f"[@{POPULAR}, @few/{POPULAR}]") == ["popular_by_clicks", "few/popular_by_clicks"]
    nested = names_of(f"[@few/more/{POPULAR}, @few/{POPULAR}]")
    assert nested == ["few/more/popular_by_clicks", "few/popular_by_clicks"]
    by_macro = names_of("%BOTH", f"BOTH = [@few/{POPULAR}, @many/{POPULAR}]")
    assert by_macro == ["few/popular_by_clicks", "many/popular_by_clicks"]


def test_names_that_differ_already_stay():
    assert names_of(f"[@few/{POPULAR}, @many/recsys_po_rl.uniform_random]") == ["popular_by_clicks", "uniform_random"]


@pytest.mark.parametrize(
    "listed",
    [f"[@few/{POPULAR}, @few/{POPULAR}]", f"[@{POPULAR}, @{POPULAR}]", f"[@few/{POPULAR}, @{POPULAR}, @{POPULAR}]"],
)
def test_identical_policies_are_refused(listed):
    with pytest.raises(validation.InvalidInputError, match="must have different names, or gin scopes"):
        names_of(listed)


class LogUsers:
    """Stands in for a study; returns the number of users that a policy asks for."""

    def most_popular(self, num_log_users, _):
        raise catalogue.LeftOutError(str(num_log_users))


def asked_for(policy, **given):
    with pytest.raises(catalogue.LeftOutError) as caught:
        policy(LogUsers(), **given)
    return int(gin_config.first_line(caught.value))


def test_each_keeps_the_values_of_its_scope_in_this_process_and_in_others():
    found = checked_policies(f"[@few/{POPULAR}, @many/{POPULAR}, @{POPULAR}]")
    for policy, num_users in zip(found, (20, 300, 1000), strict=True):
        assert config.bound(policy)["num_log_users"] == num_users
        assert asked_for(policy) == num_users
        assert asked_for(policy, num_log_users=7) == 7  # a short search of --dry_run
        copy = cloudpickle.loads(cloudpickle.dumps(policy))
        assert copy.__name__ == policy.__name__
        assert asked_for(copy) == num_users


def test_a_scope_does_not_hide_that_a_policy_is_trained():
    assert scaling.learns("few/learned_full_information")
    assert scaling.learns("learned_full_information")
    assert not scaling.learns("few/popular_by_clicks")


def test_scopes_of_references_and_bindings_of_other_callables():
    assert gin_config.scope_of(gin.get_configurable(f"few/{POPULAR}")) == "few"
    assert gin_config.scope_of(catalogue.popular_by_clicks) == ""
    assert gin_config.scope_of(LogUsers()) == ""
    assert gin_config.bindings_of(len) == {}
