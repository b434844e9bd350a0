# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verify signatures with certificates of Sigstore by the program cosign, without a network."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, one_line
from ..files.file_access import read_small, write_errors
from ..files.process_group import process_group
from ..files.vault import reject_vault
from ..oci.json_object import json_object
from ..oci.manifest import MAXIMUM_SIZE, load_json_object
from .signature import SHOWN, InvalidSignatureError, Signature

_TRUSTED_ROOT = "application/vnd.dev.sigstore.trustedroot"
_SECONDS = 60.0
"""Seconds for one signature. cosign takes less than one, because it sends no request."""
_NO_PROXY = "http://127.0.0.1:9"
"""An address without a server: a request of cosign would fail, rather than reach the internet."""


@dataclass(frozen=True)
class TrustedRoot:
    """The certificates and keys of a Sigstore deployment that the user trusts.

    Each kind of proof that the file names is required of a signature.

    Attributes:
        path: The file.
        content: Its content when the task began.
    """

    path: Path
    content: bytes
    has_logs: bool
    has_certificate_logs: bool

    @classmethod
    def load(cls, path: Path) -> TrustedRoot:
        """Read a trusted root.

        Raises:
            InputError: The file is not a trusted root.
        """
        what = f"trusted_root {path}"
        advice = "Create it with cosign trusted-root create, or copy the one of your Sigstore deployment"
        try:
            content = read_small(path, MAXIMUM_SIZE)
        except OSError as error:
            raise InputError(f"{what} cannot be read: {error.strerror}", advice) from error
        reject_vault(content, what)
        root = load_json_object(content, what)
        if not str(root.get("mediaType")).startswith(_TRUSTED_ROOT):
            raise InputError(f"{what} is not a trusted root of Sigstore", advice)
        if not root.get("certificateAuthorities"):
            raise InputError(f"{what} has no certificate authority", advice)
        if not root.get("tlogs") and not root.get("timestampAuthorities"):
            raise InputError(
                f"{what} has neither a transparency log nor a timestamp authority, so that it proves no time of a"
                " signature",
                advice,
            )
        return cls(path, content, bool(root.get("tlogs")), bool(root.get("ctlogs")))


@dataclass(frozen=True)
class Identity:
    """Accepts signatures with a certificate for an identity; see :class:`Requirement`.

    Attributes:
        pattern: A regular expression that matches the whole identity.
        issuer: The URL of the identity provider.
    """

    pattern: str
    issuer: str
    trusted_root: TrustedRoot

    by = "identity"

    def __post_init__(self) -> None:
        """Check the pattern.

        Raises:
            InputError: It is not a regular expression.
        """
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise InputError(f"the identity {self.pattern!r:.200} is not a regular expression: {error}") from error

    def __str__(self) -> str:
        return f"a signature of the identity {self.pattern} from {self.issuer}"

    def verify(self, signature: Signature, manifest: Callable[[], bytes]) -> None:
        """Check a signature of an image with this manifest or index.

        Raises:
            InputError: cosign is not installed, or too old.
        """
        if signature.bundle is None:
            raise InvalidSignatureError("it was made with a key and has no certificate")
        content = manifest() if signature.content is None else signature.content
        with tempfile.TemporaryDirectory(prefix="k8scr-") as name, write_errors(f"the folder {name}"):
            folder = Path(name)
            (folder / "bundle.json").write_text(json.dumps(signature.bundle), encoding="utf-8")
            (folder / "trusted_root.json").write_bytes(self.trusted_root.content)
            (folder / "content").write_bytes(content)
            _run_cosign(self._arguments(signature.bundle, folder), folder)

    def _arguments(self, bundle: Any, folder: Path) -> list[str]:
        return [
            "verify-blob",
            "--new-bundle-format",
            f"--bundle={folder / 'bundle.json'}",
            f"--trusted-root={folder / 'trusted_root.json'}",
            f"--certificate-identity-regexp=^(?:{self.pattern})$",
            f"--certificate-oidc-issuer={self.issuer}",
            f"--insecure-ignore-tlog={_flag(not self.trusted_root.has_logs)}",
            f"--insecure-ignore-sct={_flag(not self.trusted_root.has_certificate_logs)}",
            f"--use-signed-timestamps={_flag(not self.trusted_root.has_logs or not _has_log_time(bundle))}",
            str(folder / "content"),
        ]


def _has_log_time(bundle: Any) -> bool:
    """Whether a log entry of a bundle proves a time. Entries of Rekor 2 do not; their bundles have a timestamp."""
    material = json_object(json_object(bundle).get("verificationMaterial"))
    entries = material.get("tlogEntries")
    return isinstance(entries, list) and any(json_object(entry).get("inclusionPromise") for entry in entries)


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _run_cosign(arguments: list[str], folder: Path) -> None:
    program = shutil.which("cosign")
    if program is None:
        raise InputError(
            "the policy of verify has an identity, which needs the program cosign on the host that runs the module",
            "Install cosign 2.5 or later there",
        )
    # Nothing of the user's environment or folders configures this check.
    environment = {
        "PATH": os.defpath,
        "HOME": str(folder),
        "TUF_ROOT": str(folder / "tuf"),
        **dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY"), _NO_PROXY),
    }
    try:
        with process_group([program, *arguments], subprocess.PIPE, subprocess.PIPE, environment, folder) as process:
            _output, messages = process.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{program} did not finish within {_SECONDS:g} s") from error
    except OSError as error:
        raise InputError(f"{program} cannot be started: {error.strerror}", "Install cosign 2.5 or later") from error
    if process.returncode:
        reason = _reason(messages)
        if "unknown flag" in reason or "unknown command" in reason:
            raise InputError(f"{program} is not a supported version: {reason}", "Install cosign 2.5 or later")
        raise InvalidSignatureError(reason)


def _reason(output: bytes) -> str:
    """Return the error in the output of cosign."""
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line[len("Error: ") :] for line in lines if line.startswith("Error: ")]
    text = one_line((errors or lines or ["cosign gave no reason"])[0])
    return f"{text.rstrip('.'):.{SHOWN * 2}}"
