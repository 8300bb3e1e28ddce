"""Ed25519 signatures of bundles, by which a robot knows who vouches for a model before it runs it.

The signature covers the bundle's id, which is the hash of everything in the bundle (fosp_core.bundle.bundle). It lies
beside the manifest in signature.json. The robot file names the public keys that the robot trusts. The library for it is
loaded when a signature is made or checked, because most nodes never do.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fosp_core.errors import UserError
from fosp_core.specs import Spec, parse_spec

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE = "signature.json"
KEY_PREFIX = "ed25519:"
"""Start of a public key as text: `ed25519:` and 32 bytes in base64."""
_CONTEXT = b"fosp bundle id, version 1: "
"""Prefix of the signed message, so that a signature made for anything else does not hold for a bundle."""
MAX_SIGNATURE_BYTES = 4096


class Signature(Spec):
    """Content of signature.json."""

    public_key: str
    """Public key of the signer. It says which key was used, and proves nothing."""
    signature: str
    """Signature, 64 bytes in base64."""


def generate_key(path: Path) -> str:
    """Write a new private key (PEM, readable by its owner alone) to `path`, and return the public key as text.

    Raise UserError when `path` exists already, because an overwritten key cannot be recovered.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = Ed25519PrivateKey.generate()
    content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
    except FileExistsError:
        raise UserError(f"{path}: exists already; choose another name, or remove it if no robot trusts it") from None
    except OSError as error:
        raise UserError(f"{path}: cannot write the key: {error.strerror or error}") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return public_text(key.public_key())


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Return the private key in a file that only its owner can read; raise UserError for any other file."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise UserError(f"{path}: others may read this private key; run: chmod 600 {path}")
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; make a key with: fosp bundle keygen") from None
    except (ValueError, TypeError):
        raise UserError(f"{path}: no unencrypted private key in PEM; make one with: fosp bundle keygen") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UserError(f"{path}: not an Ed25519 key; make one with: fosp bundle keygen")
    return key


def public_text(key: Ed25519PublicKey) -> str:
    """Return a public key as text, in the form that robot files hold."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return KEY_PREFIX + base64.b64encode(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def public_key(text: str) -> Ed25519PublicKey:
    """Return the public key that `public_text` wrote; raise ValueError for any other text."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        return Ed25519PublicKey.from_public_bytes(_decoded(text.removeprefix(KEY_PREFIX), 32))
    except ValueError:
        raise ValueError(f"'{text[:60]}' is no public key; it must be {KEY_PREFIX} and 32 bytes in base64") from None


def sign_id(directory: Path, bundle_id: str, key: Ed25519PrivateKey) -> Signature:
    """Write the signature of a bundle's id into its folder, in one rename, in place of an earlier one.

    The caller must have verified that `bundle_id` is the id of the bundle in `directory`.
    """
    signed = Signature(
        public_key=public_text(key.public_key()),
        signature=base64.b64encode(key.sign(_message(bundle_id))).decode(),
    )
    temporary = directory / f".{SIGNATURE}"
    try:
        temporary.write_text(json.dumps(signed.model_dump(), indent=2) + "\n")
        temporary.replace(directory / SIGNATURE)
    except OSError as error:
        raise UserError(f"{directory}: cannot write {SIGNATURE}: {error.strerror or error}") from None
    return signed


def require_signature(directory: Path, bundle_id: str, trusted: Sequence[str]) -> str:
    """Return the trusted public key that signed `bundle_id`; raise UserError when there is none.

    Every key of `trusted` (public keys as text) is tried, because signature.json may lie about its signer.
    """
    from cryptography.exceptions import InvalidSignature

    path = directory / SIGNATURE
    if not path.is_file() or path.is_symlink():
        raise UserError(f"{directory}: is not signed, and this robot loads only signed bundles; run: fosp bundle sign")
    try:
        if path.stat().st_size > MAX_SIGNATURE_BYTES:
            raise UserError(f"{path}: larger than a signature may be")
        found = parse_spec(Signature, json.loads(path.read_bytes()), str(path))
        signature = _decoded(found.signature, 64)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path}: is damaged; sign the bundle again") from None
    for text in trusted:
        try:
            public_key(text).verify(signature, _message(bundle_id))
        except (InvalidSignature, ValueError):
            continue
        return text
    if found.public_key in trusted:
        raise UserError(f"{directory}: its signature is not of this content; sign the bundle again")
    raise UserError(f"{directory}: is signed with {found.public_key[:60]}, which this robot does not trust")


def _message(bundle_id: str) -> bytes:
    return _CONTEXT + bundle_id.encode()


def _decoded(text: str, size: int) -> bytes:
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not base64") from None
    if len(content) != size:
        raise ValueError(f"{len(content)} bytes instead of {size}")
    return content
