"""A temporary PostgreSQL server with a password, from Debian's package."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.services import free_port

USER, PASSWORD = "tune-run", "the database's secret"


def binaries():
    """Return the folder with the programs of the newest PostgreSQL, or None."""
    installed = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(installed, key=lambda file: int(file.parts[-3]), default=shutil.which("initdb"))
    return newest and Path(newest).parent


class Postgres:
    """A PostgreSQL server in a private folder. Clients find it by the variables in ``environment``."""

    def __init__(self, *databases):
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._data = self._folder / "data"
        (self._folder / "password").write_text(PASSWORD)
        self._account = "postgres" if os.getuid() == 0 else None  # PostgreSQL refuses to run as root
        if self._account:
            owner = pwd.getpwnam(self._account)
            for place in (self._folder, self._folder / "password"):
                os.chown(place, owner.pw_uid, owner.pw_gid)
        port = free_port()
        self.environment = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": USER, "PGPASSWORD": PASSWORD}
        login = ["--username", USER, "--auth", "scram-sha-256", "--pwfile", self._folder / "password"]
        self._run("initdb", "--pgdata", self._data, "--encoding", "UTF8", "--no-sync", *login)
        settings = f"-h 127.0.0.1 -p {port} -k {self._folder}"
        self._run("pg_ctl", "start", "--wait", "-D", self._data, "-o", settings, "-l", self._folder / "log")
        for database in databases:
            self.create(database)

    def create(self, database):
        self._run("createdb", database)

    def stop(self):
        self._run("pg_ctl", "stop", "--wait", "-D", self._data, "-m", "immediate")
        shutil.rmtree(self._folder)

    def _run(self, program, *arguments):
        done = subprocess.run(
            [binaries() / program, *arguments],
            user=self._account,
            group=self._account,
            extra_groups=[] if self._account else None,
            cwd="/",
            env=os.environ | self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert done.returncode == 0, done.stderr
