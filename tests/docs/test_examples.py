"""Commands and Python examples in the documentation run: those that follow a comment `<!-- test -->`."""

import importlib
import runpy
import shlex
import tomllib

import pytest
from typer.testing import CliRunner

from tests.docs.pages import FILES, ROOT, blocks
from tests.images import write_classes

SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def run_command(line):
    """Run a command in this process, which saves the seconds of importing torch, and return its output."""
    program, *arguments = shlex.split(line, comments=True)
    if program == "python":
        runpy.run_path(arguments[0])
        return ""
    app = importlib.import_module(SCRIPTS[program].partition(":")[0]).app
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, f"{line}: {done.output}"
    return done.output


def run(block, names, capsys):
    if block.language == "python":
        exec(block.text, names)
        return capsys.readouterr().out
    lines = [line for line in block.text.replace("\\\n", " ").splitlines() if line.split("#")[0].strip()]
    return "".join(map(run_command, lines))


def patch(file, difference):
    """Replace the lines that begin like those with a minus, and what follows them, by the ones with a plus."""
    lines = file.read_text().splitlines()
    for line in difference.splitlines():
        sign, text = line[0], line[1:]
        if sign == "-":
            (at,) = [number for number, old in enumerate(lines) if old.startswith(text)]
            del lines[at]
        else:
            lines.insert(at, text)
            at += 1
    file.write_text("\n".join(lines) + "\n")


SLOW = {"docs/tutorial.md", "docs/reference/python-api.md"}  # make, audit, and train on 1,200 images
PAGES = [pytest.param(file, marks=[pytest.mark.slow] * (file in SLOW)) for file in FILES if blocks(file)]


@pytest.mark.parametrize("file", PAGES)
def test_examples_run(file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNE_RUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "110")
    if "make_scans.py" not in [block.name for block in blocks(file)]:
        write_classes(tmp_path / "scans", {"healthy": 40, "tumour": 16})
    names, printed = {}, ""
    for block in blocks(file):
        if block.what == "writes":
            (tmp_path / block.name).write_text(block.text)
        elif block.what == "patches":
            patch(tmp_path / block.name, block.text)
        elif block.what == "prints":
            for line in block.text.splitlines():
                assert line.strip() == "..." or line.strip() in printed, f"{file} shows {line!r}, but got: {printed}"
        else:
            printed = run(block, names, capsys)


def test_every_mark_is_understood():
    marks = {file: (ROOT / file).read_text().count("<!-- test") for file in FILES if not file.startswith("CONTRIB")}
    assert marks == {file: len(blocks(file)) for file in marks}
    assert sum(marks.values()) >= 10
