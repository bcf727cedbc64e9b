"""A lock that the database frees when its driver's connection ends: PostgreSQL's advisory lock."""

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

_TAKE = text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))")


class AdvisoryLock:
    """A lock of this process on a name. Databases other than PostgreSQL never give it.

    It has a connection of its own, outside the engine's pool. PostgreSQL frees the lock when this connection ends, also
    if the process is killed.
    """

    def __init__(self, engine: Engine, name: str):
        self._engine = engine
        self._name = name
        self._connection: Connection | None = None

    def take(self) -> bool:
        """Take the lock, over a new connection if the last one has ended, and return True if this process has it.

        A server that cannot be reached, has no connection left or no such lock gives False.
        """
        if self._engine.dialect.name != "postgresql":
            return False
        for _ in range(2):  # the second time over a new connection
            try:
                if self._connection is None:
                    self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
                    self._connection.detach()
                return bool(self._connection.execute(_TAKE, {"name": f"tune-run {self._name}"}).scalar())
            except SQLAlchemyError:
                self.close()
        return False

    def close(self) -> None:
        """End the connection, and with it the lock."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
