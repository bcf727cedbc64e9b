import dataclasses
from collections import Counter

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.samplers import TPESampler

from analysis.report.inputs import Inspection
from analysis.report.render import _sections
from analysis.report.reporting.answers import FILLED, OPEN, PARTLY
from analysis.report.reporting.section import checklist, flow_section, methods, reporting_section
from tests.analysis.report.report_inputs import add_trial, made_up_search, with_result
from trainables.core.serving.combining.combine import Combination
from tuning.study import mutation_sampler
from tuning.study.mutation_sampler import PARENTS, MutationSampler


def states(table):
    return {int(row[0]): row[3] for row in table.rows}


def test_every_item_has_a_state_and_those_that_people_know_are_open(search, ensemble):
    table = checklist(search, ensemble)
    found = states(table)
    assert list(found) == list(range(1, 45))
    assert {found[number] for number in (3, 5, 14, 33, 44)} == {OPEN}
    assert {found[number] for number in (9, 20, 22, 27, 29, 37)} == {FILLED}
    assert {found[number] for number in (1, 31, 35)} == {PARTLY}  # title, validation of heat maps, number of patients
    counts = Counter(found.values())
    assert f"{counts[FILLED]} of 44 filled, {counts[PARTLY]} items partly, {counts[OPEN]} for you to state" in (
        table.how_to_read
    )
    assert all(row[4] for row in table.rows)


def test_every_filled_item_names_a_place_that_the_report_has(search, ensemble):
    titles = {section.title for section in _sections(search, ensemble, Inspection())}
    rows = checklist(search, ensemble).rows
    assert all(row[5] for row in rows if row[3] == FILLED)
    assert {row[5] for row in rows} - {"", "the opening", "the last line"} <= titles


def test_the_study_file_fills_items_and_the_methods(search, ensemble):
    texts = {"purpose": "Triage at night.", "ethics": "Approved by the board", "funding": "None."}
    told = dataclasses.replace(search, study_texts=texts)
    before, after = states(checklist(search, ensemble)), states(checklist(told, ensemble))
    assert {number for number in after if before[number] != after[number]} == {3, 44}
    rows = {int(row[0]): row for row in checklist(told, ensemble).rows}
    assert rows[3][4:] == ["Triage at night.", "study file"]
    text = methods(told, ensemble)
    assert text.startswith("Approved by the board. Images were converted to 8-bit grey and resized to 32 x 32 pixels. ")
    assert ensemble.chosen.comparison.chosen in text
    assert text.endswith(".")


def test_without_an_ensemble_results_are_open(search):
    found = states(checklist(search, None))
    assert found[22] == found[37] == OPEN
    assert found[19] == FILLED
    assert reporting_section(search, None).folded


def test_the_flow_accounts_for_every_image(search, ensemble):
    data = search.data
    splits = {**data.splits, "fit": data.splits["fit"][3:]}
    audit = dataclasses.replace(data.audit, broken={"a": "cannot be decoded: torn", "b": "cannot be decoded: odd"})
    without = dataclasses.replace(search, data=dataclasses.replace(data, splits=splits, audit=audit))
    flow, table, size = flow_section(without, ensemble).blocks
    assert flow.steps[0].text == "120 images found"
    assert flow.steps[0].excluded == ("2 cannot be decoded", "1 in no partition (see the notes)")
    assert flow.steps[1].text.startswith("117 images used, ")
    of_folder = flow_section(dataclasses.replace(without, unlisted=7), ensemble).blocks[0].steps
    assert (of_folder[0].text, of_folder[0].excluded) == ("127 images found", ("7 without a row in the table",))
    assert (of_folder[1].text, of_folder[1].excluded) == ("120 images with a row", flow.steps[0].excluded)
    assert of_folder[2:] == flow.steps[1:]
    parts = dict(part.split(": ", 1) for part in flow.parts)
    for row in table.rows:
        rows = splits[row[0]]
        assert row[1] == str(len(rows))
        assert parts[row[0]] == f"{len(rows)} images, {len(np.unique(data.groups[rows]))} groups"
        counts = [int(cell.split(" ")[0]) for cell in row[3:]]
        assert counts == np.bincount(data.labels[rows], minlength=3).tolist()
    groups = ensemble.evaluation.groups
    assert f"{4 * groups} groups" in size.paragraphs[0]


def test_characteristics_are_counted_in_each_partition(search):
    data, generator = search.data, np.random.default_rng(0)
    images = len(data.labels)
    site = generator.choice(["A", "B", ""], images)
    age = generator.integers(10, 90, images)
    metadata = {
        "site": site.tolist(),
        "Age": list(map(str, age)),
        "code": [f"c{index % 20}" for index in range(images)],
    }
    told = dataclasses.replace(search, metadata=metadata)
    _, table = flow_section(told, None).blocks[1:]
    assert table.headings == ("column", "value", *data.splits)
    found = {(row[0], row[1]): [int(cell.split(" ")[0]) for cell in row[2:]] for row in table.rows}
    bands = pd.cut(
        age, [0, 18, 40, 65, 200], right=False, labels=["below 18", "18 to below 40", "40 to below 65", "65 and above"]
    )
    for column, values in (("site", np.where(site == "", "unknown", site)), ("Age", np.array(bands))):
        shown = [value for name, value in found if name == column]
        assert set(shown) == set(values)
        for value in shown:
            assert found[column, value] == [int((values[rows] == value).sum()) for rows in data.splits.values()]
    assert next(value for name, value in found if name == "Age") == "below 18"
    assert [value for name, value in found if name == "site"] == ["A", "B", "unknown"]
    assert "more than 12 values are left out: code." in table.how_to_read
    assert {int(row[0]): row[4] for row in checklist(told, None).rows}[36] == "Classes, site, Age in each partition."


def test_reasons_and_columns_that_are_left_out_are_counted_or_named(search):
    data = search.data
    audit = dataclasses.replace(data.audit, broken={f"{place}": f"reason {place}" for place in range(8)})
    splits = {**data.splits, "fit": data.splits["fit"][8:]}
    data = dataclasses.replace(data, splits=splits, audit=audit)
    code = [f"c{index % 20}" for index in range(len(data.labels))]
    flow, _, left = flow_section(dataclasses.replace(search, data=data, metadata={"code": code}), None).blocks
    assert flow.steps[0].excluded[-1] == "3 for other reasons" and len(flow.steps[0].excluded) == 6
    assert "Columns of more than 12 values are left out: code." in left.paragraphs[0]


def test_scores_without_intervals_are_filled_partly_and_patients_are_counted(search, ensemble):
    scores = dataclasses.replace(ensemble.evaluation.ensemble, intervals={})
    evaluation = dataclasses.replace(ensemble.evaluation, ensemble=scores, conditional=(search.data.class_names[0],))
    patients = np.arange(len(search.data.labels)) // 2
    of_patients = dataclasses.replace(search, data=dataclasses.replace(search.data, patients=patients))
    table = checklist(of_patients, with_result(ensemble, evaluation=evaluation))
    certain = dataclasses.replace(ensemble.evaluation, conditional=(), absent=())
    assert states(checklist(search, with_result(ensemble, evaluation=certain)))[38] == FILLED
    found, said = states(table), {int(row[0]): row[4] for row in table.rows}
    assert (found[35], found[37], found[38]) == (FILLED, PARTLY, PARTLY)
    assert said[35] == "120 images of 60 patients; none excluded."
    assert said[38] == "Scores by class; there are too few groups for 95% intervals."


def test_only_networks_that_vote_are_called_the_model(search, ensemble):
    comparison = dataclasses.replace(ensemble.chosen.comparison, combination=Combination.of(np.array([0.0, 1.0])))
    rows = {int(row[0]): row[4] for row in checklist(search, with_result(ensemble, comparison=comparison)).rows}
    assert rows[22] == "1 network: scratch_cnn (32 pixels)."
    assert rows[27].startswith("One network is chosen by the rule ")


@pytest.mark.parametrize(
    ("configs", "state", "said"),
    [
        ([], FILLED, "No training has started."),
        ([{"backbone": "scratch_cnn"}], FILLED, "Training started from random weights."),
        ([{"backbone": "resnet18", "weights": "random"}], FILLED, "Training started from random weights."),
        (
            [{"backbone": "resnet18"}],
            FILLED,
            "Training started from weights pretrained on natural images (transfer learning).",
        ),
        (
            [{"backbone": "resnet18", "weights": "/own"}, {"backbone": "scratch_cnn", "weights": "/own"}],
            PARTLY,
            "Training started from pretrained weights (transfer learning); 1 of 2 configurations started from random "
            "weights. State their source.",
        ),
    ],
)
def test_the_initial_weights_are_those_of_the_trials(small_data, configs, state, said):
    study = optuna.create_study(study_name="made_up", direction="maximize")
    for config in configs:
        add_trial(study, 0.5, **{"weights": "pretrained"} | config)
    row = next(row for row in checklist(made_up_search(small_data, study), None).rows if row[0] == "24")
    assert row[3:5] == [state, said]


def test_the_training_approach_says_where_configurations_came_from(small_data, monkeypatch):
    study = optuna.create_study(study_name="made_up", direction="maximize", sampler=MutationSampler(TPESampler(), 0))
    add_trial(study, 0.5, params={"lr": 1e-3, "head": "mlp"})
    for _ in range(PARENTS - 1):
        add_trial(study, 0.6)
    monkeypatch.setattr(mutation_sampler, "SHARE", 1.0)
    add_trial(study, 0.7)
    add_trial(study, 0.3, epochs=1, state="PRUNED")
    row = next(row for row in checklist(made_up_search(small_data, study), None).rows if row[0] == "25")
    assert row[4] == (
        "7 configurations of up to 3 epochs: 1 published or written by hand, 2 mutated from one of the best before "
        "them, 4 chosen by Bayesian optimisation (TPE, at random until enough have been tried). "
        "1 of them stopped early."
    )


@pytest.mark.parametrize(("twins", "said"), [(2, "2 of "), (0, "training and selection share some")])
def test_shared_groups_are_not_called_disjoint(search, ensemble, twins, said):
    groups = search.data.groups.copy()
    groups[search.data.splits["tune"][0]] = groups[search.data.splits["fit"][0]]
    data = dataclasses.replace(search.data, test_twins=twins, groups=groups)
    leaking = dataclasses.replace(search, data=data)
    rows = {int(row[0]): row[4] for row in checklist(leaking, ensemble).rows}
    assert rows[20].startswith(f"Partitions are not disjoint by groups: {said}")
    assert "share no group" not in flow_section(leaking, ensemble).blocks[0].how_to_read
    assert "share no group" in flow_section(search, ensemble).blocks[0].how_to_read


def test_classes_of_few_patients_are_named(search, ensemble):
    patients = dataclasses.replace(ensemble.evaluation, conditional=("few",), absent=("mid",))
    of_patients = dataclasses.replace(ensemble.evaluation, conditional=(), absent=(), patients=patients)
    rows = {int(row[0]): row for row in checklist(search, with_result(ensemble, evaluation=of_patients)).rows}
    assert rows[38][3] == PARTLY and "those of few, mid have none" in rows[38][4]
    assert "averages by patient" in rows[40][4].lower() and "few test groups of few" in rows[40][4]
