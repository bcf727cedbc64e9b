"""The report in a browser, offline, on a laptop and on a phone."""

import pytest

from analysis.report.render import render
from tests.analysis.report.report_inputs import made_up_ensemble, made_up_inspection, made_up_search, made_up_study
from tests.browser.chromium import Chromium, find

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find() is None, reason="needs a Chromium: on the path, or named by $CHROMIUM"),
]
DRAWN = "document.documentElement && document.documentElement.dataset.drawn"


@pytest.fixture(scope="module")
def file(small_data, tmp_path_factory):
    search = made_up_search(small_data, made_up_study())
    ensemble = made_up_ensemble(search)
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(render(search, ensemble, made_up_inspection(search, ensemble), "Made now."), encoding="utf-8")
    return file


@pytest.mark.parametrize("width", [1280, 390])
def test_every_figure_is_drawn_without_any_request(file, tmp_path, width):
    browser = Chromium(tmp_path, width)
    try:
        browser.open(file.as_uri())
        assert browser.wait(DRAWN) == "9"
        assert browser.run("document.querySelectorAll('.plot .main-svg .cartesianlayer .subplot').length") >= 9
        assert browser.run("performance.getEntriesByType('resource').length") == 0
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")  # only tables and figures scroll
        assert browser.run("[...document.images].every(image => image.src.startsWith('data:'))")
    finally:
        browser.close()


def test_colours_follow_the_readers_theme(file, tmp_path):
    browser = Chromium(tmp_path)
    try:
        browser._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        browser.open(file.as_uri())
        browser.wait(DRAWN)
        text = "getComputedStyle(document.querySelector('.plot .xtitle')).fill"
        dark = browser.run(text)
        browser._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
        browser.wait(f"{text} != '{dark}'")
        assert dark == "rgb(227, 232, 238)"
    finally:
        browser.close()
