"""A Ray that a search starts listens to this machine alone: whoever reaches a port of Ray's runs what they like."""

import psutil
import pytest

from tuning.ray_backend.cluster import joined

pytestmark = pytest.mark.ray


def test_nothing_listens_beyond_this_machine():
    with joined("local"):
        process = psutil.Process()
        processes = [process, *process.children(recursive=True)]
        listening = [
            connection.laddr
            for process in processes
            for connection in process.net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        ]
    assert len(listening) >= 4  # the driver, the head's control, its raylet, a worker
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
