"""Rules that all commands share."""

import importlib
import os
import subprocess
import sys

import pytest
import torch
import typer
from typer.testing import CliRunner

from trainables.core.errors import DataError
from trainables.core.serving.predict_classes import VIEWS
from tuning.cli.command import Command, new_app
from tuning.cli.options.ensemble_options import Views

COMMANDS = ("audit", "ensemble", "new", "predict", "report", "run")
HEAVY = {"torch", "ray", "mlflow", "optuna", "timm", "sklearn", "pandas", "pyarrow", "cv2", "albumentations"}


@pytest.mark.parametrize(("command", "option"), [*((command, "--help") for command in COMMANDS), ("run", "--list")])
def test_help_imports_nothing_heavy(command, option):
    code = (
        "import sys\n"
        f"from tuning.cli.{command} import app\n"
        f"try: app([{option!r}])\n"
        "except SystemExit: pass\n"
        f"print({HEAVY!r} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    "arguments", [["audit", "data"], ["run", "demo_space", "--data", "data"], ["run", "tissue_space", "--data", "data"]]
)
def test_the_first_line_about_data_needs_nothing_heavy(tmp_path, arguments):
    """Thousands of headers, torch and Ray take longer than people wait for a sign that the right folder is read."""
    for number in range(3):
        (tmp_path / "data" / "ill").mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / "ill" / f"{number}.png").write_bytes(b"not opened")
        (tmp_path / "data" / f"1.2.840.{number}").write_bytes(b"not opened")
    code = (
        "import sys\n"
        "class Heavy:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('torch', 'ray', 'mlflow', 'optuna'): sys.exit('refused ' + name)\n"
        "sys.meta_path.insert(0, Heavy())\n"
        f"from tuning.cli.{arguments[0]} import app\n"
        f"app({arguments[1:]!r})"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.stdout.splitlines()[0] == "reading data: 6 files: 3 .png, 3 without suffix", result.stderr


def test_views_are_those_that_models_offer():
    assert [view.value for view in Views] == list(VIEWS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_help_text(command):
    click_command = typer.main.get_command(importlib.import_module(f"tuning.cli.{command}").app)
    assert click_command.name == f"tune-{command}"
    for parameter in click_command.params:
        if parameter.name != "help":
            assert parameter.help and parameter.help.endswith("."), parameter.name


def run_command(action, *arguments):
    """Run a command that does ``action``."""
    app = new_app()

    @app.command("tune-test", cls=Command)
    def command(value: float = 0.0):
        """Do something
        on two lines.

        Second paragraph.
        """
        return action()

    return CliRunner().invoke(app, arguments)


def test_the_return_value_is_the_exit_code():
    assert run_command(lambda: None).exit_code == 0
    assert run_command(lambda: 130).exit_code == 130


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DataError("no images in s3://key:secret@bucket/\x1b[2J"), "tune-test: no images in s3://bucket/\\x1b[2J"),
        (FileNotFoundError(2, "No such file", "x"), "tune-test: [Errno 2] No such file: 'x'"),
        (
            torch.OutOfMemoryError("CUDA out of memory"),
            "tune-test: the GPU's memory must suffice for one image, but CUDA out of memory: end other programs on the "
            "GPU, or use the CPU with CUDA_VISIBLE_DEVICES= tune-test",
        ),
    ],
)
def test_user_errors_are_one_line_and_exit_code_2(error, line):
    def fail():
        raise error

    result = run_command(fail)
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [line]


def test_other_errors_are_not_hidden():
    assert isinstance(run_command(lambda: 1 / 0).exception, ZeroDivisionError)

    def fail():
        raise RuntimeError("a defect")

    assert str(run_command(fail).exception) == "a defect"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([""], "arguments must not be empty, but the one after the command is"),
        (["--value="], "arguments must not be empty, but the one after the command is"),
        (["--value", ""], "arguments must not be empty, but the one after --value is"),
        (["--value", "\x1b"], "arguments must be printable text, but got \\x1b"),
        (["--value", "nan"], "--value must be a finite number, but got nan"),
    ],
)
def test_unusable_arguments_are_refused(arguments, message):
    result = run_command(lambda: None, *arguments)
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [f"tune-test: {message}"]


def test_lines_of_a_help_paragraph_are_joined():
    assert "Do something on two lines." in run_command(lambda: None, "--help").output


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--list"], id="tables"),
        pytest.param(["demo_space", "--dry-run", "3"], id="lines", marks=pytest.mark.slow),
    ],
)
def test_a_reader_that_has_ended_ends_a_command_quietly(arguments):
    """As in ``tune-run --list | head``; 141 is what a shell shows for SIGPIPE."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tuning.cli.run", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


def test_an_encoding_that_lacks_a_character_does_not_end_a_command():
    code = (
        "from tuning.cli.command import Command, console_script, new_app\n"
        "from tuning.console import Terminal, say\n"
        "from rich.table import Table\n"
        "app = new_app()\n"
        "@app.command('tune-test', cls=Command)\n"
        "def command():\n"
        "    'Print.'\n"
        "    say(Terminal(), 'f\\u00fcnf \\u2265 \\u03b1')\n"
        "    Terminal().print(Table('\\u2265', title='\\u03b1'))\n"
        "console_script(app)()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=os.environ | {"PYTHONIOENCODING": "latin-1"}
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode("latin-1").splitlines()[0] == "f\u00fcnf ? ?"
