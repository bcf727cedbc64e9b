import pytest
from typer.testing import CliRunner

from tuning.cli.ensemble import app


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no search in results is called 'nowhere'"),
        (["demo_space", "--members", "1;2"], "--members must be trial numbers like 3,7,9, but got '1;2'"),
        (["demo_space", "--members", "1,2", "--k", "3"], "--k and --members both choose the trials: give only one"),
        (["demo_space", "--soup", "--rule", "mean"], "--soup averages weights: leave out --rule mean or --soup"),
        (["[/x]"], "--name must be letters, digits"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("tune-ensemble: ")
    assert message in line
    assert not list(tmp_path.iterdir())
