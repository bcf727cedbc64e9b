from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from analysis.report.inputs import EnsembleInputs
from tests.analysis.report.report_inputs import made_up_ensemble, made_up_search, made_up_study
from trainables.core.data.source import MaskFormat
from trainables.core.inspect.explanation import Explanation
from trainables.core.inspect.latency import Profile
from trainables.core.serving.combining.combine import Combination
from trainables.core.serving.predict_masks import MaskRequest, PixelPredictions
from trainables.worker.inference import examine_here
from tuning.report.inspect_members import inspect_members

COST = Profile(400_000, 1.5, "a made-up device")


@pytest.fixture
def ensemble(small_data):
    return made_up_ensemble(made_up_search(small_data, made_up_study()), count=3)


def test_only_the_best_member_is_asked_and_all_are_measured(small_data, ensemble):
    asked = []

    def examine(checkpoints, requests):
        asked.extend(zip(checkpoints, requests, strict=True))
        explanation = Explanation(np.zeros((1, 2), np.float32), np.zeros((1, 3), np.float32), None)
        return [(COST, explanation if request else None) for request in requests]

    inspection = inspect_members(small_data, ensemble, examine)
    assert [checkpoint for checkpoint, _ in asked] == ["checkpoint-1", "checkpoint-2", "checkpoint-0"]
    assert [request is not None for _, request in asked] == [True, False, False]
    assert inspection.profiles == [COST] * 3
    assert set(small_data.splits["test"]) <= set(inspection.request.feature_images)
    assert set(inspection.request.map_images) <= set(small_data.splits["test"])
    assert isinstance(inspection.explanation, Explanation)


def test_missing_checkpoints_are_reported(small_data, ensemble):
    inspection = inspect_members(small_data, ensemble, partial(examine_here, small_data))
    assert inspection.missing.startswith("the members could not be inspected (")
    assert inspection.explanation is None
    assert set(small_data.splits["test"]) <= set(inspection.request.feature_images)


def test_masks_are_the_weighted_mean_of_the_voters(small_data, ensemble):
    data = replace(small_data, mask_format=MaskFormat(("lung",), {0: 0, 255: 1}))
    images = len(data.splits["test"])
    comparison = replace(ensemble.chosen.comparison, combination=Combination.of(np.array([0.75, 0.25, 0])))
    chosen = replace(ensemble.chosen, comparison=comparison)
    scores = replace(ensemble.evaluation.ensemble, per_image=tuple(np.linspace(0, 1, images)))
    evaluation = replace(ensemble.evaluation, ensemble=scores)
    masked = EnsembleInputs(replace(ensemble.result, chosen=chosen, evaluation=evaluation), "space", None)

    def examine(checkpoints, requests):
        assert [isinstance(request, MaskRequest) for request in requests] == [True, True, False]
        shape = (len(requests[0].images), 1, 2, 2)
        likely = [np.full(shape, value, np.float32) for value in (0.4, 0.9)]
        return [(COST, PixelPredictions(likely[0])), (COST, PixelPredictions(likely[1])), (COST, None)]

    inspection = inspect_members(data, masked, examine)
    assert (inspection.masks == 1).all()  # 0.75 * 0.4 + 0.25 * 0.9 is above a half
    assert inspection.masks.shape == (len(inspection.mask_positions), 2, 2)
    assert {0, images - 1} <= set(inspection.mask_positions.tolist())
