"""Modes that read a run's config.gin import nothing that it names."""

import json
import sys

import pytest

from recsys_po_rl import gin_config
from recsys_po_rl.cli import commands, parser
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import transfer as evaluate_lib


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run folder beside a module that leaves a mark when it is imported; returns a function that sets config.gin."""
    folder, mark = tmp_path / "run", tmp_path / "mark"
    folder.mkdir()
    (tmp_path / "marking_users.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "marking_users", raising=False)

    def write(text, **environment):
        (folder / "config.gin").write_text(text)
        (folder / "environment.json").write_text(json.dumps({"seeds": [0], **environment}))
        return folder, mark

    return write


def message_of(folder, *bindings):
    with pytest.raises(validation.InvalidInputError) as error:
        evaluate_lib.evaluate(str(folder), gin_bindings=bindings, quiet=True)
    return gin_config.first_line(error.value)


@pytest.mark.parametrize("line", ["import marking_users", "import marking_users as a", "from marking_users import b"])
def test_a_module_is_not_imported_but_named(run, line):
    folder, mark = run(line + "\n")
    message = message_of(folder)
    assert "needs the module 'marking_users" in message
    assert "--gin_bindings 'import marking_users" in message
    assert not mark.exists()


@pytest.mark.parametrize("mode", ["train_and_evaluate", "sweep"])
def test_a_resumed_run_imports_nothing_either(run, mode, capsys):
    folder, mark = run("import marking_users\n")
    flags = parser.parse_flags(["--mode", mode, "--resume", "--output_dir", str(folder)])
    assert commands.run(flags) == commands.BAD_INPUT
    assert "needs the module 'marking_users', and a run folder has nothing imported" in capsys.readouterr().err
    assert not mark.exists()


def test_a_module_is_imported_when_the_user_imports_it_too(run):
    folder, mark = run("import marking_users\n")
    assert message_of(folder, "import marking_users").endswith("there is no policy to evaluate")
    assert mark.exists()


def test_a_file_is_not_included(run, tmp_path):
    (tmp_path / "more.gin").write_text("import marking_users\n")
    folder, mark = run(f"include '{tmp_path / 'more.gin'}'\n")
    assert "config.gin: " in message_of(folder)
    assert not mark.exists()


def test_dynamic_registration_is_refused(run, tmp_path):
    folder, _ = run("from __gin__ import dynamic_registration\nimport os\nos.system.command = 'true'\n")
    assert "dynamic_registration, with which a file can name any function" in message_of(folder)


def test_an_unknown_class_says_what_to_write(run):
    folder, _ = run("recsys_po_rl.create_interest_evolution_simulation_network.user_ctor = @recsys_po_rl.Elsewhere\n")
    assert "--gin_bindings 'import MODULE'; if a script defines it, call evaluate in that script" in message_of(folder)


@pytest.mark.parametrize("scope", [7, "few", "'a b'", "'/'"])
def test_a_damaged_scope_is_one_line(run, scope):
    folder, _ = run("", arguments={"experiment.gin_scope": scope})
    message = message_of(folder)
    assert "experiment.gin_scope" in message
    assert "must be names" in message or "must be a text" in message
