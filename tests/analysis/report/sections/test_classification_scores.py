import pytest
from sklearn.metrics import precision_recall_fscore_support

from analysis.report.sections.classification_scores import classification_scores


def test_scores_by_class_match_scikit_learn(search, ensemble):
    data = search.data
    table = classification_scores(search, ensemble).blocks[1]
    rows = [dict(zip(table.headings, row, strict=True)) for row in table.rows]
    labels = data.labels[data.splits["test"]]
    predicted = ensemble.chosen.comparison.combination.apply(ensemble.test_predictions).argmax(axis=1)
    precision, _, f1, images = precision_recall_fscore_support(labels, predicted, zero_division=0)
    assert [row["class"] for row in rows] == list(data.class_names)
    assert [int(row["images"]) for row in rows] == images.tolist()
    for index, row in enumerate(rows):
        assert float(row["precision [95% interval]"].split(" [")[0]) == pytest.approx(precision[index], abs=6e-4)
        assert float(row["F1 [95% interval]"].split(" [")[0]) == pytest.approx(f1[index], abs=6e-4)
