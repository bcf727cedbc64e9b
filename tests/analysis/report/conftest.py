import pytest

from tests.analysis.report.report_inputs import made_up_ensemble, made_up_search, made_up_study


@pytest.fixture(scope="module")
def search(small_data):
    return made_up_search(small_data, made_up_study())


@pytest.fixture(scope="module")
def ensemble(search):
    return made_up_ensemble(search)
