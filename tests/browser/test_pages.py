"""The pages of a search on a real MLflow server, in a real browser.

Screenshots are saved to $TUNE_RUN_PICTURES if it is set; docs/images holds two like them, of the tutorial.
"""

import os
import shutil
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.browser.chromium import Chromium, find
from tests.faults.server import Server
from tests.images import write_classes
from tests.searches import SMALL, search

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find() is None, reason="needs a Chromium: on the path, or named by $CHROMIUM"),
]
LEAK = "1 of 12 test images share their group with training images: test scores measure memory"
TRIALS = 5
EXPAND = "document.querySelector('.ag-row button[data-component-id*=runnamecellrenderer]')"
NAMES = "[...document.querySelectorAll('.ag-row [col-id=\"attributes.`Run Name`\"] a')]"
ROW = "+{}.closest('.ag-row').getAttribute('row-index')"  # rows are drawn in any order and then move into place
CHARTS = "[...document.querySelectorAll('.js-plotly-plot')]"


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Log a search with a leaking test split to a server; return its URI, the experiment and the parent run."""
    folder = tmp_path_factory.mktemp("search")
    write_classes(folder / "data" / "train", {"few": 20, "many": 60, "some": 40})
    write_classes(folder / "data" / "test", {"few": 4, "many": 4, "some": 4}, seed=1)
    shutil.copy(folder / "data" / "train" / "few" / "000.png", folder / "data" / "test" / "few" / "000.png")
    server = Server(folder)
    server.start()
    arguments = [*SMALL, "--backbone", "torchvision:squeezenet1_1", "--num-samples", TRIALS, "--no-pruning"]
    arguments += ["--split", "published", "--report"]
    search(folder, "demo_space", "--data", "data", "--tracking-uri", server.uri, *arguments)
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("demo_space").experiment_id
    (parent,) = client.search_runs([experiment], "tags.`tune.trial` = 'parent'")
    yield server.uri, experiment, parent
    server.kill()


@pytest.fixture
def browser(tmp_path):
    opened = Chromium(tmp_path)
    yield opened
    opened.close()


def save_screenshot(browser, name):
    if os.environ.get("TUNE_RUN_PICTURES"):
        time.sleep(2)  # for animations to end
        browser.screenshot(Path(os.environ["TUNE_RUN_PICTURES"]) / name)


def close_assistant(browser):
    browser.click("document.querySelector('[aria-label=Close]')")


def names(browser):
    """Return the name and the indentation of each run in the table, from top to bottom."""
    rows = browser.run(f"{NAMES}.map(a => [{ROW.format('a')}, a.innerText, a.getBoundingClientRect().x])")
    return [(name, indent) for _, name, indent in sorted(rows)]


def test_children_fold_under_their_parent(searched, browser):
    uri, experiment, _ = searched
    browser.open(f"{uri}/#/experiments/{experiment}/runs?viewStateShareKey=results")
    browser.wait_for_text(f"{TRIALS + 1} matching runs", "demo_space")
    close_assistant(browser)
    browser.wait(f"{NAMES}.length == 1")
    assert [name for name, _ in names(browser)] == ["demo_space"]
    browser.click(EXPAND)
    browser.wait(f"{NAMES}.length == {TRIALS + 1}")
    (parent, indent), *children = names(browser)
    assert parent == "demo_space"
    assert sorted(name[:10] for name, _ in children) == [f"trial-{number:04d}" for number in range(TRIALS)]
    assert all(further > indent for _, further in children)
    save_screenshot(browser, "runs.png")
    browser.click(EXPAND)
    browser.wait(f"{NAMES}.length == 1")


def test_runs_can_be_sorted_by_a_metric(searched, browser):
    uri, experiment, _ = searched
    browser.open(f"{uri}/#/experiments/{experiment}/runs?viewStateShareKey=results")
    columns = ("best_balanced_accuracy", "best_macro_f1", "best_epoch", "epoch_seconds", "backbone", "freeze_depth")
    browser.wait_for_text(f"{TRIALS + 1} matching runs")
    close_assistant(browser)  # otherwise some columns lie beyond the table's edge and are not drawn
    browser.wait_for_text(*columns)
    browser.click("document.querySelector('[data-testid=sort-select-dropdown]')")
    browser.click("document.querySelector('[data-testid=\"sort-select-best_macro_f1\"]')")
    browser.wait(f"{NAMES}.length == {TRIALS + 1}")  # sorted by a metric, runs are not nested
    cell = "document.querySelectorAll('.ag-row [col-id=\"metrics.`best_macro_f1`\"]')"
    shown = f"[...{cell}].map(c => [{ROW.format('c')}, parseFloat(c.innerText)]).sort((a, b) => a[0] - b[0])"
    browser.wait(  # until the drawn order follows the requested one
        f"(rows => rows.length == {TRIALS + 1} && rows.every((r, i) => i == 0 || rows[i - 1][1] >= r[1]))({shown})"
    )


def test_charts_compare_trials_by_epoch(searched, browser):
    uri, experiment, _ = searched
    browser.open(f"{uri}/#/experiments/{experiment}/runs?compareRunsMode=CHART")
    browser.wait_for_text(f"{TRIALS + 1} matching runs")
    close_assistant(browser)
    browser.click(EXPAND)
    browser.click("document.querySelector('[placeholder=\"Search metric charts\"]')")
    browser.type("tune/balanced_accuracy")
    lines = "Object.fromEntries(p.data.filter(d => d.x && d.x.length).map(d => [d.name, [...d.x]]))"
    drawn = browser.wait(
        f"{CHARTS}.length == 1 && (p => Object.keys({lines}).length == {TRIALS} && {lines})({CHARTS}[0])"
    )
    assert sorted(name[:10] for name in drawn) == [f"trial-{number:04d}" for number in range(TRIALS)]
    assert all(epochs == [1, 2, 3] for epochs in drawn.values())
    browser.wait_for_text("Step")
    save_screenshot(browser, "charts.png")


def test_the_parents_page_shows_the_result(searched, browser):
    uri, experiment, parent = searched
    browser.open(f"{uri}/#/experiments/{experiment}/runs/{parent.info.run_id}")
    browser.wait_for_text("Registered as models:/demo_space/1", LEAK, "test_balanced_accuracy", "Child runs")
    save_screenshot(browser, "parent.png")
    browser.open(
        browser.run("[...document.querySelectorAll('a')].find(a => a.innerText.startsWith('All trials')).href")
    )
    browser.wait_for_text("best_balanced", "best_epoch", f"{TRIALS + 1} matching runs")


def test_the_parents_files_are_shown(searched, browser):
    uri, experiment, parent = searched
    page = f"{uri}/#/experiments/{experiment}/runs/{parent.info.run_id}/artifacts"
    browser.open(f"{page}/report.html")
    browser.wait_for_text("report.html", "evaluation.json", "confusion_matrix.json")
    frame = "document.querySelector('iframe')"  # MLflow shows HTML files in a sandboxed frame
    assert len(browser.wait(f"{frame} && ({frame}.srcdoc || {frame}.src)")) > 0
    save_screenshot(browser, "report.png")


@pytest.mark.parametrize("page", ["", "/versions/1"])
def test_the_models_page_shows_scores_data_and_members(searched, browser, page):
    uri, _, parent = searched
    browser.open(f"{uri}/#/models/demo_space{page}")
    metrics, fingerprint = parent.data.metrics, parent.data.tags["tune.data_fingerprint"]
    browser.wait_for_text(
        "champion of demo_space: version 1", "champion", LEAK, fingerprint, "Members", "Data and split"
    )
    text = browser.text()
    for name in ("balanced_accuracy", "macro_f1", "accuracy", "auroc"):
        assert f"test {name}\t{metrics[f'test_{name}']:.4f}" in text
    assert f"select balanced_accuracy\t{metrics['select_balanced_accuracy']:.4f}" in text
    assert "test\t12\t4\t4\t4" in text
    assert "tune-predict models:/demo_space/1 IMAGES" in text
    if page:
        close_assistant(browser)
        save_screenshot(browser, "model.png")
        browser.open(browser.run("[...document.querySelectorAll('td a')].find(a => a.href.includes('/runs/')).href"))
        browser.wait_for_text("trial-00", "best_balanced_accuracy", "freeze_depth")
