"""Policies from references, with their gin scopes; from instances; from functions."""

import functools
import typing

import cloudpickle
import gin
import pytest

from recsys_po_rl import gin_config, simulation_config
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import config, run
from recsys_po_rl.policies import (
    BuiltPolicy,
    LearnedFullInformation,
    Policy,
    PopularByClicks,
    PopularByTime,
    SearchCost,
    UniformRandom,
    adapters,
)
from recsys_po_rl.policies.uniform_random import UniformRandomRecommender

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
    return [policy.name for policy in checked_policies(listed, *bindings)]


def test_policies_of_one_class_have_their_scopes_in_front_of_their_names():
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


def test_each_keeps_the_values_of_its_scope_in_this_process_and_in_others():
    found = checked_policies(f"[@few/{POPULAR}, @many/{POPULAR}, @{POPULAR}]")
    for policy, num_users in zip(found, (20, 300, 1000), strict=True):
        assert policy.arguments == {"num_log_users": num_users}
        assert policy.replaced(num_log_users=7).arguments == {"num_log_users": 7}
        copy = cloudpickle.loads(cloudpickle.dumps(policy))
        assert copy.name == policy.name
        assert copy.search_cost(CONTEXT).user_steps == 2 * num_users
        assert copy.replaced(num_log_users=7).search_cost(CONTEXT).user_steps == 2 * 7


@gin_config.configurable(name="policy_of_this_test")
class PolicyOfThisTest(Policy):
    def __init__(self, size=1):
        self.size = size

    def build(self, context):
        return gin.current_scope_str(), BoundInAScope().name


@gin_config.configurable
class BoundInAScope:
    def __init__(self, name="default"):
        self.name = name


def test_a_policy_is_constructed_and_built_in_its_scope():
    few, plain = checked_policies(
        "[@few/recsys_po_rl.policy_of_this_test, @recsys_po_rl.policy_of_this_test]",
        "few/recsys_po_rl.policy_of_this_test.size = 2",
        "few/recsys_po_rl.BoundInAScope.name = 'few'",
    )
    assert (few.arguments, plain.arguments) == ({"size": 2}, {"size": 1})
    with gin.config_scope("outer"):
        assert few.build(CONTEXT) == ("few", "few")
        assert plain.build(CONTEXT) == ("outer", "default")


def test_parameters_are_in_the_operative_configuration_of_a_process_that_only_builds():
    (policy,) = checked_policies("[@few/recsys_po_rl.policy_of_this_test]")
    text = gin_config.config_text()
    gin.clear_config()
    gin_config.parse_text(text)
    assert "policy_of_this_test" not in gin_config.operative_config_text()
    policy.build(CONTEXT)
    assert "few/recsys_po_rl.policy_of_this_test.size = 1" in gin_config.operative_config_text()


def by_function(context, size=2):
    """Policy as in version 0.1.0."""
    return functools.partial(UniformRandomRecommender, name=f"{context.config['name']} {size}")


class Context:
    """Stands in for a context whose network is the recommender's constructor."""

    config: typing.ClassVar = {"name": "Mine", "num_topics": 3}
    horizon = 2

    def network(self, recommender_ctor):
        return recommender_ctor


CONTEXT = Context()


def test_classes_policies_and_functions_are_accepted():
    given = [UniformRandom, PopularByClicks(5), by_function, lambda: PopularByTime(7)]
    found = adapters.policies_from(given, "policies")
    assert [policy.name for policy in found] == ["uniform_random", "popular_by_clicks", "by_function", "<lambda>"]
    assert found[1] is given[1]
    assert found[2].build(CONTEXT).network.keywords == {"name": "Mine 2"}
    assert found[2].search_cost(CONTEXT) == SearchCost()
    assert found[3].arguments == {"num_log_users": 7}


@pytest.mark.parametrize(
    "result", [simulation_config.SimulationNetwork(((), ())), BuiltPolicy(None, {"a": 1})], ids=["network", "built"]
)
def test_a_function_can_return_a_network_or_a_built_policy(result):
    (found,) = adapters.policies_from([by_function], "policies")
    function_policy = adapters.FunctionPolicy(lambda context: result, found.name)
    built = function_policy.build(CONTEXT)
    assert built == result if isinstance(result, BuiltPolicy) else built.network is result


def test_fingerprints_are_names_of_references_and_functions_and_the_arguments_of_policies():
    listed = f"[@few/{POPULAR}, @{POPULAR}, @recsys_po_rl.uniform_random]"
    gin_config.parse([], [*SIZES, f"{EXPERIMENT} = {listed}"])
    given = {**config.bound(run.experiment)}
    of_gin = config.validated(**given).fingerprint["experiment.policies"]
    assert of_gin == "[few/popular_by_clicks, popular_by_clicks, uniform_random]"
    policies = [by_function, PopularByTime(5), LearnedFullInformation()]
    of_python = config.validated(**{**given, "policies": policies}).fingerprint["experiment.policies"]
    assert of_python == (
        "[by_function, popular_by_time(num_log_users=5), "
        "learned_full_information(recommender_ctor=FullInformationRecommender, warm_start_ctor=None)]"
    )


class Nameless:
    def __call__(self, context):
        return UniformRandomRecommender


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("abc", "policies must be a list of constructors, got 'abc'"),
        (UniformRandom, "policies must be a list of constructors, got <class"),
        ([3], "policies: each must be a constructor .*, got 3"),
        ([Nameless()], "policies: each must have a name, a __name__, got <.*; a function around it has one"),
        ([UniformRandomRecommender], "policies: UniformRandomRecommender is a recommender"),
        ([Nameless], "policies: Nameless is not a policy, such as @recsys_po_rl.uniform_random"),
        ([lambda: 3], "<lambda> must make a policy, such as @recsys_po_rl.uniform_random, got int"),
        ([UniformRandom(), UniformRandom], "policies must have different names"),
    ],
)
def test_what_is_not_a_policy_is_refused(given, message):
    with pytest.raises(validation.InvalidInputError, match=f"^{message}"):
        adapters.policies_from(given, "policies")


def test_scopes_of_references_and_bindings_of_other_callables():
    scoped = gin.get_configurable(f"few/{POPULAR}")
    assert gin_config.scope_of(scoped) == "few"
    assert gin_config.without_scope(scoped) is PopularByClicks
    assert gin_config.scope_of(PopularByClicks) == gin_config.scope_of(int) == ""
    assert gin_config.without_scope(PopularByClicks) is PopularByClicks
    assert gin_config.scope_of(gin.get_configurable("few/recsys_po_rl.experiment")) == "few"
    assert gin_config.scope_of(run.experiment) == gin_config.scope_of(CONTEXT) == ""
    assert gin_config.bindings_of(len) == {}
