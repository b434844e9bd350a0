# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signatures with unexpected values are rejected with a reason, and never accepted or an unexpected exception."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.descriptor import Descriptor
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.digest import digest_of
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.signatures.bundle import read_bundle
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.signatures.signature import (
    InvalidSignatureError,
    Signature,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.signatures.simple_signing import read_payload
from hypothesis import given, settings
from hypothesis import strategies as st
from signatures.deployment import Deployment, encode
from signatures.formats import (
    LOG_ENTRY,
    SIMPLE_SIGNING,
    certificate_annotations,
    certificate_bundle,
    envelope,
    payload,
    statement,
)
from unit.plugins.module_utils.support.fuzzing import EXAMPLES, fuzzed

DIGEST = f"sha256:{'a' * 64}"
OTHER = f"sha256:{'b' * 64}"
DEPLOYMENT = Deployment()
SIGNER = DEPLOYMENT.issue("me@example.com")
BUNDLE = certificate_bundle(statement(DIGEST), SIGNER, DEPLOYMENT)
ANNOTATIONS = certificate_annotations(payload(DIGEST), SIGNER, DEPLOYMENT)
examples = settings(fuzzed, max_examples=EXAMPLES or 50)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.lists(st.one_of(st.none(), st.text(max_size=5), st.just({})), max_size=3),
    st.dictionaries(st.text(max_size=5), st.one_of(st.none(), st.text(max_size=5), st.just([])), max_size=3),
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values in a JSON document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(inner for key, item in items for inner in paths(item, (*path, key)))]


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a copy of a JSON document with another value at a path."""
    if not path:
        return value
    changed = copy.deepcopy(document)
    parent = changed
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return changed


def bundle_signature(content: Any) -> Signature | None:
    """Return the signature in a bundle; ``None`` if there is none."""
    try:
        return read_bundle(json.dumps(content).encode(), "the referrer")
    except InvalidSignatureError:
        return None


def payload_signature(content: bytes, annotations: dict[str, str]) -> Signature | None:
    """Return the signature of a payload; ``None`` if there is none."""
    layer = Descriptor(SIMPLE_SIGNING, digest_of(content), len(content), annotations)
    try:
        return read_payload(layer, content, "the tag")
    except InvalidSignatureError:
        return None


@given(path=st.sampled_from(paths(BUNDLE)), value=VALUES)
@examples
def test_changed_bundle_is_rejected_or_covers_its_statement(path: tuple[Any, ...], value: Any) -> None:
    signature = bundle_signature(replaced(BUNDLE, path, value))

    # A change of the payload changes the signed message too, which no key has signed.
    assert signature is None or signature.digests == {DIGEST}


@given(path=st.sampled_from(paths(json.loads(statement(DIGEST)))), value=VALUES)
@examples
def test_changed_statement_is_read_or_rejected(path: tuple[Any, ...], value: Any) -> None:
    content = json.dumps(replaced(json.loads(statement(DIGEST)), path, value)).encode()

    bundle_signature({**BUNDLE, "dsseEnvelope": envelope(content, SIGNER)})


@given(path=st.sampled_from(paths(json.loads(payload(DIGEST)))), value=VALUES)
@examples
def test_changed_payload_is_read_or_rejected(path: tuple[Any, ...], value: Any) -> None:
    payload_signature(json.dumps(replaced(json.loads(payload(DIGEST)), path, value)).encode(), ANNOTATIONS)


@given(path=st.sampled_from(paths(json.loads(ANNOTATIONS[LOG_ENTRY]))), value=VALUES)
@examples
def test_changed_log_entry_is_read_or_rejected(path: tuple[Any, ...], value: Any) -> None:
    entry = json.dumps(replaced(json.loads(ANNOTATIONS[LOG_ENTRY]), path, value))

    payload_signature(payload(DIGEST), {**ANNOTATIONS, LOG_ENTRY: entry})


@given(name=st.sampled_from(sorted(ANNOTATIONS)), value=st.text(max_size=50))
@examples
def test_changed_annotation_is_read_or_rejected(name: str, value: str) -> None:
    payload_signature(payload(DIGEST), {**ANNOTATIONS, name: value})


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_deeply_nested_content_is_rejected(opening: str) -> None:
    content = (opening * 500_000).encode()

    assert payload_signature(content, ANNOTATIONS) is None
    with pytest.raises(InvalidSignatureError):
        read_bundle(content, "the referrer")


def test_bundle_with_several_signatures_is_rejected() -> None:
    signed = envelope(statement(DIGEST), SIGNER)
    signed["signatures"] *= 2

    assert bundle_signature({**BUNDLE, "dsseEnvelope": signed}) is None


def test_statement_of_another_type_is_rejected() -> None:
    signed = envelope(statement(DIGEST), SIGNER, kind="application/json")

    assert bundle_signature({**BUNDLE, "dsseEnvelope": signed}) is None


def test_payload_of_another_type_is_rejected() -> None:
    content = payload(DIGEST).replace(b"cosign container image signature", b"atomic container signature")

    assert payload_signature(content, ANNOTATIONS) is None


def test_statement_names_digests_of_all_subjects() -> None:
    value = json.loads(statement(DIGEST))
    value["subject"].append({"digest": {"sha256": "b" * 64}})
    signed = envelope(json.dumps(value).encode(), SIGNER)

    signature = bundle_signature({**BUNDLE, "dsseEnvelope": signed})

    assert signature
    assert signature.digests == {DIGEST, OTHER}


def test_message_of_statement_is_encoded_as_in_dsse() -> None:
    # The example of the DSSE specification, with the payload type of statements.
    content = statement(DIGEST)

    signature = bundle_signature(BUNDLE)

    assert signature
    assert signature.message == b"DSSEv1 28 application/vnd.in-toto+json " + str(len(content)).encode() + b" " + content
    assert encode(signature.value) == BUNDLE["dsseEnvelope"]["signatures"][0]["sig"]
