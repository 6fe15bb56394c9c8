"""Decrypt Office documents in memory."""

from __future__ import annotations

import io
from functools import cache

from rag.documents.input_file import InputFile, Pages

_EXCELS_OWN = "VelvetSweatshop"
"""Excel's well-known password for workbooks that are only protected against changes."""


def read_encrypted(source: InputFile) -> Pages:
    """Read the decrypted document, or raise PasswordRequired."""
    yield from source.read_nested(decrypt(source))


def decrypt(source: InputFile) -> bytes:
    """Return the document without its encryption, or raise PasswordRequired."""
    import msoffcrypto
    from msoffcrypto.exceptions import DecryptionError, InvalidKeyError

    _pad_short_keys()
    for password in filter(None, (_EXCELS_OWN, source.password)):
        decrypted = io.BytesIO()
        with source.path.open("rb") as file:
            document = msoffcrypto.OfficeFile(file)
            try:
                document.load_key(password=password)
                document.decrypt(decrypted)
            except (InvalidKeyError, DecryptionError):
                continue
        # Old ciphers cannot tell a wrong key: the result is noise.
        if decrypted.getvalue().startswith((b"PK", b"\xd0\xcf\x11\xe0")):
            return decrypted.getvalue()
    raise source.password_error()


@cache
def _pad_short_keys() -> None:
    """Pad hashes shorter than the key with 0x36 (MS-OFFCRYPTO 2.3.4.11), which msoffcrypto 6.1 does not."""
    from msoffcrypto.method.ecma376_agile import ECMA376Agile

    derive = ECMA376Agile._derive_encryption_key

    def padded(h: bytes, block_key: bytes, algorithm: str, bits: int) -> bytes:
        return bytes(derive(h, block_key, algorithm, bits)).ljust(bits // 8, b"\x36")

    ECMA376Agile._derive_encryption_key = staticmethod(padded)
