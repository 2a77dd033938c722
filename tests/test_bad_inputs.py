"""Bad inputs of every kind: none of them silent, none a traceback, nothing written."""

import ast
import contextlib
import functools
import io
import numbers
import pathlib
import re
import shutil

import gin
import pytest

import recsys_po_rl
import run_simulation
from recsys_po_rl import gin_config
from recsys_po_rl.cli import commands
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import single_seed
from tests.support import bad_calls, bad_inputs

LEAST_CASES = 200
PACKAGE = pathlib.Path(recsys_po_rl.__file__).parent


@pytest.fixture
def no_training(monkeypatch):
    """Fail where an accepted input would train."""

    def accepted(*args, **kwargs):
        raise AssertionError("it was accepted")

    monkeypatch.setattr(single_seed.loop, "train", accepted)


def outcome(arguments):
    """The exit status and both streams of the command line, run in this process."""
    with gin.unlock_config():
        gin.clear_config()
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = commands.run(run_simulation.parse_flags(list(arguments)))
        except SystemExit as stop:  # the flags themselves
            status = stop.code
    return status, out.getvalue(), err.getvalue()


def refusal(arguments):
    """Return the one line with which the command line refuses the arguments; fails if it does not refuse them."""
    status, out, err = outcome(arguments)
    assert status == 2, err
    assert out == ""
    assert len(err.splitlines()) == 1, err
    assert "error: " in err
    return err.strip()


# The page benchmarks/results/BAD_INPUTS.md

PAGE = pathlib.Path(__file__).resolve().parent.parent / "benchmarks" / "results" / "BAD_INPUTS.md"
# Lines whose words are those of Python, gin, Keras or TensorFlow, which differ between versions.
OF_OTHERS = re.compile(
    r"gin:|Keras|argument|\[Op:|Errno|No module named|can be read:|does not fit this network|cannot be made:|this is"
    r"|tf.Tensor|codec|layer index"
)


def row(shown, line, folder=None):
    """A row of the page's tables."""
    line = re.sub(r"0x[0-9a-f]{6,}", "0x...", line)
    line = line if folder is None else line.replace(str(folder), "...")
    cells = [cell.replace("|", "\\|").replace("`", "'") for cell in (shown, line)]
    shown, line = (cell if len(cell) <= 300 else f"{cell[:300]}..." for cell in cells)
    return f"| `{shown}` | {line} |"


@functools.cache
def rows_of_page():
    return [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]


def check_page(shown, line, folder=None):
    """Check that the page has the input and its message; neither names a folder of this machine."""
    assert gin_config.configs_dir() not in line
    expected = row(shown, line, folder)
    if OF_OTHERS.search(line):
        start = expected[: expected.index("` | ") + 4]
        assert any(one.startswith(start) for one in rows_of_page()), f"python benchmarks/make_bad_inputs.py: {expected}"
    else:
        assert expected in rows_of_page(), f"python benchmarks/make_bad_inputs.py: {expected}"


def matching_line(says, message):
    """The line of a message of several, as Keras makes them, that says what it has to."""
    return next((line.strip() for line in message.splitlines() if re.search(says, line)), message.splitlines()[0])


def ids_of(cases):
    return [case.shown[:150] for case in cases]


@pytest.mark.parametrize("bad", bad_inputs.FLAGS, ids=ids_of(bad_inputs.FLAGS))
def test_bad_flags(bad):
    line = refusal(bad.arguments)
    assert re.search(bad.says, line), line
    check_page(bad.shown, line)


BINDINGS = [*bad_inputs.BINDINGS, *bad_inputs.numbers()]


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("bad", BINDINGS, ids=ids_of(BINDINGS))
def test_bad_bindings(bad, tmp_path):
    line = refusal([*bad.arguments, "--output_dir", str(tmp_path / "run")])
    assert re.search(bad.says, line), line
    assert not list(tmp_path.iterdir())
    check_page(bad.shown, line, tmp_path)


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("shown", "content", "says"), bad_inputs.GIN_FILES, ids=[case[0] for case in bad_inputs.GIN_FILES]
)
def test_bad_gin_files(shown, content, says, tmp_path):
    file = tmp_path / "bad.gin"
    file.write_bytes(content.replace(b"FILE", str(file).encode()))
    flags = [*bad_inputs.TINY, "--gin_files", str(file), "--output_dir", str(tmp_path / "run")]
    line = refusal(flags)
    assert re.search(says, line), line
    assert list(tmp_path.iterdir()) == [file]
    check_page(shown, line, tmp_path)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    status, _, err = outcome([*bad_inputs.RUN, "--output_dir", str(folder)])
    assert status == 0, err
    return folder


@pytest.fixture
def place(finished_run, tmp_path):
    """Copies of the run, and a name for what is not there."""
    places = {"run": tmp_path / "run", "other": tmp_path / "other", "new": tmp_path / "new"}
    shutil.copytree(finished_run, places["run"])
    shutil.copytree(finished_run, places["other"])
    return places


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("bad", bad_inputs.RUNS, ids=ids_of(bad_inputs.RUNS))
def test_bad_run_folders(bad, place, tmp_path):
    bad.change(place["run"])
    before = contents(tmp_path)
    line = refusal([argument.format(**place) if "{" in argument else argument for argument in bad.arguments])
    assert re.search(bad.says, line), line
    assert contents(tmp_path) == before
    check_page(bad.shown, line, tmp_path)


@pytest.mark.parametrize("bad", bad_inputs.POLICIES, ids=ids_of(bad_inputs.POLICIES))
def test_bad_policies(bad, place, tmp_path):
    bad.change(place["run"])
    with pytest.raises(validation.InvalidInputError, match=bad.says) as error:
        recsys_po_rl.load_policy(bad.arguments[0].format(**place))
    assert len(str(error.value).splitlines()) == 1
    check_page(bad.shown, str(error.value), tmp_path)


@pytest.fixture(scope="module")
def names():
    return bad_calls.names()


CALLS = [case for group in bad_calls.GROUPS.values() for case in group]


@pytest.mark.parametrize(("call", "says"), CALLS, ids=[call for call, _ in CALLS])
def test_bad_calls(names, call, says):
    with pytest.raises(Exception, match=says) as error:
        eval(call, names)
    assert not isinstance(error.value, (AssertionError, AttributeError, IndexError, NameError))
    check_page(call, matching_line(says, str(error.value)))


# The table itself


def test_there_are_enough():
    tables = [bad_inputs.FLAGS, BINDINGS, bad_inputs.GIN_FILES, bad_inputs.RUNS, bad_inputs.POLICIES, CALLS]
    assert sum(map(len, tables)) >= LEAST_CASES
    everything = [str(case) for table in tables for case in table]
    assert len(set(everything)) == len(everything)
    assert len(rows_of_page()) == len(everything)  # and the page has no others


# Parameters of configurables that no binding reaches: what makes them sets them, or `bad_calls` tries them.
NOT_BOUND = {
    "BeliefRecommender",  # belief_reference
    "FixedSlateRecommender",  # best_fixed_slate and others
    "LinUCBRecommender",  # lin_ucb
    "SampledDocumentsRecommender",  # sampled_by_popularity
    "external_policy",  # needs a callable; tests/policies/test_external.py tries its arguments
    "TopicRecommender",  # best_fixed_topic
    "StaticCorpus",  # needs documents
    "PlanningRecommender",
    "ColumnMap",  # of logs; tests/logs/test_columns.py tries its arguments
    "OfflineEvaluation",  # of logs; tests/evaluation/test_offline_evaluation.py tries its arguments
}


def test_every_number_of_every_configurable_is_tried():
    lacking = []
    for name, module in gin_config._MODULE_OF.items():
        wrapped = gin.get_configurable(f"{module}.{name}")
        if module != gin_config.MODULE or name in NOT_BOUND or not wrapped.__module__.startswith(gin_config.MODULE):
            continue
        for parameter in gin_config.parameters_of(f"{module}.{name}"):
            default = gin_config.default_of(f"{module}.{name}", parameter)
            if isinstance(default, numbers.Real) and parameter not in bad_inputs.NUMBERS.get(name, {}):
                lacking.append(f"{name}.{parameter}")
    lacking.remove(f"{bad_inputs.NETWORK}.num_users")  # set by the experiment
    assert lacking == []


# No file is unpickled

UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "joblib", "shelve", "marshal", "jsonpickle", "torch"}
# A task comes from the parent process, through standard input or Ray; its outcome from the process that it started.
OF_TASKS = {
    "experiment/local_processes.py": ["pickle", "pickle.loads", "pickle.loads"],
    "experiment/tasks.py": ["cloudpickle.loads"],
}


def unpickling(path):
    """Return the calls and imports of a module that could read a pickle."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in UNPICKLERS]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNPICKLERS | {"cloudpickle"}:
            found.append(node.module)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if name.split(".")[-1] in ("load", "loads") and name.split(".")[0] in UNPICKLERS | {"cloudpickle"}:
                found.append(name)
            if options.get("allow_pickle", "False") != "False" or options.get("safe_mode", "True") != "True":
                found.append(ast.unparse(node))
            if name.endswith(("read_pickle", "enable_unsafe_deserialization", "unsafe_load", "full_load")):
                found.append(name)
            if name.endswith("load_model") and options.get("safe_mode") != "True":
                found.append(f"{name} without safe_mode=True")
    return found


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(PACKAGE)) for path in MODULES])
def test_no_module_unpickles_a_file(path):
    found = unpickling(path)
    assert sorted(found) == OF_TASKS.get(str(path.relative_to(PACKAGE)), [])


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from dill import load", "import cloudpickle\ncloudpickle.load(file)",
        "np.load(path, allow_pickle=True)", "tf.keras.models.load_model(path, safe_mode=False)",
        "tf.keras.models.load_model(path)", "pd.read_pickle(path)", "import torch",
    ],
)  # fmt: skip
def test_what_unpickles_is_found(code, tmp_path):
    (tmp_path / "module.py").write_text(code)
    assert unpickling(tmp_path / "module.py")
