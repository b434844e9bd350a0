# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Invalid lists of referrers are rejected after few requests."""

from __future__ import annotations

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.oci.manifest import OCI_INDEX
from unit.plugins.module_utils.support.images import Image, make_image
from unit.plugins.module_utils.support.registry_server import RegistryServer, Response
from unit.plugins.module_utils.support.upstream_servers import settings

from .test_referrer_jobs import Push, entry_with_referrers, referrers_index


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("/v2/secrets", "is not part of the list"),
        ("https://elsewhere.example.com/v2/x", "is not part of the list"),
        ("https://a]b/v2/x", "is not part of the list"),
        ("?again", "returned too many pages or entries"),
    ],
)
def test_push_rejects_next_page_with_invalid_link(
    push: Push, upstream: RegistryServer, image: Image, link: str, message: str
) -> None:
    upstream.fill("team/app", "1", image)
    headers = {"Content-Type": OCI_INDEX, "Link": f'<{link}>; rel="next"'}
    upstream.fail("GET", "/referrers/", Response(200, headers, referrers_index()))

    result = push(entry_with_referrers(upstream), upstreams=settings(upstream))

    assert [bool(each.get("error")) for each in result["images"]] == [False, True]
    assert message in result["msg"]
    requests = upstream.received("GET")
    assert not any("secrets" in request for request in requests)
    assert sum("/referrers/" in request for request in requests) <= 2


def test_push_rejects_list_of_referrers_with_too_many_bytes(push: Push, upstream: RegistryServer, image: Image) -> None:
    upstream.fill("team/app", "1", image)
    headers = {"Content-Type": OCI_INDEX, "Link": '<?again>; rel="next"'}
    large = make_image(subject=image.root.to_json(), annotations={"a": "a" * 4_000_000})
    upstream.fail("GET", "/referrers/", Response(200, headers, referrers_index(large)))

    result = push(entry_with_referrers(upstream), upstreams=settings(upstream))

    assert "returned too many pages or entries" in result["msg"]
    assert sum("/referrers/" in request for request in upstream.received("GET")) == 3


def test_push_error_names_invalid_referrers_index(push: Push, upstream: RegistryServer, image: Image) -> None:
    upstream.fill("team/app", "1", image)
    upstream.fail("GET", "/referrers/", Response(200, {"Content-Type": OCI_INDEX}, b'{"manifests": [{}]}'))

    result = push(entry_with_referrers(upstream), upstreams=settings(upstream))

    assert "the referrers of" in result["msg"]
