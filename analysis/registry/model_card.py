"""The model card: markdown and tags for MLflow's pages of a registered ensemble and its search."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from analysis.ensembles.evaluation import Evaluation
from analysis.ensembles.result import ChosenEnsemble, Openings, Registration
from analysis.registry.markdown import code, plain, table
from analysis.trials import TrialRecord, network_of
from trainables.core.data.dataset import Dataset
from trainables.core.metric_names import METRICS

_ON_CARD = frozenset(metric.name for metric in METRICS if metric.on_model_card)
_TAG_LENGTH = 5000  # MLflow's limit
VIEW = "results"  # the experiment's view with the columns to sort by
HEADING = "## champion of "
NOT_SCORED = "This ensemble was not scored on the test set."
SCORED, YES, NO = "scored_on_test", "yes", "no"  # the tag of a version that says so for programs


@dataclass(frozen=True)
class ModelCard:
    """Description of a registered ensemble.

    Attributes:
        name: Name of the registered model.
        search: Name of the search.
        experiment_id: MLflow experiment, for links.
        run_ids: Run of each trial that is a member, or part of a soup that is.
        chosen: The ensemble.
        registration: Its registry entry.
        openings: Openings of the test set.
        evaluation: Its scores on ``test``; None if the test set was not opened for it.
        data: Data set of the search.
    """

    name: str
    search: str
    experiment_id: str
    run_ids: Mapping[int, str]
    chosen: ChosenEnsemble
    registration: Registration
    openings: Openings
    evaluation: Evaluation | None
    data: Dataset

    @property
    def _test(self) -> dict[str, float]:
        """Metrics on ``test`` that the card shows."""
        metrics = self.evaluation.metrics() if self.evaluation else {}
        return {name: value for name, value in metrics.items() if name in _ON_CARD}

    def _interval(self, name: str) -> str:
        """Return the 95% interval of a metric on ``test`` as Markdown; "" if it has none."""
        assert self.evaluation is not None
        evaluation, plain_name = self.evaluation.by(name)
        bounds = evaluation.ensemble.intervals.get(plain_name)
        return f" [{bounds[0]:.4f}, {bounds[1]:.4f}]{plain(evaluation.mark)}" if bounds else ""

    def tags(self) -> dict[str, str]:
        """Return the tags of the model version, cut to MLflow's limit."""
        chosen, data = self.chosen, self.data
        comparison = chosen.comparison
        weights = comparison.combination.weights
        voters = [
            f"{record.name} ({network_of(record)}, {weight:.3f})"
            for record, weight in zip(chosen.members, weights, strict=True)
            if weight > 0
        ]
        tags = {
            "data": data.place,
            "data_fingerprint": data.fingerprint,
            "model_sha256": self.registration.sha256 or "not known",
            "members": ", ".join(voters),
            "notes": "; ".join(data.notes) or "none",
            "rule": comparison.chosen,
            SCORED: NO if self.evaluation is None else YES,
            **({"patient_rule": comparison.patients.chosen} if comparison.patients else {}),
            "search": self.search,
            f"{chosen.metric_prefix}_{comparison.metric}": f"{comparison.score:.4f}",
            "split": ", ".join(f"{len(rows)} {split}" for split, rows in data.splits.items()),
            "test_openings": self.openings.describe(),
            "test_split": f"{data.test_description}{f'; {data.leak}' if data.leak else ''}",
        }
        tags |= {f"test_{name}": f"{value:.4f}" for name, value in self._test.items()}
        return {name: value[:_TAG_LENGTH] for name, value in tags.items()}

    def summary(self) -> str:
        """Return markdown for the page of the search's parent run."""
        runs = f"#/experiments/{self.experiment_id}/runs?viewStateShareKey={VIEW}"
        rule = plain(self.chosen.comparison.chosen)
        registered = f"`models:/{self.name}/{self.registration.version}` ({rule})"
        first = f"Registered as {registered}. [All trials, with the columns to sort by]({runs})."
        return "\n\n".join([first, self._notes(), self._scores(), self._members()])

    def description(self) -> str:
        """Return markdown for the page of the registered version."""
        registration, chosen = self.registration, self.chosen
        uri = f"models:/{self.name}/{registration.version}"
        has_patients = chosen.comparison.patients is not None
        per_patient = f"tune-predict {uri} IMAGES --per patient --groups FILE\n" * has_patients
        column = " and, for one row per patient, the column `patient`" * has_patients
        chosen_on = f"`{chosen.chosen_on}`" if chosen.chosen_on == chosen.metric_prefix else chosen.chosen_on
        return "\n\n".join(
            [
                f"## {registration.alias} of {plain(self.name)}: version {registration.version}",
                f"It is the {registration.alias}: {plain(registration.reason)}.",
                f"{plain(chosen.comparison.chosen)}, chosen on {chosen_on} by {chosen.comparison.metric}; "
                f"search `{code(self.search)}`.",
                self._notes(),
                "### Scores\n\n" + self._scores(),
                "### Members\n\n" + self._members(),
                "### Data and split\n\n" + self._data(),
                "### Use\n\n"
                f"```\ntune-predict {uri} IMAGES --out predictions.csv\n{per_patient}"
                f"mlflow models serve -m {uri} --env-manager local\n```\n\n"
                f"SHA-256 of the model, which `tune-predict` prints: `{self.registration.sha256 or 'not known'}`.\n\n"
                f'In Python: `mlflow.pyfunc.load_model("{uri}").predict(images)`, with a data frame of a column of '
                f"images{column}. To use one member, replace the URI by "
                "`runs:/RUN_ID/model` with its run id from the table above.",
            ]
        )

    def _notes(self) -> str:
        return "\n".join(f"> **Note:** {plain(note)}." for note in self.data.notes) or "No notes on the data."

    def _scores(self) -> str:
        chosen = self.chosen
        metric, prefix = chosen.comparison.metric, chosen.metric_prefix
        rows = [(f"{prefix} {metric}", f"{chosen.comparison.score:.4f}")]
        rows += [(f"test {name}", f"{value:.4f}{self._interval(name)}") for name, value in self._test.items()]
        parts = [table(("score", "value [95%]"), rows)]
        parts += [f"> **Note:** {plain(note)}." for note in (self.evaluation.caveats() if self.evaluation else ())]
        if chosen.selection_bias:
            parts.append(f"`{prefix}` is of {chosen.chosen_on}; {chosen.selection_bias.describe(metric)}.")
        leak = f" {plain(self.data.leak)}." if self.data.leak else ""
        points = chosen.comparison.combination.operating_points(self.data.class_names)
        parts += [f"Operating point by {point.unit}: {plain(point.describe())}." for point in points]
        sets = chosen.comparison.combination.sets
        parts += [f"Prediction sets by {one.unit}: {one.describe()}." for one in sets]
        if self.evaluation is None:
            parts.append(NOT_SCORED)
        parts.append(f"Test split: {plain(self.data.test_description)}, {self.openings.describe()}.{leak}")
        return "\n\n".join(parts)

    def _members(self) -> str:
        chosen = self.chosen
        metric = chosen.comparison.metric
        best = f"{metric} out of fold" if chosen.selection_bias else f"best {metric} on tune"
        weights = chosen.comparison.combination.weights
        rows = [self._row(*member) for member in zip(chosen.members, weights, strict=True)]
        return table(("trial", "backbone", "weight", best, "run id"), rows)

    def _row(self, record: TrialRecord, weight: float) -> tuple[str, ...]:
        best = record.epochs[-1].metrics[f"best_{self.chosen.comparison.metric}"]
        run_ids = [self.run_ids[number] for number in record.trials]
        links = ", ".join(f"[{run_id}](#/experiments/{self.experiment_id}/runs/{run_id})" for run_id in run_ids)
        share = f"{weight:.3f}" if weight > 0 else "none"
        return record.name, plain(network_of(record)), share, f"{best:.4f}", links

    def _data(self) -> str:
        data = self.data
        rows = [
            (split, str(len(rows)), *map(str, data.count_classes(rows).values())) for split, rows in data.splits.items()
        ]
        splits = table(("split", "images", *map(plain, data.image_classes)), rows)
        return f"`{code(data.place)}`, fingerprint `{data.fingerprint}`\n\n{splits}"


def with_status(description: str, alias: str, status: str) -> str:
    """Return a version's page with another alias in its heading and another sentence about it."""
    heading = re.sub(r"^## (former )?(champion|challenger) of ", f"## {alias} of ", description)
    return re.sub(r"It (is|was) the (champion|challenger): [^\n]*", lambda _: plain(status), heading, count=1)
