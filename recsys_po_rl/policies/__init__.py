"""Policies that the learned one is compared with."""

from recsys_po_rl.policies.base import BuiltPolicy, LeftOutError, Policy, PolicyContext, SearchCost, Trainer
from recsys_po_rl.policies.belief_reference import BeliefReference
from recsys_po_rl.policies.best_fixed_slate import BestFixedSlate
from recsys_po_rl.policies.best_fixed_topic import BestFixedTopic
from recsys_po_rl.policies.external import ExternalPolicy
from recsys_po_rl.policies.full_information import (
    FullInformationReference,
    MyopicFullInformation,
    TunedFullInformation,
)
from recsys_po_rl.policies.learned_variants import (
    LearnedClicks,
    LearnedFullInformation,
    LearnedInterest,
    LearnedSlates,
    LearnedSlatesAndStep,
    LearnedStep,
)
from recsys_po_rl.policies.lin_ucb import LinUCB
from recsys_po_rl.policies.popularity import PopularByClicks, PopularByTime, SampledByPopularity
from recsys_po_rl.policies.rollout_reference import RolloutReference
from recsys_po_rl.policies.uniform_random import UniformRandom
from recsys_po_rl.policies.warm_start import Distillation

__all__ = [
    "BeliefReference",
    "BestFixedSlate",
    "BestFixedTopic",
    "BuiltPolicy",
    "Distillation",
    "ExternalPolicy",
    "FullInformationReference",
    "LearnedClicks",
    "LearnedFullInformation",
    "LearnedInterest",
    "LearnedSlates",
    "LearnedSlatesAndStep",
    "LearnedStep",
    "LeftOutError",
    "LinUCB",
    "MyopicFullInformation",
    "Policy",
    "PolicyContext",
    "PopularByClicks",
    "PopularByTime",
    "RolloutReference",
    "SampledByPopularity",
    "SearchCost",
    "Trainer",
    "TunedFullInformation",
    "UniformRandom",
]
