"""The data folder and its lock."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from errors import ConfigurationError, LibraryLocked


@dataclass(frozen=True, slots=True)
class DataFolder:
    """An open data folder, locked by this process until `close`."""

    path: Path
    lock: FileLock

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.path / "gestalt.db"

    @property
    def chroma(self) -> Path:
        """Chroma's folder."""
        return self.path / "chroma"

    @property
    def uploads(self) -> Path:
        """The originals' folder."""
        return self.path / "uploads"

    @classmethod
    def open(cls, path: Path) -> DataFolder:
        """Create the folder if it is missing, and lock it, because Chroma returns wrong results to a second process.

        Raises:
            ConfigurationError: the folder is not writable.
            LibraryLocked: another process has it open.
        """
        try:
            (path / "uploads").mkdir(parents=True, exist_ok=True)
            probe = path / f".write-test-{os.getpid()}"
            probe.touch()
            probe.unlink()
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
