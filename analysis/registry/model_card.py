"""What the pages of a registered model and of its search say, as markdown and tags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_SHOWN = ("balanced_accuracy", "macro_f1", "accuracy", "auroc", "dice", "iou")
_TAG_LENGTH = 5000  # MLflow's limit
VIEW = "results"  # the experiment's view that has the columns to sort by
HEADING = "## champion of "


@dataclass(frozen=True)
class CardMember:
    """A trial of the top k.

    Attributes:
        trial: Its number.
        run_id: Its run in MLflow.
        backbone: Its model.
        best: The objective on ``tune`` at its best epoch.
        weight: Its share in the ensemble as text, "" where it has none.
    """

    trial: int
    run_id: str
    backbone: str
    best: float
    weight: str


@dataclass(frozen=True)
class ModelCard:
    """The facts of a registered ensemble.

    Attributes:
        name: Of the registered model.
        search: The search's name.
        alias: ``champion`` or ``challenger``.
        reason: Why.
        experiment_id: Of MLflow, for links.
        rule: How the members are combined.
        metric: The objective, a bare name.
        select: Its value on ``select``.
        test: Metrics on ``test`` by bare name.
        openings: How often ``test`` was opened, in words.
        test_split: What ``test`` is, in words.
        leak: What makes its scores worthless, in words, or nothing.
        data: Where the images came from.
        fingerprint: Of the data.
        class_names: Of images, in class order; none where pixels have classes.
        splits: Images by split and class: (C,) counts a split; without classes one count.
        notes: What a reader of the scores must know.
        members: The top k, best first.
        chosen_on: The first part of its figures' names where it was chosen, and those images in words.
        tuned: What is to be said where tuning saw these images as well.
    """

    name: str
    search: str
    alias: str
    reason: str
    experiment_id: str
    rule: str
    metric: str
    select: float
    test: Mapping[str, float]
    openings: str
    test_split: str
    leak: str
    data: str
    fingerprint: str
    class_names: Sequence[str]
    splits: Mapping[str, Sequence[int]]
    notes: Sequence[str]
    members: Sequence[CardMember]
    chosen_on: tuple[str, str] = ("select", "select")
    tuned: str = ""

    def tags(self) -> dict[str, str]:
        """Tags of the model version, short enough for MLflow."""
        voting = [member for member in self.members if member.weight]
        sizes = {split: sum(counts) for split, counts in self.splits.items()}
        tags = {
            "data": self.data,
            "data_fingerprint": self.fingerprint,
            "members": ", ".join(f"trial {member.trial} ({member.backbone}, {member.weight})" for member in voting),
            "notes": "; ".join(self.notes) or "none",
            "rule": self.rule,
            "search": self.search,
            f"{self.chosen_on[0]}_{self.metric}": f"{self.select:.4f}",
            "split": ", ".join(f"{size} {split}" for split, size in sizes.items()),
            "test_openings": self.openings,
            "test_split": f"{self.test_split}{f'; {self.leak}' if self.leak else ''}",
        }
        tags |= {f"test_{name}": f"{self.test[name]:.4f}" for name in _SHOWN if name in self.test}
        return {name: value[:_TAG_LENGTH] for name, value in tags.items()}

    def summary(self, version: str) -> str:
        """What the search's own page says, in short."""
        runs = f"#/experiments/{self.experiment_id}/runs?viewStateShareKey={VIEW}"
        registered = f"`models:/{self.name}/{version}` ({_plain(self.rule)})"
        first = f"Registered as {registered}. [All trials, with the columns to sort by]({runs})."
        return "\n\n".join([first, self._warning(), self._scores(), self._members()])

    def description(self, version: str) -> str:
        """What the registered model's page says."""
        uri = f"models:/{self.name}/{version}"
        parts = [
            f"## {self.alias} of {_plain(self.name)}: version {version}",
            f"{_plain(self.rule)}, chosen on {self._where()} by {self.metric}; search `{_code(self.search)}`. "
            f"It is the {self.alias}: {_plain(self.reason)}.",
            self._warning(),
            "### Scores\n\n" + self._scores(),
            "### Members\n\n" + self._members(),
            "### Data and split\n\n" + self._data(),
            "### Use\n\n"
            f"```\ntune-predict {uri} IMAGES --out predictions.csv\n"
            f"mlflow models serve -m {uri} --env-manager local\n```\n\n"
            f'In Python: `mlflow.pyfunc.load_model("{uri}").predict(...)`. A member alone is '
            "`runs:/RUN_ID/model`, with its run's id from the table above, for all three.",
        ]
        return "\n\n".join(parts)

    def _where(self) -> str:
        name, told = self.chosen_on
        return f"`{name}`" if name == told else told

    def _warning(self) -> str:
        return "\n".join(f"> **Note:** {_plain(note)}." for note in self.notes) or "No notes on the data."

    def _scores(self) -> str:
        rows = [(f"test {name}", f"{value:.4f}") for name, value in self.test.items() if name in _SHOWN]
        rows = [(f"{self.chosen_on[0]} {self.metric}", f"{self.select:.4f}"), *rows]
        tuned = f"\n\n`{self.chosen_on[0]}` is of {self.chosen_on[1]}; {self.tuned}." if self.tuned else ""
        leak = f" {_plain(self.leak)}." if self.leak else ""
        told = f"Test is {_plain(self.test_split)}, {self.openings}.{leak}"
        return f"{_table(('score', 'value'), rows)}{tuned}\n\n{told}"

    def _members(self) -> str:
        best = f"{self.metric} out of fold" if self.tuned else f"best {self.metric} on tune"
        headings = ("trial", "backbone", "weight", best, "run id")
        return _table(headings, [self._cells(member) for member in self.members])

    def _cells(self, member: CardMember) -> tuple[str, ...]:
        link = f"[{member.run_id}](#/experiments/{self.experiment_id}/runs/{member.run_id})"
        return f"trial {member.trial}", _plain(member.backbone), member.weight or "none", f"{member.best:.4f}", link

    def _data(self) -> str:
        of_class = len(self.class_names)
        rows = [(split, str(sum(counts)), *map(str, counts[:of_class])) for split, counts in self.splits.items()]
        table = _table(("split", "images", *map(_plain, self.class_names)), rows)
        return f"`{_code(self.data)}`, fingerprint `{self.fingerprint}`\n\n{table}"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _plain(text: str) -> str:
    """Text from outside, without what markdown or HTML would make of it."""
    text = " ".join(text.split())
    for character in "\\`*_[]|#":
        text = text.replace(character, f"\\{character}")
    return text.replace("<", "&lt;").replace(">", "&gt;")


def _code(text: str) -> str:
    return " ".join(text.replace("`", "'").split())
