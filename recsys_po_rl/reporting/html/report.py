"""Page report.html: a run on one self-contained page, from its folder."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Optional

from recsys_po_rl import gin_text
from recsys_po_rl.common.formatting import as_number, estimate, fixed, is_number
from recsys_po_rl.reporting.html import markup, policies, training, users
from recsys_po_rl.reporting.html.markup import Html, element
from recsys_po_rl.run_folder import layout, schema
from recsys_po_rl.run_folder.run_files import RunFiles
from recsys_po_rl.run_folder.schema import Evaluation

DEFAULT_EXPERIMENT = "experiments/default.gin"


def page(run: RunFiles) -> str:
    """Return the whole page, as text.

    Args:
      run: result of `run_files.read`. The page names missing files and files whose form this project does not write.
    """
    evaluation, of_seed = _evaluation(run)
    portraits = [part.portrait for part in run.parts if part.portrait is not None]
    names = [part.name for part in run.parts if part.portrait is not None]
    sections: dict[str, Html] = {}
    no_evaluation = _missing(run, layout.EVALUATION, "There is no evaluation yet.")

    def add(title: str, make: Callable[[], Any], needed: bool = True, otherwise: Any = None) -> None:
        sections[title] = markup.section(title, markup.guarded(make) if needed else otherwise)

    for title, show in (
        ("In three sentences", _verdict),
        ("Policies", policies.table),
        ("The price of partial observability", policies.price),
    ):
        if evaluation is None:
            sections[title] = markup.section(title, no_evaluation)
        else:
            add(title, functools.partial(_shown, show, evaluation))
    elsewhere = element("p", "This is an evaluation of a trained policy: the training is in the run that it evaluates.")
    add("Training", lambda: training.learning(run), evaluation is None or evaluation.changed is None, elsewhere)
    no_portrait = _missing(run, layout.PORTRAIT, f"There is no {layout.PORTRAIT} yet: the evaluation writes it.")
    add("Users over the horizon", lambda: users.users(portraits), bool(portraits), no_portrait)
    add("Slates that the policy shows", lambda: users.shown(portraits, names), bool(portraits), no_portrait)
    add("Configuration of the run", lambda: _what_was_run(run))
    return markup.page(f"Report of {run.name}", _lead(run, of_seed), sections)


def _missing(run: RunFiles, name: str, not_yet: str) -> Html:
    damaged = any(part.problem_of(name) for part in (run, *run.seeds))
    return element("p", f"This cannot be shown: {name} cannot be read, see above." if damaged else not_yet)


def _evaluation(run: RunFiles) -> tuple[Optional[Evaluation], Optional[str]]:
    """Return the evaluation over all seeds, or else the first evaluation of a single seed and its folder's name."""
    if run.evaluation is not None:
        return run.evaluation, None
    return next(((part.evaluation, part.name) for part in run.parts if part.evaluation is not None), (None, None))


def _shown(show: Callable[[Evaluation], Any], evaluation: Evaluation) -> Any:
    schema.raise_if_not_shown(evaluation, layout.EVALUATION)
    return show(evaluation)


def _verdict(evaluation: Evaluation) -> Html:
    return element("div", [element("p", sentence) for sentence in policies.verdict(evaluation)], class_="verdict")


def _lead(run: RunFiles, of_seed: Optional[str]) -> list[Html]:
    parts = [element("p", markup.guarded(lambda: _summary(run)), class_="muted")]
    if run.evaluation is None and run.problem_of(layout.EVALUATION) is None:
        parts.append(element("p", markup.guarded(lambda: _progress(run)), class_="warn"))
    if of_seed is not None:
        parts.append(element("p", f"Figures of policies are those of {of_seed} alone.", class_="warn"))
    if run.problems:
        parts.append(element("div", markup.bulleted(list(run.problems)), class_="warn"))
    return parts


def _summary(run: RunFiles) -> str:
    environment = run.environment or schema.Environment()
    seeds = environment.seeds or []
    texts = [f"seed{'s' if len(seeds) != 1 else ''} {', '.join(map(str, seeds))}"] if seeds else []
    if environment.started:
        texts.append(f"started {environment.started}")
    version = (environment.versions or {}).get("recsys-po-rl")
    if version:
        texts.append(f"recsys_po_rl {version}")
    return ", ".join(texts)


def _progress(run: RunFiles) -> str:
    planned = as_number(run.bound("num_training_steps"))
    of_planned = f" of {planned:g}" if planned is not None else ""
    done = [
        (
            part.name,
            max((step for row in part.metrics if (step := as_number(row.get("step"))) is not None), default=0.0),
        )
        for part in run.parts
    ]
    if not run.seeds:
        steps_done = f"{done[0][1]:g}{of_planned} training steps are done"
        return f"This run is not finished: {steps_done}, {layout.EVALUATION} is missing."
    texts = [
        f"{name}: {'finished' if part.evaluation is not None else f'{steps:g}{of_planned} training steps'}"
        for (name, steps), part in zip(done, run.seeds)
    ]
    return f"This run is not finished ({'; '.join(texts)})."


def _what_was_run(run: RunFiles) -> list[Any]:
    environment = run.environment or schema.Environment()
    parts: list[Any] = [
        markup.section("Differences from the default experiment", markup.guarded(lambda: _differences(run)), level=3)
    ]
    evaluation = run.evaluation
    if evaluation is not None and evaluation.changed is not None:
        moved = markup.guarded(functools.partial(_moved, evaluation, evaluation.changed))
        parts.append(markup.section("Trained and evaluated", moved, level=3))
    facts = [["seeds", ", ".join(map(str, environment.seeds or [])) or "unknown"]]
    if environment.corpus_seed is not None:
        facts.append(["seed of the corpus", str(environment.corpus_seed)])
    if environment.machine is not None:
        facts.append(["machine", f"{environment.machine.processor}, {environment.machine.cpu_count} cores"])
    facts += [[package, version] for package, version in (environment.versions or {}).items()]
    parts.append(
        markup.section("Seeds and versions", markup.table(["what", "which"], facts, "Seeds and versions"), level=3)
    )
    timings = [(part.name, part.timings) for part in run.parts if part.timings]
    if timings:
        tables = [
            markup.table(
                ["part", "seconds"],
                [[markup.name(part_name), fixed(seconds, 1)] for part_name, seconds in by_part.items()],
                f"Time by part{f', {name}' if run.seeds else ''}",
                "numbers",
            )
            for name, by_part in timings
        ]
        total = sum(seconds for _, by_part in timings for seconds in by_part.values() if is_number(seconds))
        parts.append(
            markup.section(
                "Time", element("p", f"{total:.0f} seconds in all."),
                element("details", element("summary", "Time by part"), tables), level=3,
            )
        )  # fmt: skip
    return parts


def _moved(evaluation: Evaluation, changed: list[schema.Change]) -> list[Any]:
    """Return the differences between the worlds of a policy's training and evaluation."""
    parts: list[Any] = []
    for of_seed in evaluation.by_seed:
        own = of_seed.learned_where_it_was_trained
        if own is not None:
            text = f"Where it was trained (seed {of_seed.trained_seed}), over {own.horizon} slates, the policy brings"
            parts.append(element("p", f"{text} {estimate(own)}."))
    rows: list[list[Any]] = [
        [markup.name(change.name), value_of(change.trained), value_of(change.evaluated)] for change in changed
    ]
    if not rows:
        return [*parts, element("p", "Nothing else is bound than in the training.")]
    return [*parts, markup.table(["parameter", "trained", "evaluated"], rows, "Trained and evaluated", "differences")]


def _differences(run: RunFiles) -> Html:
    config = run.config if run.config is not None else run.parts[0].config
    if config is None:
        return element("p", f"Not known: there is no {layout.CONFIG}.")
    rows = differences(gin_text.shipped_bindings(DEFAULT_EXPERIMENT), config)
    if not rows:
        return element("p", "None: this is the default experiment.")
    shown = [[markup.name(name.removeprefix("recsys_po_rl.")), *map(value_of, values)] for name, values in rows]
    return markup.table(
        ["parameter", "default experiment", "here"], shown, "Differences from the default experiment", "differences"
    )


def differences(*configs: Mapping[str, str]) -> list[tuple[str, list[Optional[str]]]]:
    """Return the bindings that differ between configurations.

    Args:
      *configs: bindings by name, see `gin_text.bindings`.

    Returns:
      Sorted names, each with its value in each configuration, None if the name is not bound.
    """
    names = sorted(set().union(*configs))
    rows = [(name, [config.get(name) for config in configs]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def value_of(text: Optional[str]) -> Html:
    """Return the value of a parameter as HTML; None: the parameter is not bound."""
    return (
        element("span", "not bound", class_="muted")
        if text is None
        else markup.name(text.replace("@recsys_po_rl.", "@"))
    )
