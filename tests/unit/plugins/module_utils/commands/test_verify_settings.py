# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The option ``verify`` is read before any request is sent; a policy that cannot be used is an error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.image_settings import PUSH_ARGUMENT_SPEC
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import InputError
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from signatures.deployment import ISSUER, Deployment
from unit.plugins.module_utils.support.images import Image, write_layout
from unit.plugins.module_utils.support.registry_server import RegistryServer
from unit.plugins.module_utils.support.settings import push_settings
from unit.plugins.module_utils.support.signed_images import key_pair
from unit.plugins.module_utils.support.upstream_servers import error_of

Push = Callable[..., dict[str, Any]]
PEM = serialization.Encoding.PEM
PUBLIC = serialization.PublicFormat.SubjectPublicKeyInfo


def read(*policies: dict[str, Any]) -> Any:
    """Return the policies of a task."""
    return push_settings("busybox", verify=list(policies)).sources.verify


def identity_in(folder: Path, value: Any, **more: Any) -> dict[str, Any]:
    """Return a policy with an identity, and a trusted root in a file."""
    path = folder / "trusted_root.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return {"match": "*", "identity": ".*", "issuer": ISSUER, "trusted_root": str(path), **more}


def test_policies_keep_their_order(tmp_path: Path) -> None:
    pair = key_pair(tmp_path / "team.pub")

    policies = read(
        {"match": "registry.example.com/*", "cosign_key": str(pair.public)},
        {**identity_in(tmp_path, Deployment().trusted_root), "match": "docker.io/*"},
        {"match": "*", "allow": "unsigned"},
    )

    assert [policy.match for policy in policies] == ["registry.example.com/*", "docker.io/*", "*"]
    texts = [str(policy.requirement) for policy in policies]
    assert texts == [
        f"a signature with the key {pair.public}",
        f"a signature of the identity .* from {ISSUER}",
        "None",
    ]


def test_missing_option_checks_nothing() -> None:
    assert push_settings("busybox").sources.verify is None


def test_empty_list_of_policies_is_error() -> None:
    with pytest.raises(InputError, match="verify has no policy"):
        read()


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"match": "*"}, "one of the following is required: cosign_key, identity, allow"),
        ({"match": "*", "allow": "unsigned", "cosign_key": "k"}, "parameters are mutually exclusive"),
        ({"match": "*", "identity": "a"}, "parameters are required together: identity, issuer, trusted_root"),
        ({"match": "*", "cosign_key": "k", "issuer": "a"}, "required together: identity, issuer, trusted_root"),
        ({"match": "*", "allow": "everything"}, "value of allow must be one of: unsigned"),
        ({"allow": "unsigned"}, "missing required arguments: match"),
    ],
)
def test_incomplete_policy_is_error(policy: dict[str, Any], message: str) -> None:
    result = ArgumentSpecValidator(PUSH_ARGUMENT_SPEC).validate({"images": ["busybox"], "verify": [policy]})

    assert any(message in text for text in result.error_messages)


@pytest.mark.parametrize("name", ["match", "issuer", "identity"])
def test_empty_value_is_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"verify\[0\] is not a policy: {name} is empty"):
        read({**identity_in(tmp_path, Deployment().trusted_root), name: ""})


def test_policy_without_effect_is_error() -> None:
    with pytest.raises(InputError, match=r"verify\[0\] is not a policy: match 'busybox' matches no name"):
        read({"match": "busybox", "allow": "unsigned"}, {"match": "*", "allow": "unsigned"})


def test_missing_key_is_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"verify\[1\] .*missing\.pub cannot be read: No such file or directory"):
        read({"match": "a", "allow": "unsigned"}, {"match": "*", "cosign_key": str(tmp_path / "missing.pub")})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not a public key in PEM format"),
        (b"\0" * 70000, "is not a public key in PEM format"),
        (b"$ANSIBLE_VAULT;1.1;AES256\n6162", "is encrypted by Ansible Vault"),
        (
            ec.generate_private_key(ec.SECP256R1()).private_bytes(
                PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            "is not a public key in PEM format",
        ),
        (
            x25519.X25519PrivateKey.generate().public_key().public_bytes(PEM, PUBLIC),
            "is not a key for ECDSA, Ed25519 or RSA",
        ),
        (
            rsa.generate_private_key(65537, 1024).public_key().public_bytes(PEM, PUBLIC),  # noqa: S505
            "less than 2048 bits",
        ),
    ],
    ids=["empty", "large", "vault", "private", "x25519", "short"],
)
def test_unusable_key_is_error(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "key.pub"
    path.write_bytes(content)

    with pytest.raises(InputError, match=reason):
        read({"match": "*", "cosign_key": str(path)})


def test_key_needs_library_cryptography(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = key_pair(tmp_path / "team.pub")
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)

    with pytest.raises(InputError, match=r"needs the Python library cryptography .* Install it there"):
        read({"match": "*", "cosign_key": str(pair.public)})


def test_allowed_unsigned_images_need_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)

    assert read({"match": "*", "allow": "unsigned"})[0].requirement is None


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("no JSON", "trusted_root.json"),
        ({"mediaType": "application/json"}, "is not a trusted root of Sigstore"),
        (
            {"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1", "tlogs": [{}]},
            "has no certificate authority",
        ),
        (
            {
                "mediaType": "application/vnd.dev.sigstore.trustedroot.v0.2+json",
                "certificateAuthorities": [{}],
            },
            "has neither a transparency log nor a timestamp authority",
        ),
    ],
)
def test_unusable_trusted_root_is_error(tmp_path: Path, value: Any, reason: str) -> None:
    with pytest.raises(InputError, match=rf"verify\[0\] is not a policy: .*{reason}"):
        read(identity_in(tmp_path, value))


def test_missing_trusted_root_is_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file or directory"):
        read({**identity_in(tmp_path, {}), "trusted_root": str(tmp_path / "missing")})


def test_invalid_regular_expression_is_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the identity '\(a' is not a regular expression"):
        read(identity_in(tmp_path, Deployment().trusted_root, identity="(a"))


def test_regular_expression_cannot_leave_its_group(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a regular expression"):
        read(identity_in(tmp_path, Deployment().trusted_root, identity="a)|(.*"))


def test_push_allows_unsigned_image_if_policy_says_so(
    push: Push, server: RegistryServer, image: Image, tmp_path: Path
) -> None:
    layout = write_layout(tmp_path / "layout", {"docker.io/team/app:1": image})

    result = push(f"oci:{layout}", verify=[{"match": "docker.io/team/*", "allow": "unsigned"}])

    assert server.digest_of("team/app", "1") == image.digest
    assert "verified" not in result["images"][0]


def test_push_rejects_image_without_policy(push: Push, server: RegistryServer, image: Image, tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "layout", {"docker.io/team/app:1": image})

    result = push(f"oci:{layout}", verify=[{"match": "registry.example.com/*", "allow": "unsigned"}])

    assert "no policy of verify matches docker.io/team/app:1" in error_of(result)
    assert server.manifests == {}


def test_push_selects_policy_by_name_at_destination(
    push: Push, server: RegistryServer, image: Image, tmp_path: Path
) -> None:
    # A medium cannot select a weaker policy for an image by the name that it states.
    layout = write_layout(tmp_path / "layout", {"anything.example.com/app:1": image})
    entry = {"source": f"oci:{layout}", "name": "registry.example.com/team/app:1"}
    policies = [
        {"match": "registry.example.com/team/*", "cosign_key": str(key_pair(tmp_path / "team.pub").public)},
        {"match": "*", "allow": "unsigned"},
    ]

    result = push(entry, verify=policies)

    assert "is not signed: the policy 'registry.example.com/team/*'" in error_of(result)
    assert server.manifests == {}
