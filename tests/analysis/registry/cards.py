"""Made-up model cards."""

import numpy as np

from analysis.ensembles.choose_rule import Compared
from analysis.ensembles.compare_rules import Comparison
from analysis.ensembles.evaluation import Evaluation, Scores
from analysis.ensembles.result import ChosenEnsemble, Openings, Registration
from analysis.registry.model_card import ModelCard
from analysis.statistics.diversity import Diversity
from analysis.trials import EpochRecord, TrialRecord
from trainables.core.data.dataset import Dataset
from trainables.core.data.decode.images import PixelFormat
from trainables.core.serving.combining.combine import Combination

METRIC = "macro_f1"


def trial(number, backbone, best):
    report = EpochRecord(1, {f"best_{METRIC}": best}, 0, "")
    return TrialRecord(number, "COMPLETE", {}, {"backbone": backbone}, (report,), None, ())


def made_up_card(name="brains", registration=None, notes=("a note",)):
    """A card of two voters and a member without a vote; the test set has a leak."""
    combination = Combination.of(np.array([0.25, 0.75, 0.0]))
    rules = (Compared("greedy selection", 0.5, 0.0, 0.0),)
    chosen = ChosenEnsemble(
        members=(trial(7, "resnet18", 0.9), trial(9, "resnet50", 0.85), trial(3, "vit_x", 0.8)),
        member_scores=(0.5, 0.4, 0.3),
        comparison=Comparison(METRIC, rules, "greedy selection", None, {}, (), combination=combination),
        diversity=Diversity((), ()),
        views="none",
        images=20,
        groups=20,
    )
    scores = Scores({METRIC: 0.25, "accuracy": 0.75, "recall/a": 1.0}, {})
    registration = registration or Registration(
        "4", "champion", "it has macro_f1 0.5000 on select, where version 3 has 0.4000"
    )
    data = Dataset(
        place="/data/*odd*",
        fingerprint="f" * 64,
        class_names=("a", "<b>|"),
        labels=np.repeat([0, 1, 0, 1], [5, 6, 3, 6]),
        groups=np.arange(20),
        splits={"fit": np.arange(11), "test": np.arange(11, 20)},
        pixel_format=PixelFormat(1, 255),
        notes=notes,
        split="published",
        test_twins=1,
    )
    return ModelCard(
        name=name,
        search="brains-2",
        experiment_id="7",
        run_ids={7: "run7", 9: "run9", 3: "run3"},
        chosen=chosen,
        registration=registration,
        openings=Openings(2, 0),
        evaluation=Evaluation(scores, (), 0, None, 9, (), ()),
        data=data,
    )
