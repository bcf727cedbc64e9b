"""A lock that the database frees when the connection of its driver ends: PostgreSQL's advisory lock."""

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

_TAKE = text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))")


class AdvisoryLock:
    """A lock of this process on a name; only PostgreSQL has one that suits.

    It has a connection of its own, outside the engine's pool. PostgreSQL frees the lock when this connection ends, also
    if the process is killed.
    """

    def __init__(self, engine: Engine, name: str):
        self._engine = engine
        self._name = name
        self._connection: Connection | None = None

    def take(self) -> bool:
        """Take the lock, over a new connection if the last one has ended.

        Returns:
            Whether this process holds the lock now; always False for other databases.

        Raises:
            SQLAlchemyError: The database cannot be reached.
        """
        if self._engine.dialect.name != "postgresql":
            return False
        if self._connection is not None:
            try:
                return self._take(self._connection)
            except SQLAlchemyError:
                self.close()
        self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._connection.detach()
        return self._take(self._connection)

    def _take(self, connection: Connection) -> bool:
        return bool(connection.execute(_TAKE, {"name": f"tune-run {self._name}"}).scalar())

    def close(self) -> None:
        """End the connection, and with it the lock."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
