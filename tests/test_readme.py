"""Statements of the README, compared with the package."""

import re

import pytest


@pytest.fixture(scope="module")
def readme(root):
    return (root / "README.md").read_text(encoding="utf-8")


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize(("page", "number"), [("README.md", 3), ("docs/model.md", 3)])
def test_every_python_block_runs(root, fresh_python, tmp_path, page, number):
    code = blocks((root / page).read_text(encoding="utf-8"), "python")
    assert len(code) == number
    for block in code:
        ran = fresh_python("-c", block, cwd=tmp_path)
        assert ran.returncode == 0, ran.stderr
        assert ran.stderr == ""
        assert ran.stdout.count("\n") == block.count("print(")


def test_ci_runs_the_test_command_of_the_readme(readme, root):
    commands = [line for block in blocks(readme, "sh") for line in block.splitlines() if "venv" in line]
    assert [command.split(" && ")[2:] for command in commands] == [
        [".venv/bin/python run_simulation.py"],
        ['.venv/bin/python -m pytest -n 2 -m "not slow"', ".venv/bin/python -m pytest -n 2 -m slow"],
    ]
    pattern = re.search(r"grep -E '(.*?)' README.md", (root / ".ci" / "run").read_text())[1]
    assert re.findall(f"{pattern}.*", readme, re.MULTILINE) == [commands[1]]


def test_gin_files_and_flags_in_commands_exist(readme, root):
    import run_simulation

    seen = 0
    for block in blocks(readme, "sh"):
        for command in re.sub(r"\\\n", " ", block).splitlines():
            if "--" in command and "run_simulation.py" in command:
                import shlex

                flags = run_simulation.parse_flags(shlex.split(command.split("run_simulation.py", 1)[1]))
                for path in flags.gin_files:
                    assert (root / path).is_file() or (root / "configs" / path).is_file(), path
                    seen += 1
    assert seen == 5


@pytest.mark.parametrize("page", ["README.md", "docs/model.md", "docs/LEARNING.md"])
def test_links_lead_somewhere(root, page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (root / page).read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not ((root / page).parent / link).exists()] == []


def test_the_table_of_letters_agrees_with_the_default_experiment(readme):
    import gin

    from recsys_po_rl import gin_config
    from recsys_po_rl.experiment import experiment  # noqa: F401  (registers what the files bind)

    gin_config.parse(["experiments/default.gin"], [])
    letters = dict(re.findall(r"^\| ([A-Z]) \|.*\| ([^|]+) \|$", readme, re.MULTILINE))
    network = "recsys_po_rl.create_interest_evolution_simulation_network"
    bound = {
        "T": gin.query_parameter("recsys_po_rl.experiment.horizon"),
        "S": gin.query_parameter(f"{network}.slate_size"),
        "D": gin.query_parameter(f"{network}.num_docs"),
        "K": gin.query_parameter(f"{network}.num_topics"),
        "H": gin.query_parameter(f"{network}.history_length"),
        "E": gin.query_parameter("recsys_po_rl.CollabFilteringRecommender.doc_embed_dim"),
    }
    users = (
        gin.query_parameter("recsys_po_rl.experiment.users_per_step"),
        gin.query_parameter("recsys_po_rl.experiment.evaluation_batch_size"),
    )
    assert {letter: int(letters[letter]) for letter in bound} == bound
    assert letters["U"] == f"{users[0]} in training, {users[1]} in evaluation"


def test_tables_of_results_are_those_of_the_committed_run(readme, root):
    import json

    from recsys_po_rl.reporting import tables
    from recsys_po_rl.run_folder.schema import Evaluation

    evaluation = json.loads((root / "benchmarks" / "results" / "learning" / "default" / "evaluation.json").read_text())
    of_seed = Evaluation.from_json(evaluation, "")
    table, price = (next(text for text in blocks(readme, "text") if sign in text) for sign in ("minus learned", "gap"))
    assert table.strip() == tables.policy_table(of_seed)
    assert price.strip() == tables.price_lines(of_seed)
