"""Run folders written by hand, with round numbers, and a reader of pages that knows what must not be there."""

import html.parser
import json
import pathlib

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "' onmouseover='alert(3)",
    "</title></style><svg onload=alert(4)>",
    "&lt;b&gt; \x00\x1b[31m \ud800",
]
TAGS = {
    "html", "head", "meta", "title", "style", "body", "header", "nav", "main", "section", "h1", "h2", "h3", "p", "ul",
    "li", "a", "div", "table", "caption", "thead", "tbody", "tr", "th", "td", "code", "wbr", "span", "strong", "i", "b",
    "figure", "figcaption", "small", "svg", "g", "line", "path", "rect", "text", "details", "summary",
}  # fmt: skip
VOID = {"meta", "wbr"}


class Page(html.parser.HTMLParser):
    """A page as a browser sees it: tags, attributes, texts; refuses what may never be on a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.attributes, self.headings, self.ids, self._open = [], [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {self._open}"
        self.text = " ".join(" ".join(self.texts).split()).replace("\u2212", "-")  # a minus sign

    def handle_starttag(self, tag, attributes):
        assert tag in TAGS, tag
        for name, value in attributes:
            assert not name.startswith("on"), (tag, name)
            assert name not in ("src", "srcset"), (tag, name)
            assert name != "href" or value.startswith("#"), value
            self.attributes.append((tag, name, value))
            if name == "id":
                self.ids.append(value)
        self.tags.append(tag)
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, tag

    def handle_data(self, data):
        if self._open and self._open[-1] == "style":
            assert "url(" not in data
            assert "@import" not in data
            return
        if self._open and self._open[-1] in ("h1", "h2", "h3"):
            self.headings.append((int(self._open[-1][1]), data))
        self.texts.append(data)

    def alternatives(self):
        return [
            value.replace("\u2212", "-") for tag, name, value in self.attributes if (tag, name) == ("svg", "aria-label")
        ]


def policy(mean, learned, quarters=True, name=None, **more):
    entry = {
        "mean": mean, "interval95": [mean - 1.0, mean + 1.0], "mean_upstream_count": mean, "num_users": 200,
        "minus_learned": {"mean": mean - learned, "interval95": [mean - learned - 0.5, mean - learned + 0.5]}, **more,
    }  # fmt: skip
    if quarters:
        values = {
            "mean_quality_consumed": [0.75, 0.5, 0.0, -0.25],
            "click_rate": [0.5, 0.6, 0.7, 0.8],
            "interest_drift": [1.0, 2.0, 3.0, 4.0],
        }
        entry["quarters"] = values
        entry["quarters_interval95"] = {of: [[x - 0.125, x + 0.125] for x in values[of]] for of in values}
    return entry


def priced(label, mean, share, sees):
    return {
        "label": label, "sees_interest": sees, "mean": mean, "interval95": [mean - 1.0, mean + 1.0],
        "share_of_gap": share, "share_interval95": [share - 0.02, share + 0.02],
    }  # fmt: skip


def evaluation(seed=0, learned=60.0, world_seed=0):
    return {
        "policies": {
            "learned": policy(learned, learned), "uniform_random": policy(20.0, learned),
            "best_fixed_slate": policy(50.0, learned), "full_information_reference": policy(70.0, learned),
        },
        "left_out": {"belief_reference": "it was not asked for"},
        "full_information": ["full_information_reference"],
        "price_of_partial_observability": {
            "unit": "users", "num_units": 200,
            "policies": {
                "uniform_random": priced("random slates", 20.0, 0.0, False),
                "learned": priced("learned from histories", learned, (learned - 20) / 50, False),
                "full_information_reference": priced("reference, sees the interest", 70.0, 1.0, True),
            },
            "gap": {"mean": 50.0, "interval95": [49.0, 51.0]},
            "differences": [],
        },
        "selection": {"best_step": 4, "num_validation_users": 12},
        "seed": seed, "corpus_seed": world_seed, "horizon": 8,
        "world": {"num_docs": 9, "user": "SomeUser", "evaluation_batch_size": 100, "horizon": 8},
    }  # fmt: skip


def measured(*means):
    bounds = [None if mean is None else [mean - 0.1, mean + 0.1] for mean in means]
    return {"mean": list(means), "interval95": bounds}


def portrait():
    of_segment = {"reward_per_step": measured(0.25, 0.75), "mean_quality_consumed": measured(0.5, None)}
    doc = {"doc_id": 7, "topic": 1, "quality": 0.5, "in_slates": 0.25, "click_rate": 0.125}
    of_policy = {
        "num_users": 200,
        "segments": {
            "all": {"num_users": 200, "mean_taste": 0.0},
            **{
                name: {"num_users": 66, "mean_taste": taste}
                for name, taste in (("toward_trash", -0.5), ("between", 0.0), ("toward_nutrition", 0.375))
            },
        },
        "users": dict.fromkeys(("all", "toward_trash", "between", "toward_nutrition"), of_segment),
        "topics_shown": [[0.75, 0.25], [0.0, 1.0]],
        "topics_clicked": [[1.0, 0.0], None],
        "documents_early": [doc],
        "documents_late": [{**doc, "doc_id": 8}],
    }
    topics = [{"topic": of, "num_documents": 4, "mean_quality": quality} for of, quality in enumerate((-0.5, 0.5))]
    names = ("learned", "uniform_random", "full_information_reference")
    return {"horizon": 8, "parts": [[1, 4], [5, 8]], "topics": topics, "policies": dict.fromkeys(names, of_policy)}


def write_run(folder, seed=0, num_steps=4, finished=True, alarms=(), config="", **options):
    """A run folder of one seed; options as of `evaluation`."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.gin").write_text(f"recsys_po_rl.experiment.num_training_steps = 4\n{config}")
    environment = {"seeds": [seed], "versions": {"recsys-po-rl": "9.8.7"}, "started": "then", "corpus_seed": seed}
    (folder / "environment.json").write_text(json.dumps(environment))
    rows = [f"{seed},{step},{10.0 * step + seed},{0.5 / step},nan,0.25" for step in range(1, num_steps + 1)]
    header = "seed,step,mean_reward,gradient_norm,entropy,step_seconds"
    (folder / "metrics.csv").write_text("".join(f"{line}\n" for line in [header, *rows]))
    (folder / "validation.csv").write_text(f"seed,step,mean_reward\n{seed},2,21.0\n{seed},4,41.0\n")
    if alarms:
        lines = ["seed,step,alarm,value,threshold,message", *alarms]
        (folder / "alarms.csv").write_text("".join(f"{line}\n" for line in lines))
    if finished:
        (folder / "evaluation.json").write_text(json.dumps(evaluation(seed, **options)))
        (folder / "portrait.json").write_text(json.dumps(portrait()))
        (folder / "timings.json").write_text(json.dumps({"training": 12.5, "learned": 0.25}))
    return folder
