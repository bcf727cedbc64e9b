"""Phases of a command, on a program that burns known CPU seconds in itself and in a child."""

import os
import subprocess
import sys

import pytest

from benchmarks.driver.phases import run_in_phases

PROGRAM = """
import subprocess, sys, time
BURN = "import time\\nwhile time.process_time() < 1.0: pass"
print("starting")
print("ready: 3 images")
subprocess.run([sys.executable, "-c", BURN])
print("trained")
time.sleep(1)
sys.exit(int(sys.argv[1]))
"""
LAST_LINES = {"start": r": \d+ images", "training": "^trained"}


def phases(folder, last_lines, code=0):
    return run_in_phases([sys.executable, "-c", PROGRAM, str(code)], folder, dict(os.environ), last_lines)


def test_each_phase_has_the_time_up_to_its_line(tmp_path):
    start, training, end = phases(tmp_path, LAST_LINES)
    assert [start.name, training.name, end.name] == ["start", "training", "end"]
    assert start.cpu_seconds < 0.7
    assert 0.6 <= training.cpu_seconds < 1.5  # a child's; up to 0.1 s is not seen, more on a busy machine
    assert end.seconds >= 1
    assert end.cpu_seconds < 0.3


def test_a_phase_without_its_line_is_named(tmp_path):
    with pytest.raises(ValueError, match="but scoring had none like 'scored'"):
        phases(tmp_path, LAST_LINES | {"scoring": "scored"})


def test_a_failed_command_gives_no_figures(tmp_path):
    with pytest.raises(subprocess.CalledProcessError):
        phases(tmp_path, LAST_LINES, code=1)
