"""Code that makes a folder when it is unpickled, imported or started, so that tests find out if it has run."""

import os
import pickle
from pathlib import Path


class Payload:
    """Unpickling makes the folder ``marker``."""

    def __init__(self, marker: Path):
        self._marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self._marker),)

    def pickled(self) -> bytes:
        return pickle.dumps(self)

    def source(self) -> str:
        """As a module."""
        return f"import os\nos.makedirs({str(self._marker)!r}, exist_ok=True)\n"
