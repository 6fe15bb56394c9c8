"""The data folder: where things lie, and who has it open. Knows nothing of what is in the files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from errors import ConfigurationError, LibraryLocked


@dataclass(frozen=True, slots=True)
class DataFolder:
    """An open data folder, this process's alone until `close`."""

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
        """The originals, each named by its sha256."""
        return self.path / "uploads"

    @classmethod
    def open(cls, path: Path) -> DataFolder:
        """Make the folder where it is missing, and lock it.

        An embedded Chroma that two processes have open gives wrong results, so the second is refused.

        Raises:
            ConfigurationError: the folder cannot be written.
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
                "Correct its permissions, or name another folder in GESTALT_DATA_DIR.",
            ) from error
        return cls(path, lock)

    def close(self) -> None:
        """Let another process have it."""
        self.lock.release()
