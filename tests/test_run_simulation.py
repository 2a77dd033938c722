"""The command line: answers at once, refuses bad input in one line, runs."""

import ast
import json
import pathlib
import sys

import pytest

import run_simulation

TINY = ("--gin_files", "experiments/default.gin", "--gin_files", "overlays/tiny.gin")
NETWORK = "recsys_po_rl.create_interest_evolution_simulation_network"

# Binding (or flag), what the line must say. Each is refused before anything is written.
BAD_BINDINGS = [
    ("recsys_po_rl.experimnt.horizon = 5", r"experimnt.*did you mean recsys_po_rl.experiment\?"),
    ("recsys_po_rl.experiment.horizn = 5", r"horizn.*did you mean horizon\?"),
    ("recsys_po_rl.experiment.horizon = ", "Unable to parse value"),
    ("recsys_po_rl.experiment.horizon = 'x'", "experiment.horizon must be an integer of at least 1, got 'x'"),
    ("recsys_po_rl.experiment.horizon = 2.5", "experiment.horizon must be an integer of at least 1, got 2.5"),
    ("recsys_po_rl.experiment.horizon = 0", "experiment.horizon must be an integer of at least 1, got 0"),
    ("recsys_po_rl.experiment.seeds = []", "experiment.seeds must be a list of at least one integer"),
    ("recsys_po_rl.experiment.seeds = 3", "experiment.seeds must be a list of at least one integer"),
    ("recsys_po_rl.experiment.seeds = [-1]", "experiment.seeds: each must be an integer of at least 0, got -1"),
    ("recsys_po_rl.experiment.seeds = [1, 1]", "experiment.seeds must be different"),
    ("recsys_po_rl.experiment.users_per_step = 0", "experiment.users_per_step must be an integer of at least 1"),
    ("recsys_po_rl.experiment.num_training_steps = -1", "num_training_steps must be an integer of at least 0"),
    ("recsys_po_rl.experiment.num_evaluation_users = 1", "num_evaluation_users must be an integer of at least 2"),
    ("recsys_po_rl.experiment.evaluation_batch_size = True", "evaluation_batch_size must be an integer"),
    ("recsys_po_rl.experiment.checkpoint_every_steps = 0", "checkpoint_every_steps must be an integer of at least 1"),
    ("recsys_po_rl.experiment.corpus_seed = 'a'", "experiment.corpus_seed must be an integer"),
    ("recsys_po_rl.experiment.policies = 3", "experiment.policies must be a list of constructors"),
    ("recsys_po_rl.experiment.policies = ['x']", "experiment.policies: each must be a constructor"),
    ("recsys_po_rl.experiment.policies = [@recsys_po_rl.uniform_randm]", r"did you mean recsys_po_rl.uniform_random\?"),
    ("recsys_po_rl.experiment.learner_ctor = None", "experiment.learner_ctor must be a constructor"),
    (f"{NETWORK}.slate_size = 101", "slate_size must be at most num_docs, got 101 > 100"),
    (f"{NETWORK}.history_length = 0", "history_length must be an integer of at least 1, got 0"),
    (f"{NETWORK}.num_docs = 0", "num_docs must be an integer of at least 1, got 0"),
    (f"{NETWORK}.num_topics = 1", "num_topics.* must be an integer of at least 2, got 1"),
    (f"{NETWORK}.freeze_corpus = 1", "freeze_corpus must be True or False, got 1"),
    (f"{NETWORK}.user_ctor = 'x'", "user_ctor must be a constructor"),
    (
        "recsys_po_rl.ReferenceCorpus.video_length = -1.0",
        "video_length must be a finite number of at least 0, got -1.0",
    ),
    ("recsys_po_rl.ReferenceCorpus.video_length = float('nan')", "Unable to parse|Failed to parse|nan"),
    (
        "recsys_po_rl.ReferenceCorpus.video_length = 1e999",
        "video_length must be a finite number of at least 0, got 1e999",
    ),
    ("recsys_po_rl.InterestEvolutionUser.max_user_affinity = 0", "max_user_affinity must be a finite number above 0"),
    (
        "recsys_po_rl.InterestEvolutionUser.interest_step_size = 'a'",
        "interest_step_size must be a number or 12 numbers",
    ),
    ("recsys_po_rl.InterestEvolutionUser.no_click_mass = [1.0, 2.0, 3.0]", "must be a number or 12 numbers"),
    ("recsys_po_rl.InterestEvolutionUser.affinity_similarity = 'l1'", "similarity"),
    ("recsys_po_rl.CollabFilteringRecommender.doc_embed_dim = 0", "doc_embed_dim must be an integer of at least 1"),
    ("recsys_po_rl.AveragedHistoryModel.proposal_stddev = 0.0", "proposal_stddev must be a finite number above 0"),
    (
        "recsys_po_rl.PolicyGradientLearner.discount = 1.5",
        "discount must be a finite number of at least 0 and of at most 1",
    ),
    ("recsys_po_rl.PolicyGradientLearner.entropy_bonus = -1", "entropy_bonus must be a finite number of at least 0"),
    ("recsys_po_rl.PolicyGradientLearner.max_gradient_norm = 0", "max_gradient_norm must be a finite number above 0"),
    ("recsys_po_rl.PolicyGradientLearner.optimizer = 'adam'", "optimizer must be a constructor"),
    (
        "recsys_po_rl.SeededRuntime.mode = 'grap'",
        r"mode must be one of eager, graph, xla, got 'grap' \(did you mean graph\?\)",
    ),
    (f"{NETWORK}.recommender_ctor = @recsys_po_rl.UniformRandomRecommender", "no trainable variables"),
    ("recsys_po_rl.experiment.horizon = @recsys_po_rl.experiment", "experiment.horizon must be an integer"),
    ("recsys_po_rl.experiment.horizon = %UNKNOWN_MACRO", "UNKNOWN_MACRO|macro"),
    ("import no_such_module", "No module named 'no_such_module'"),
    ("include 'no_such.gin'", "no_such.gin"),
]


def status_and_lines(capfd, *arguments):
    """Runs the command line in this process; returns the exit status and what it wrote to both streams."""
    import gin

    from recsys_po_rl.cli import commands

    gin.clear_config()
    status = commands.run(run_simulation.parse_flags(list(arguments)))
    captured = capfd.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize(("binding", "message"), BAD_BINDINGS, ids=[binding for binding, _ in BAD_BINDINGS])
def test_a_bad_binding_is_one_line_and_status_2_before_anything_is_written(binding, message, capfd, tmp_path):
    import re

    target = tmp_path / "run"
    arguments = [*TINY, "--gin_bindings", binding, "--output_dir", str(target)]
    status, out, err = status_and_lines(capfd, *arguments)
    assert status == 2, err
    assert out == ""
    assert len(err.splitlines()) == 1, err
    assert err.startswith("error: ")
    assert re.search(message, err), err
    assert not target.exists()


def test_a_missing_file_names_the_nearest(capfd, tmp_path):
    status, out, err = status_and_lines(
        capfd, "--gin_files", "experiments/defualt.gin", "--output_dir", str(tmp_path / "r")
    )
    assert (status, out) == (2, "")
    assert "experiments/defualt.gin" in err
    assert "did you mean experiments/default.gin?" in err


def test_a_folder_that_holds_a_run_is_refused_and_left_alone(capfd, tmp_path):
    (tmp_path / "metrics.csv").write_text("step\n")
    status, _, err = status_and_lines(capfd, *TINY, "--output_dir", str(tmp_path))
    assert status == 2
    assert "already holds a run" in err
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


@pytest.mark.slow
def test_later_files_win_and_bindings_win_over_files(capfd, tmp_path):
    first, second = tmp_path / "first.gin", tmp_path / "second.gin"
    first.write_text("recsys_po_rl.experiment.horizon = 3\nrecsys_po_rl.experiment.users_per_step = 8\n")
    second.write_text("recsys_po_rl.experiment.users_per_step = 12\n")
    files = [*TINY, "--gin_files", str(first), "--gin_files", str(second)]
    binding = ("--gin_bindings", "recsys_po_rl.experiment.horizon = 2")
    status, _, err = status_and_lines(capfd, *files, *binding, "--output_dir", str(tmp_path / "run"))
    assert status == 0, err
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    header, last = rows[0].split(","), rows[-1].split(",")
    assert int(last[header.index("user_steps")]) == 3 * 2 * 12  # steps x horizon x users


# Flags, what the line must say.
BAD_FLAGS = [
    (["--no_such_flag"], "unrecognized arguments: --no_such_flag"),
    (["--gin_file", "x"], "unrecognized arguments: --gin_file"),
    (["--mode", "dance"], r"--mode: invalid choice: 'dance' \(choose from"),
    (["--mode"], "--mode: expected one argument"),
    (["--gin_files"], "--gin_files: expected one argument"),
    (["--resume"], "--resume needs --output_dir"),
    (["--resume", "--dry_run", "--output_dir", "x"], "--resume and --dry_run exclude each other"),
    (["--mode", "evaluate"], "--mode evaluate takes 1 run folder, got none"),
    (["--mode", "evaluate", "one", "two"], "--mode evaluate takes 1 run folder, got one two"),
    (["--mode", "evaluate", "one", "--dry_run"], "--mode evaluate takes no --dry_run"),
    (["--mode", "report", "one", "--gin_files", "x"], "--mode report takes no --gin_files"),
    (["runs/one"], "--mode train_and_evaluate takes no run folder, got runs/one"),
]


@pytest.mark.parametrize(("flags", "message"), BAD_FLAGS, ids=[" ".join(flags) for flags, _ in BAD_FLAGS])
def test_a_bad_flag_is_one_line_and_status_2(flags, message, capsys):
    import re

    with pytest.raises(SystemExit) as stopped:
        run_simulation.parse_flags(flags)
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert err.startswith("run_simulation.py: error: ")
    assert re.search(message, err), err


def test_folders_may_stand_anywhere_among_the_flags():
    parsed = run_simulation.parse_flags(
        ["--gin_files", "a.gin", "--mode", "train_and_evaluate", "--gin_files", "b.gin"]
    )
    assert (parsed.gin_files, parsed.gin_bindings, parsed.runs) == (["a.gin", "b.gin"], [], [])
    assert run_simulation.parse_flags([]).gin_files == ["experiments/default.gin"]
    evaluating = run_simulation.parse_flags(["--mode", "evaluate", "--output_dir", "there", "runs/one"])
    assert (evaluating.runs, evaluating.gin_files, evaluating.output_dir) == (["runs/one"], [], "there")


# As pip's wrapper of the console script runs it; tests/test_wheel.py runs the wrapper.
CONSOLE_SCRIPT = ["-c", "import sys, recsys_po_rl_cli; sys.exit(recsys_po_rl_cli.main())"]
QUICK_DOORS = {"run_simulation.py": ["run_simulation.py"], "recsys-po-rl": CONSOLE_SCRIPT}


@pytest.mark.parametrize("door", QUICK_DOORS)
@pytest.mark.parametrize(("flag", "status"), [("--help", 0), ("--no_such_flag", 2)])
def test_help_and_bad_flags_do_not_import_tensorflow(door, flag, status, fresh_python, root):
    imports = fresh_python("-X", "importtime", *QUICK_DOORS[door], flag, cwd=root)
    assert imports.returncode == status
    loaded = {line.rsplit("|", 1)[1].strip() for line in imports.stderr.splitlines() if line.count("|") == 2}
    assert "argparse" in loaded
    assert not {name for name in loaded if name.split(".")[0] in ("tensorflow", "numpy", "gin", "tf_keras")}
    if status == 0:
        assert imports.stdout.startswith(f"usage: {door} [-h]")
        assert all(name in imports.stdout for name in run_simulation.MODES)
        assert f"\n  {door} --mode evaluate RUN" in imports.stdout
    else:
        assert imports.stdout == ""
        assert f"\n{door}: error: unrecognized arguments" in f"\n{imports.stderr}"


@pytest.mark.slow
def test_the_package_as_a_program_has_the_same_help(fresh_python, root):
    program = f"{pathlib.Path(sys.executable).name} -m recsys_po_rl"
    ran = fresh_python("-m", "recsys_po_rl", "--help", COLUMNS="300")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith(f"usage: {program} [-h]")
    script = fresh_python("run_simulation.py", "--help", cwd=root, COLUMNS="300").stdout
    # Lines of the usage are indented by, and broken at, the length of the name.
    assert ran.stdout.split() == script.replace("run_simulation.py", program).split()


def test_no_module_reads_the_arguments_of_the_process_at_import(root):
    def read_at_import(node):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            return []  # its body runs later
        if isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'":
            return []
        own = [node.attr] if isinstance(node, ast.Attribute) and node.attr in ("argv", "orig_argv") else []
        return own + [name for child in ast.iter_child_nodes(node) for name in read_at_import(child)]

    for path in [root / "recsys_po_rl_cli.py", root / "run_simulation.py", *(root / "recsys_po_rl").rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        assert read_at_import(ast.parse(text)) == [], path
        assert "orig_argv" not in text, path


def test_every_mode_that_is_offered_is_built():
    from recsys_po_rl.cli import modes

    assert list(modes.MODES) == list(run_simulation.MODES)


@pytest.mark.slow
def test_importing_the_package_is_not_running_it(fresh_python):
    code = "import sys, recsys_po_rl; print('tensorflow' in sys.modules)"
    assert fresh_python("-c", code, "-m", "recsys_po_rl").stdout == "True\n"


@pytest.mark.slow
def test_the_main_job_writes_nothing_but_its_lines(fresh_python, root, tmp_path):
    ran = fresh_python(str(root / "run_simulation.py"), *TINY, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    lines = ran.stdout.splitlines()
    assert lines[0].startswith("step 1/3  reward ")
    assert "policy" in ran.stdout
    assert "95% interval" in ran.stdout
    folder = lines[-1].removeprefix("files: ")
    assert folder.startswith("runs/")
    assert sorted(path.name for path in (tmp_path / folder).iterdir()) == [
        "checkpoints", "config.gin", "environment.json", "evaluation.json", "metrics.csv", "operative_config.gin",
        "per_user.npz", "policy.keras", "portrait.json", "price_of_partial_observability.png", "report.html",
        "tensorboard", "timings.json", "validation.csv",
    ]  # fmt: skip
    policies = json.loads((tmp_path / folder / "evaluation.json").read_text())["policies"]
    assert set(policies) == {"learned", "learned_last", "learned_greedy", "uniform_random", "popular_by_clicks"}


def test_resuming_where_there_is_no_configuration_says_which_is_used(tmp_path, capsys):
    flags = run_simulation.parse_flags(["--resume", "--output_dir", str(tmp_path)])
    assert flags.gin_files == ["experiments/default.gin"]
    assert f"there is no {tmp_path}/config.gin: it is a run of experiments/default.gin" in capsys.readouterr().err
    (tmp_path / "config.gin").write_text("")
    assert run_simulation.parse_flags(["--resume", "--output_dir", str(tmp_path)]).gin_files == []
    assert capsys.readouterr().err == ""
