"""The data folder and its lock."""

from __future__ import annotations

import os
from pathlib import Path

from filelock import FileLock, Timeout

from errors import ConfigurationError, LibraryLocked


class DataFolder:
    """An open data folder, locked by this process until `close`."""

    def __init__(self, path: Path, lock: FileLock) -> None:
        self.path, self.lock = path, lock
        self.database, self.chroma, self.uploads = path / "gestalt.db", path / "chroma", path / "uploads"
        self.secret = path / "secret.key"
        """Opens the keys of servers that the database holds."""

    @classmethod
    def open(cls, path: Path) -> DataFolder:
        """Create the folder if it is missing, and lock it. Raises ConfigurationError, LibraryLocked."""
        try:
            (path / "uploads").mkdir(parents=True, exist_ok=True)
            probe = path / f".write-test-{os.getpid()}"
            probe.touch()
            probe.unlink()
            # Chroma returns wrong results to a second process.
            lock = FileLock(path / "gestalt.lock", timeout=0, thread_local=False)
            lock.acquire()
        except Timeout:
            raise LibraryLocked(
                f"Another Gestalt process has the data folder {path} open.",
                "Stop the running app first, or do this on its pages.",
            ) from None
        except OSError as error:
            raise ConfigurationError(
                f"The data folder {path} cannot be written: {error.strerror or error}.",
                "Correct its permissions, or set another folder in GESTALT_DATA_DIR.",
            ) from error
        return cls(path, lock)

    def close(self) -> None:
        """Release the lock."""
        self.lock.release()
