"""Encrypts the keys of servers: they stand in the database, and what opens them does not."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from threading import Lock

from cryptography.fernet import Fernet, InvalidToken

from errors import StoreError


class Keys:
    """Encrypts with GESTALT_SECRET_KEY, or with a file of the data folder that only its user can read."""

    def __init__(self, file: Path, secret: str | None = None) -> None:
        """Nothing is read or written yet."""
        self._file, self._secret = file, secret
        self._lock = Lock()

    def encrypt(self, key: str) -> str:
        """Raises StoreError if the file cannot be read or written."""
        return self._fernet().encrypt(key.encode()).decode()

    def decrypt(self, token: str) -> str | None:
        """The key, or None if it was encrypted otherwise, for example before a backup was restored elsewhere."""
        try:
            return self._fernet().decrypt(token.encode()).decode()
        except InvalidToken:
            return None

    def _fernet(self) -> Fernet:
        secret = self._secret.encode() if self._secret else self._from_file()
        return Fernet(base64.urlsafe_b64encode(hashlib.sha256(secret).digest()))

    def _from_file(self) -> bytes:
        with self._lock:
            try:
                if not self._file.exists():
                    self._file.touch(0o600)
                    self._file.write_bytes(Fernet.generate_key())
                return self._file.read_bytes()
            except OSError as error:
                why = f"{self._file} cannot be read or written: {error.strerror}."
                raise StoreError(why, "Check the permissions of the data folder.") from error
