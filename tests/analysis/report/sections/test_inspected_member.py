import dataclasses

import numpy as np

from analysis.report.inputs import Inspection
from analysis.report.sections.inspected_member import inspected_member
from tests.analysis.report.report_inputs import made_up_inspection


def test_points_are_counted_by_split_and_mistake(search, ensemble):
    inspection = made_up_inspection(search, ensemble)
    by_class, by_mistake, _ = inspected_member(search, ensemble, inspection).blocks
    data = search.data
    test, best = data.splits["test"].tolist(), ensemble.best_member
    points = {(True, "fit"): 0, (True, "test"): 0, (False, "fit"): 0, (False, "test"): 0}
    for index in inspection.request.feature_images.tolist():
        if index in test:
            prediction = ensemble.test_predictions[best, test.index(index)].argmax()
            points[bool(prediction == data.labels[index]), "test"] += 1
        else:
            points[True, "fit"] += 1  # made_up_inspection predicts training images correctly
    drawn = {trace.name: len(trace.x) for trace in by_mistake.figure.data}
    expected = {
        f"{'correct' if correct else 'wrong'}, {split} ({count})": count
        for (correct, split), count in points.items()
        if count
    }
    assert drawn == expected
    assert sum(len(trace.x) for trace in by_class.figure.data) == len(inspection.request.feature_images)
    in_test = int(np.isin(inspection.request.feature_images, test).sum())
    assert f"{in_test} of {len(test)} test images" in by_class.caveat


def test_heat_maps_show_the_true_and_the_predicted_class(search, ensemble):
    inspection = made_up_inspection(search, ensemble)
    gallery = inspected_member(search, ensemble, inspection).blocks[2]
    data, names = search.data, search.data.class_names
    for index, example in zip(inspection.request.map_images, gallery.examples, strict=True):
        position = data.splits["test"].tolist().index(index)
        probabilities = ensemble.test_predictions[ensemble.best_member, position]
        true, predicted = data.labels[index], probabilities.argmax()
        assert example.lines[0] == f"true class {names[true]}"
        assert example.lines[1] == f"predicted {names[predicted]} ({probabilities[predicted]:.2f})"
        assert example.flagged == (true != predicted)
    assert "3 x 3 cells" in gallery.caveat and "too coarse to tell" in gallery.how_to_read
    assert gallery.scale == ("no evidence", "strongest evidence in this image")


def test_missing_inputs_are_named(search, ensemble):
    blocks = inspected_member(search, ensemble, Inspection(missing="a node was lost")).blocks
    assert all("a node was lost" in block.missing for block in blocks)
    without = dataclasses.replace(ensemble, test_predictions=None, why_no_predictions="the disk is gone")
    blocks = inspected_member(search, without, made_up_inspection(search, ensemble)).blocks
    assert all("the disk is gone" in block.missing for block in blocks)


def test_features_that_are_not_finite_are_not_embedded(search, ensemble):
    inspection = made_up_inspection(search, ensemble)
    explanation = dataclasses.replace(inspection.explanation, features=inspection.explanation.features * np.nan)
    panels = inspected_member(search, ensemble, dataclasses.replace(inspection, explanation=explanation)).blocks[:2]
    assert [panel.missing for panel in panels] == ["features must be finite, but some are not."] * 2
