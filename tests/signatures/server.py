# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The HTTP services of a Sigstore deployment with which cosign signs: Fulcio and Rekor."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key

from .deployment import ISSUER, Deployment, encode


def identity_token(identity: str) -> str:
    """Return an OpenID Connect token for an identity; its signature is not valid, and nobody checks it."""
    now = int(datetime.now(timezone.utc).timestamp())
    claims = {"iss": ISSUER, "sub": identity, "aud": "sigstore", "iat": now, "nbf": now, "exp": now + 600}
    parts = (json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT"}, claims))
    encoded = [base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (*parts, b"signature")]
    return ".".join(encoded)


@contextmanager
def serving(deployment: Deployment) -> Iterator[str]:
    """Serve the API of a deployment on the loopback interface, and return its URL."""
    handler = type("Handler", (_Handler,), {"deployment": deployment})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    deployment: ClassVar[Deployment]

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/api/v1/signingCert":
            # cosign 2 requests the certificates as PEM.
            self._respond("application/pem-certificate-chain", "".join(self._issue(request["publicKey"])).encode())
        elif self.path == "/api/v2/signingCert":
            chain = {"certificates": self._issue(request["publicKeyRequest"]["publicKey"])}
            self._respond(
                "application/json", json.dumps({"signedCertificateEmbeddedSct": {"chain": chain}}).encode(), 200
            )
        else:
            entries = self._log(request)
            self._respond("application/json", json.dumps(entries).encode(), name=next(iter(entries)))

    def _respond(self, media_type: str, content: bytes, status: int = 201, name: str = "") -> None:
        self.send_response(status)
        self.send_header("ETag", name)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _issue(self, requested: dict[str, str]) -> list[str]:
        """Return the certificate of a public key for the identity in the request's token, and the authority's."""
        token = self.headers["Authorization"].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        content = requested["content"]
        pem = content.encode() if content.startswith("-----") else base64.b64decode(content)
        public = load_pem_public_key(pem)
        assert isinstance(public, ec.EllipticCurvePublicKey)
        now = datetime.now(timezone.utc).replace(microsecond=0)
        certificate = self.deployment.certify(public, claims["sub"], at=now)
        return [each.public_bytes(Encoding.PEM).decode() for each in (certificate, self.deployment.authority)]

    def _log(self, request: dict[str, Any]) -> dict[str, Any]:
        """Add a proposed entry to the log, and return it."""
        entry = self.deployment.log_body(_stored(request), int(datetime.now(timezone.utc).timestamp()))
        proof = {
            "checkpoint": entry.checkpoint,
            "hashes": [],
            "logIndex": 0,
            "rootHash": entry.root.hex(),
            "treeSize": 1,
        }
        value = {
            "body": encode(entry.body),
            "integratedTime": entry.time,
            "logID": entry.log.hex(),
            "logIndex": entry.index,
            "verification": {"signedEntryTimestamp": encode(entry.promise), "inclusionProof": proof},
        }
        return {entry.root.hex(): value}

    def log_message(self, *_args: Any) -> None:
        """Log nothing."""


def _stored(request: dict[str, Any]) -> bytes:
    """Return the body that Rekor stores for a proposed entry."""
    if request["kind"] == "dsse":
        content = request["spec"]["proposedContent"]
        signed = json.loads(content["envelope"])
        payload = base64.b64decode(signed["payload"])
        request["spec"] = {
            "envelopeHash": {"algorithm": "sha256", "value": hashlib.sha256(content["envelope"].encode()).hexdigest()},
            "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
            "signatures": [
                {"signature": signed["signatures"][0]["sig"], "verifier": verifier} for verifier in content["verifiers"]
            ],
        }
    return json.dumps(request, separators=(",", ":"), sort_keys=True).encode()
