"""Tests of Stable-Baselines3 run where it is installed; `.ci/run` installs it and names them."""

import importlib.util

collect_ignore = [] if importlib.util.find_spec("stable_baselines3") else ["test_stable_baselines3.py"]
