"""Install and import: what a fresh process sees."""

import sys

import pytest

UPSTREAM = "recsim_ng.applications.recsys_partially_observable_rl"


@pytest.mark.slow
def test_import_prints_nothing_and_needs_no_environment_variable(fresh_python):
    ran = fresh_python("-W", "default", "-c", "import recsys_po_rl.experiment")
    assert (ran.returncode, ran.stdout) == (0, "")
    noise = [
        line
        for line in ran.stderr.splitlines()
        # -W default shows deprecations inside third-party packages; ours and start-up lines are what must be absent.
        if "recsys_po_rl" in line or "I0000" in line or "Gym" in line or "oneDNN" in line or "Edward2" in line
    ]
    assert noise == []
    ran = fresh_python("-c", "import recsys_po_rl.experiment")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


@pytest.mark.slow  # a process of its own
def test_first_tensors_print_nothing(fresh_python):
    code = "import recsys_po_rl, tensorflow as tf; tf.function(lambda: tf.random.normal([3]) @ tf.ones([3, 1]))\n"
    code += "tf.matmul(tf.ones([2, 3]), tf.ones([3, 1]))"
    ran = fresh_python("-c", code)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


@pytest.mark.slow  # a process of its own
def test_unknown_lines_on_descriptor_2_are_passed_on(fresh_python):
    code = (
        "import os, sys, importlib.abc\n"
        "class Finder(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'edward2': os.write(2, b'a line nobody knows\\n')\n"
        "sys.meta_path.insert(0, Finder())\n"
        "import recsys_po_rl\n"
    )
    ran = fresh_python("-c", code)
    assert (ran.returncode, ran.stderr) == (0, "a line nobody knows\n")


@pytest.mark.slow  # a process of its own
def test_logical_devices_can_be_set_after_import(fresh_python):
    code = (
        "import recsys_po_rl.experiment, recsys_po_rl.interest_evolution_simulation\n"
        "import tensorflow as tf\n"
        "cpu = tf.config.list_physical_devices('CPU')[0]\n"
        "tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)\n"
        "print(len(tf.config.list_logical_devices('CPU')))\n"
    )
    assert fresh_python("-c", code).stdout == "2\n"


@pytest.mark.slow  # a process of its own
def test_upstream_application_imports_afterwards(fresh_python):
    code = (
        "import recsys_po_rl\n"
        f"from {UPSTREAM} import corpus, interest_evolution_simulation, metrics, recommender, simulation_config, user\n"
        "network, weights = simulation_config.create_interest_evolution_simulation_network(\n"
        "    num_users=3, num_topics=2, num_docs=5)\n"
        "print(len(network), len(weights))\n"
    )
    ran = fresh_python("-c", code)
    assert (ran.returncode, ran.stdout) == (0, "8 6\n"), ran.stderr


@pytest.mark.slow
def test_keras_3_already_resolved_is_one_clear_error(fresh_python):
    code = "import tensorflow as tf; tf.keras.Model; import recsys_po_rl"
    ran = fresh_python("-c", code, TF_CPP_MIN_LOG_LEVEL="3")
    assert ran.returncode != 0
    last = ran.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: recsys_po_rl needs Keras 2")
    assert "TF_USE_LEGACY_KERAS=1" in last


@pytest.mark.slow  # a process of its own
def test_tensorflow_imported_before_but_keras_not_resolved_works(fresh_python):
    ran = fresh_python(
        "-c", "import tensorflow as tf, recsys_po_rl; print(tf.keras.__name__)", TF_CPP_MIN_LOG_LEVEL="3"
    )
    assert ran.stdout.startswith("tf_keras"), ran.stderr


@pytest.mark.slow  # a process of its own
def test_user_log_level_is_kept(fresh_python):
    code = "import recsys_po_rl, os; print(os.environ['TF_CPP_MIN_LOG_LEVEL'])"
    assert fresh_python("-c", code, TF_CPP_MIN_LOG_LEVEL="1").stdout == "1\n"
    assert fresh_python("-c", code).stdout == "3\n"


@pytest.mark.slow  # a process of its own
def test_edward2_numpy_is_not_left_blocked(fresh_python):
    code = "import sys, recsys_po_rl; print('edward2.numpy' in sys.modules)"
    assert fresh_python("-c", code).stdout == "False\n"


@pytest.mark.slow  # a process of its own
def test_warning_filters_are_left_as_they_were(fresh_python):
    code = "import warnings; before = list(warnings.filters); import recsys_po_rl._compat, gym\n"
    code += "print([f for f in warnings.filters if f[0] == 'once' and f not in before])"
    assert fresh_python("-c", code).stdout == "[]\n"


@pytest.mark.slow  # a process of its own
def test_public_names_are_imported_on_first_access(fresh_python):
    code = (
        "import sys, recsys_po_rl\n"
        "assert 'recsys_po_rl.training' not in sys.modules\n"
        "assert set(recsys_po_rl.__all__) <= set(dir(recsys_po_rl))\n"
        "print(recsys_po_rl.recommender.__name__)\n"
        "from recsys_po_rl import *\n"
        "assert all(name in globals() for name in recsys_po_rl.__all__)\n"
        "print(callable(load_policy), callable(experiment.experiment), hasattr(recsys_po_rl, 'no_such_name'))\n"
    )
    ran = fresh_python("-c", code)
    assert ran.stdout == "recsys_po_rl.recommender\nTrue True False\n", ran.stderr


def test_version_is_that_of_setup():
    import recsys_po_rl

    assert recsys_po_rl.__version__.count(".") == 2
    assert sys.version_info >= (3, 10)
