# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verify signatures with a public key.

The library cryptography verifies them, which ansible-core needs too. The program cosign is not needed for keys.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..files.file_access import read_small
from ..files.vault import reject_vault
from .signature import InvalidSignatureError, Signature

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

_MAXIMUM_SIZE = 64 << 10
_MINIMUM_RSA_BITS = 2048


@dataclass(frozen=True)
class PublicKey:
    """Accepts the signatures of one key; see :class:`Requirement`.

    Attributes:
        path: The key's file.
    """

    path: Path
    key: PublicKeyTypes

    by = "cosign_key"

    @classmethod
    def load(cls, path: Path) -> PublicKey:
        """Read a public key in PEM format.

        Raises:
            InputError: The file is not a supported public key, or the library cryptography is not installed.
        """
        what = f"cosign_key {path}"
        try:
            content = read_small(path, _MAXIMUM_SIZE)
        except OSError as error:
            raise InputError(f"{what} cannot be read: {error.strerror}") from error
        reject_vault(content, what)
        try:
            from cryptography.exceptions import UnsupportedAlgorithm
            from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
            from cryptography.hazmat.primitives.serialization import load_pem_public_key
        except ImportError as error:
            raise InputError(
                f"{what} needs the Python library cryptography on the host that runs the module", "Install it there"
            ) from error
        try:
            key = load_pem_public_key(content)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise InputError(
                f"{what} is not a public key in PEM format", "Give the file cosign.pub of cosign generate-key-pair"
            ) from error
        if not isinstance(key, (ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey, rsa.RSAPublicKey)):
            raise InputError(f"{what} is not a key for ECDSA, Ed25519 or RSA")
        if isinstance(key, rsa.RSAPublicKey) and key.key_size < _MINIMUM_RSA_BITS:
            raise InputError(f"{what} is an RSA key with less than {_MINIMUM_RSA_BITS} bits")
        return cls(path, key)

    def __str__(self) -> str:
        return f"a signature with the key {self.path}"

    def verify(self, signature: Signature, manifest: Callable[[], bytes]) -> None:
        """Check a signature; ``manifest`` is not read."""
        if not any(self._matches(signature, hash_name) for hash_name in ("SHA256", "SHA384", "SHA512")):
            raise InvalidSignatureError("it was made with another key, or it was changed")

    def _matches(self, signature: Signature, hash_name: str) -> bool:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

        # cosign 2 always uses SHA-256; cosign 3 selects the hash by the size of the key.
        algorithm = getattr(hashes, hash_name)()
        try:
            if isinstance(self.key, ec.EllipticCurvePublicKey):
                self.key.verify(signature.value, signature.message, ec.ECDSA(algorithm))
            elif isinstance(self.key, rsa.RSAPublicKey):
                self.key.verify(signature.value, signature.message, padding.PKCS1v15(), algorithm)
            elif isinstance(self.key, ed25519.Ed25519PublicKey):
                self.key.verify(signature.value, signature.message)
            else:
                return False
        except InvalidSignature:
            return False
        return True
