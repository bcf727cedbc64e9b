"""Real servers in their own processes, on a free port of this machine."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import psutil


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Service:
    """A server at ``uri``, run by a command in which the word PORT stands for its port."""

    def __init__(self, log, command, health="/", environment=None):
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._command = [str(self.port) if word == "PORT" else str(word) for word in command]
        self._log, self._health, self._environment = log, health, os.environ | (environment or {})
        self._process = None

    def start(self):
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=subprocess.STDOUT, env=self._environment, start_new_session=True
            )
        while not self._answers():
            assert self._process.poll() is None, self._log.read_text()
            time.sleep(0.2)

    def _answers(self):
        try:
            urllib.request.urlopen(self.uri + self._health, timeout=1)
        except urllib.error.HTTPError:  # such as a server that requires a password
            return True
        except OSError:
            return False
        return True

    def kill(self):
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def processes(self):
        """Return the server's process and all that it started."""
        server = psutil.Process(self._process.pid)
        return [server, *server.children(recursive=True)]
