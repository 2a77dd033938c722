"""Estimates of the Open Bandit Pipeline on small made logs, for tests/evaluation/test_offline_obp.py.

Runs in an environment of its own, because obp 0.5.7 asks for Python below 3.11 and old versions of its dependencies:

    python -m venv ENV && ENV/bin/pip install "numpy<2" scipy scikit-learn pandas
    ENV/bin/pip install --no-deps --ignore-requires-python obp==0.5.7
    ENV/bin/python benchmarks/open_bandit_pipeline.py

The modules of estimators are loaded without the package's `__init__`, which imports PyTorch for policies that are not
used here. Y. Saito, S. Aihara, M. Matsutani, Y. Narita, "Open Bandit Dataset and Pipeline: Towards Realistic and
Reproducible Off-Policy Evaluation" (NeurIPS 2021, datasets and benchmarks).
"""

import importlib
import importlib.metadata
import json
import pathlib
import sys
import sysconfig
import types
from typing import Any

import numpy as np

OUTPUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "evaluation" / "data" / "open_bandit_pipeline.json"
CASES = ({"users": 5, "docs": 3, "slots": 2}, {"users": 40, "docs": 6, "slots": 3}, {"users": 7, "docs": 4, "slots": 1})
DIGITS = 6  # of the inputs, so that the file is short


def _modules() -> tuple[Any, Any]:
    """Import the modules of estimators for single actions and for slates."""
    base = pathlib.Path(sysconfig.get_paths()["purelib"]) / "obp"
    for name, path in (("obp", base), ("obp.ope", base / "ope"), ("obp.policy", base / "policy")):
        package = types.ModuleType(name)
        package.__path__ = [str(path)]
        sys.modules[name] = package
    torch: Any = types.ModuleType("torch")  # named in annotations only
    torch.tensor = torch.Tensor = object
    sys.modules["torch"] = torch
    return importlib.import_module("obp.ope.estimators"), importlib.import_module("obp.ope.estimators_slate")


def _slates(rng: np.random.Generator, users: int, docs: int, slots: int) -> dict[str, Any]:
    """Draw a log of slates with prefix and item propensities; any positive numbers serve the comparison."""
    propensities = {}
    for policy in ("behaviour", "target"):
        by_slot = rng.uniform(0.05, 0.9, (users, slots))
        propensities[f"{policy}_prefix"] = np.cumprod(by_slot, axis=1).round(DIGITS).tolist()
        propensities[f"{policy}_item"] = rng.uniform(0.25 / docs, 0.9, (users, slots)).round(DIGITS).tolist()
    rewards = rng.gamma(2.0, 1.0, (users, slots)) * (rng.uniform(size=(users, slots)) < 0.7)
    return {"rewards": rewards.round(DIGITS).tolist(), **propensities}


def _slate_estimates(module: Any, case: dict[str, Any]) -> dict[str, float]:
    flat = {name: np.asarray(values).ravel() for name, values in case.items()}
    users, slots = np.shape(case["rewards"])
    joint = {
        policy: np.repeat(np.asarray(case[f"{policy}_prefix"])[:, -1], slots) for policy in ("behaviour", "target")
    }
    common = {
        "slate_id": np.repeat(np.arange(users), slots),
        "position": np.tile(np.arange(slots), users),
        "reward": flat["rewards"],
    }
    arguments = {
        "standard_ips": {"pscore": joint["behaviour"], "evaluation_policy_pscore": joint["target"]},
        "independent_ips": {
            "pscore_item_position": flat["behaviour_item"],
            "evaluation_policy_pscore_item_position": flat["target_item"],
        },
        "reward_interaction_ips": {
            "pscore_cascade": flat["behaviour_prefix"],
            "evaluation_policy_pscore_cascade": flat["target_prefix"],
        },
    }
    classes = {
        "standard_ips": "SlateStandardIPS",
        "independent_ips": "SlateIndependentIPS",
        "reward_interaction_ips": "SlateRewardInteractionIPS",
    }
    estimates = {}
    for name, propensities in arguments.items():
        for prefix, kind in (("", ""), ("weighted_", "SelfNormalized")):
            estimator = getattr(module, f"{kind}{classes[name]}")(len_list=slots)
            estimates[f"{prefix}{name}"] = float(estimator.estimate_policy_value(**common, **propensities))
    return estimates


def _actions(rng: np.random.Generator, users: int, docs: int) -> dict[str, Any]:
    """Draw a log of single actions with a model of the rewards."""
    behaviour, target = rng.dirichlet(np.ones(docs), (2, users))
    actions = np.array([rng.choice(docs, p=row) for row in behaviour])
    return {
        "actions": actions.tolist(),
        "rewards": rng.gamma(2.0, 1.0, users).round(DIGITS).tolist(),
        "behaviour": behaviour.tolist(),
        "target": target.tolist(),
        "model": rng.gamma(2.0, 1.0, (users, docs)).round(DIGITS).tolist(),
    }


def _action_estimates(module: Any, case: dict[str, Any]) -> dict[str, float]:
    actions = np.asarray(case["actions"])
    arguments = {
        "action": actions,
        "reward": np.asarray(case["rewards"]),
        "pscore": np.asarray(case["behaviour"])[np.arange(len(actions)), actions],
        "action_dist": np.asarray(case["target"])[:, :, np.newaxis],
        "estimated_rewards_by_reg_model": np.asarray(case["model"])[:, :, np.newaxis],
    }
    estimators = {
        "importance_sampling": module.InverseProbabilityWeighting(),
        "weighted_importance_sampling": module.SelfNormalizedInverseProbabilityWeighting(),
        "doubly_robust": module.DoublyRobust(),
        "weighted_doubly_robust": module.SelfNormalizedDoublyRobust(),
        "direct_method": module.DirectMethod(),
    }
    return {name: float(each.estimate_policy_value(**arguments)) for name, each in estimators.items()}


def main() -> None:
    """Write inputs and estimates."""
    actions_module, slates_module = _modules()
    rng = np.random.default_rng(0)
    slates = [_slates(rng, **sizes) for sizes in CASES]
    actions = [_actions(rng, sizes["users"], sizes["docs"]) for sizes in CASES]
    content = {
        "origin": "benchmarks/open_bandit_pipeline.py, which says how to run it again",
        "obp": importlib.metadata.version("obp"),
        "slates": [{**case, "estimates": _slate_estimates(slates_module, case)} for case in slates],
        "actions": [{**case, "estimates": _action_estimates(actions_module, case)} for case in actions],
    }
    OUTPUT.write_text(json.dumps(content) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
