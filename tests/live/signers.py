# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The programs that sign images: cosign 2, cosign 3 and notation."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from cluster import newer_debian, programs
from signatures.deployment import Deployment
from signatures.server import identity_token, serving

VERSIONS = (2, 3)
_LOG_FLAGS = {
    2: ["--tlog-upload=false"],
    3: ["--tlog-upload=false", "--use-signing-config=false"],
}
"""The flags for signatures without a transparency log."""


def cosign(version: int) -> Path:
    """Return the path of a version of cosign."""
    return newer_debian.program("cosign") if version == 2 else programs.ensure(["cosign"])["cosign"].resolve()


class CosignSigner:
    """A version of cosign with a key pair, that signs images without the internet.

    Args:
        folder: A new folder for the keys.
        version: The major version.
    """

    def __init__(self, folder: Path, version: int) -> None:
        folder.mkdir()
        self.folder = folder
        self._version = version
        self.run("generate-key-pair")

    @property
    def key(self) -> str:
        """The path of the public key."""
        return str(self.folder / "cosign.pub")

    def sign(self, image: str, *flags: str) -> None:
        """Sign an image with the key, without a transparency log."""
        self.run("sign", "--yes", "--key=cosign.key", *_LOG_FLAGS[self._version], *flags, image)

    def sign_as(self, image: str, identity: str, deployment: Deployment) -> None:
        """Sign an image with a certificate of a deployment for an identity."""
        deployment.write_keys(self.folder)
        flags = ["--yes", f"--identity-token={identity_token(identity)}"]
        if self._version > 2:
            self.create_trusted_root(deployment)
            flags += ["--use-signing-config=false", "--trusted-root=trusted_root.json"]
        with serving(deployment) as url:
            self.run("sign", *flags, f"--fulcio-url={url}", f"--rekor-url={url}", image)

    def create_trusted_root(self, deployment: Deployment) -> str:
        """Write the trusted root of a deployment with cosign 3, and return its path."""
        deployment.write_keys(self.folder)
        start = "start-time=2026-01-01T00:00:00Z"
        services = [
            f"--fulcio=url=https://fulcio.example.com,certificate-chain=fulcio.pem,{start}",
            f"--rekor=url=https://rekor.example.com,public-key=rekor.pub,{start}",
            f"--ctfe=url=https://ctfe.example.com,public-key=ctfe.pub,{start}",
        ]
        self.run("trusted-root", "create", *services, "--out=trusted_root.json", version=3)
        return str(self.folder / "trusted_root.json")

    def run(self, *arguments: str, version: int = 0) -> str:
        """Run cosign and return its output."""
        environment = {
            **os.environ,
            "COSIGN_PASSWORD": "",
            "HOME": str(self.folder),
            "SIGSTORE_REKOR_PUBLIC_KEY": str(self.folder / "rekor.pub"),
            "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE": str(self.folder / "ctfe.pub"),
            "SIGSTORE_ROOT_FILE": str(self.folder / "fulcio.pem"),
        }
        command = [str(cosign(version or self._version)), *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=environment, check=True, capture_output=True, text=True
        ).stdout


def sign_with_notation(image: str, folder: Path) -> None:
    """Sign an image with notation and a new key."""
    program = str(programs.ensure(["notation"])["notation"])
    environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config")}
    for arguments in (["cert", "generate-test", "--default", "example.com"], ["sign", "--insecure-registry", image]):
        subprocess.run([program, *arguments], env=environment, check=True, capture_output=True)
