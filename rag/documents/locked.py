"""Office documents with a password: unlocked in memory, then read as what they are.

It must not know of the formats inside.
"""

from __future__ import annotations

import io
from functools import cache

from rag.documents.source import Pages, Source

_EXCELS_OWN = "VelvetSweatshop"
"""With it Excel encrypts a workbook that is only protected against changes; it is no secret."""


def read_locked(source: Source) -> Pages:
    """The document inside, once the password has opened it.

    Raises:
        PasswordRequired: no password was given, or a wrong one.
    """
    yield from source.read_inside(unlock(source))


def unlock(source: Source) -> bytes:
    """The bytes of the document without its encryption.

    Raises:
        PasswordRequired: no password was given, or a wrong one.
    """
    import msoffcrypto
    from msoffcrypto.exceptions import DecryptionError, InvalidKeyError

    _pad_short_keys()
    for password in filter(None, (_EXCELS_OWN, source.password)):
        unlocked = io.BytesIO()
        with source.path.open("rb") as file:
            document = msoffcrypto.OfficeFile(file)
            try:
                document.load_key(password=password)
                document.decrypt(unlocked)
            except (InvalidKeyError, DecryptionError):
                continue
        # Old ciphers have no check of their own: a wrong key gives noise.
        if unlocked.getvalue().startswith((b"PK", b"\xd0\xcf\x11\xe0")):
            return unlocked.getvalue()
    raise source.locked()


@cache
def _pad_short_keys() -> None:
    """A hash shorter than the key is filled up with 0x36 (MS-OFFCRYPTO 2.3.4.11), which msoffcrypto 6.1 leaves out."""
    from msoffcrypto.method.ecma376_agile import ECMA376Agile

    derive = ECMA376Agile._derive_encryption_key

    def padded(h: bytes, block_key: bytes, algorithm: str, bits: int) -> bytes:
        return bytes(derive(h, block_key, algorithm, bits)).ljust(bits // 8, b"\x36")

    ECMA376Agile._derive_encryption_key = staticmethod(padded)
