"""The packed table: what goes in comes out, and incomplete trials are refused."""

import pytest

from benchmarks.curves.pack import pack
from benchmarks.curves.table import read_table

PARAMS = {"backbone": "scratch_cnn", "frozen_quarters": 2, "augmentation": "flip"}


def trial(configuration=0, scores=(0.5, 0.7, 0.6), cache=1.5, failed=None):
    epochs = [
        {"epoch": epoch, "seconds": epoch / 10, "metrics": {"tune/balanced_accuracy": score}}
        for epoch, score in enumerate(scores, start=1)
    ]
    best = {1: (0.4, 0.3), 2: (0.8, 0.9)}
    improvements = [
        {"epoch": epoch, "select": {"balanced_accuracy": one}, "test": {"balanced_accuracy": other}}
        for epoch, (one, other) in best.items()
        if epoch <= len(scores)
    ]
    return {
        "data_set": "tb",
        "configuration": configuration,
        "recipe": "one" if configuration == 0 else None,
        "params": PARAMS,
        "epochs": epochs,
        "improvements": improvements,
        "cache_seconds": cache,
        "failed": failed,
        "failed_seconds": 0.25,
    }


def test_a_table_comes_back_as_curves(tmp_path):
    table = tmp_path / "trials.jsonl.gz"
    pack([trial(1, scores=(0.5,), cache=0.01, failed="loss became nan"), trial(0)], table, epochs=3)
    recorded = read_table(table, epochs=3)["tb"]
    full, failed = recorded.curves
    assert full.tune.tolist() == [0.5, 0.7, 0.6]
    assert full.select.tolist() == [0.4, 0.8, 0.8]  # of the best checkpoint so far
    assert full.test.tolist() == [0.3, 0.9, 0.9]
    assert full.cost == pytest.approx(0.6)
    assert failed.cost == pytest.approx(0.1 + 0.25)
    assert recorded.recipes == (0,)
    assert recorded.cache_seconds == {("scratch_cnn", 2, "flip"): 1.5}


def test_the_order_of_the_lines_does_not_matter(tmp_path):
    trials = [trial(0), trial(1)]
    for name, lines in (("one", trials), ("other", trials[::-1])):
        pack(lines, tmp_path / name, epochs=3)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


@pytest.mark.parametrize(
    ("trials", "message"),
    [([trial(), trial()], "recorded twice"), ([trial(scores=(0.5, 0.7))], r"epochs 1 to 3 .* \[1, 2\]")],
)
def test_wrong_trials_are_refused(tmp_path, trials, message):
    with pytest.raises(ValueError, match=message):
        pack(trials, tmp_path / "table", epochs=3)
