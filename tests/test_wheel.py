"""Without a checkout: what a wheel alone can do, from an empty folder."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

BUILT_FROM = ("setup.py", "pyproject.toml", "README.md", "recsys_po_rl", "recsys_po_rl_cli.py", "configs")


@pytest.fixture(scope="module")
def installed(root, tmp_path_factory):
    """A folder that holds the installed wheel and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # building leaves files behind
    source.mkdir()
    for name in BUILT_FROM:
        copy = shutil.copytree if (root / name).is_dir() else shutil.copy
        copy(root / name, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    built = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder / "dist"), str(source)]
    subprocess.run(built, check=True, capture_output=True, text=True, cwd=folder)
    (wheel,) = (folder / "dist").glob("*.whl")
    target = folder / "site"
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)],
        check=True, capture_output=True, text=True, cwd=folder,
    )  # fmt: skip
    shutil.rmtree(source)
    return target


@pytest.fixture
def from_wheel(installed, fresh_python, tmp_path):
    """Runs `python -m recsys_po_rl` of the wheel in an empty folder."""

    def run(*flags):
        return fresh_python("-m", "recsys_po_rl", *flags, cwd=tmp_path, PYTHONPATH=str(installed))

    return run


@pytest.mark.slow
def test_every_shipped_gin_file_is_in_the_wheel(installed, root):
    shipped = {str(path.relative_to(root / "configs")) for path in (root / "configs").rglob("*.gin")}
    configs = installed / "recsys_po_rl" / "configs"
    assert {str(path.relative_to(configs)) for path in configs.rglob("*.gin")} == shipped
    assert (installed / "recsys_po_rl" / "py.typed").is_file()


@pytest.mark.slow
def test_the_console_script_answers_without_tensorflow(installed, fresh_python, tmp_path):
    script = installed / "bin" / "recsys-po-rl"

    def run(*flags):
        return fresh_python("-X", "importtime", str(script), *flags, cwd=tmp_path, PYTHONPATH=str(installed))

    shown, refused = run("--help"), run("--no_such_flag")
    assert (shown.returncode, refused.returncode) == (0, 2)
    assert shown.stdout.startswith("usage: recsys-po-rl [-h]")
    assert "recsys-po-rl: error: unrecognized arguments: --no_such_flag" in refused.stderr
    for ran in (shown, refused):
        assert "argparse" in ran.stderr
        assert "tensorflow" not in ran.stderr
    reported = fresh_python(str(script), "--mode", "report", "nowhere", cwd=tmp_path, PYTHONPATH=str(installed))
    assert (reported.returncode, reported.stdout) == (2, "")
    assert reported.stderr.startswith("error: ")


@pytest.mark.slow
def test_a_wheel_alone_does_what_run_simulation_does(from_wheel, installed, tmp_path):
    shown = from_wheel("--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "-m recsys_po_rl [-h]" in shown.stdout
    refused = from_wheel("--gin_files", "experiments/defualt.gin")
    assert refused.returncode == 2
    assert "did you mean experiments/default.gin?" in refused.stderr
    files = ["experiments/default.gin", "overlays/tiny.gin", "runtime/eager.gin"]
    ran = from_wheel(*[flag for file in files for flag in ("--gin_files", file)], "--output_dir", "here")
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
    assert ran.stdout.splitlines()[-1] == "files: here"
    content = json.loads((tmp_path / "here" / "evaluation.json").read_text())
    assert "learned" in content["policies"]
    assert pathlib.Path(installed).parts != tmp_path.parts
