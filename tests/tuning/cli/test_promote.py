import getpass

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from tuning.cli.promote import app


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    """A store with versions 1 and 2 of ``brains``."""
    folder = tmp_path_factory.mktemp("store")
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    client.create_registered_model("brains")
    for number in (1, 2):
        client.create_model_version("brains", f"file://{folder}/{number}")
    return f"sqlite:///{folder}/mlflow.db"


def invoke(uri, *arguments, code=0):
    done = CliRunner().invoke(app, [*map(str, arguments), "--tracking-uri", uri], terminal_width=200)
    assert done.exit_code == code, done.output + done.stderr
    return " ".join((done.stderr if code else done.output).split())


def test_a_promotion_is_shown_and_listed(uri):
    assert "brains has no recorded change of its champion" in invoke(uri, "brains", "--history")
    printed = invoke(uri, "models:/brains/2", "--reason", "approved by the board.")
    assert printed.startswith("models:/brains@champion: ")
    assert printed.endswith(f"UTC: version 2 (the first), by {getpass.getuser()}: approved by the board")
    invoke(uri, "brains", "--version", 1, "--reason", "rolled back")
    listed = invoke(uri, "brains", "--history")
    assert listed.index("version 2 (the first)") < listed.index("version 1 (was 2)")


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (("brains", "--version", 2), "--reason must say why the version becomes the champion"),
        (("brains", "--version", 2, "--reason", " "), "--reason must say why the version becomes the champion"),
        (("brains", "--version", 9, "--reason", "why"), "--version must be a version of brains (1, 2), but got 9"),
        (("models:/brains/1", "--version", 2, "--reason", "why"), "must name the same version, but got 1 and 2"),
        (("brains", "--history", "--reason", "why"), "--history changes nothing: leave out --version and --reason"),
        (("brians", "--history"), "MODEL must be a registered model (brains), but got brians"),
    ],
)
def test_wrong_usage_is_one_line(uri, arguments, rule):
    assert rule in invoke(uri, *arguments, code=2)
