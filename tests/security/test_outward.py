"""Connections to another machine are seen, wherever the program runs.

The end-to-end test of a search asserts that no command opens one unless its data, weights or servers are there.
Python's audit hooks see every connection and every name look-up of Python code, also in Ray's workers. Connections of
compiled code are not seen; ``test_ports.py`` looks at Ray's.
"""

import subprocess

import pytest

from tests.searches import command, environment, search

pytestmark = pytest.mark.ray

SEEN = "socket.connect 192.0.2.1"


def seen(folder):
    return [line.split(" by ")[0] for line in (folder / "outward").read_text().splitlines()]


def test_a_connection_of_a_program_is_seen(tmp_path):
    subprocess.run(command(module="tests.security.outward_program"), env=environment(tmp_path), check=True)
    assert seen(tmp_path) == [SEEN]


@pytest.mark.slow
def test_a_connection_of_a_command_in_a_fork_is_seen(tmp_path):
    search(tmp_path, module="tests.security.outward_program", code=1)  # its main returns, which a command's does not
    assert seen(tmp_path) == [SEEN]
