# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A hostile registry: no response leads to a request outside of its Pod."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    ApiServerError,
    ClusterError,
    RegistryError,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.pod_proxy import PodProxyAdapter
from unit.plugins.module_utils.transport.servers import Server, response_bytes

if TYPE_CHECKING:
    from unit.plugins.module_utils.transport.conftest import Connect

PROXY = "/api/v1/namespaces/k8scr/pods/k8scr-0:5000/proxy"
URL = "http://registry.k8scr"
UPLOAD = "/v2/a/blobs/uploads/1"

ATTACKS = {
    "the API's Secrets": "/api/v1/namespaces/default/secrets/x",
    "another Pod": "/api/v1/namespaces/k8scr/pods/other:5000/proxy/v2/",
    "another port": "/api/v1/namespaces/k8scr/pods/k8scr-0:80/proxy/v2/",
    "a sibling of the prefix": f"{PROXY}x/v2/",
    "the prefix alone": PROXY,
    "not below the prefix": "/v2/",
    "dots": f"{PROXY}/v2/../../../../../secrets",
    "one dot": f"{PROXY}/v2/./a",
    "encoded dots": f"{PROXY}/v2/%2e%2e/%2E%2E/secrets",
    "half encoded dots": f"{PROXY}/v2/.%2e/x",
    "dots encoded twice": f"{PROXY}/v2/%252e%252e/x",
    "an encoded slash": f"{PROXY}/v2/..%2fsecrets",
    "a slash encoded twice": f"{PROXY}/v2/a%252fb",
    "an empty segment": f"{PROXY}//v2/",
    "a backslash": f"{PROXY}/v2/..\\..\\secrets",
    "an encoded backslash": f"{PROXY}/v2/..%5csecrets",
    "a control character": f"{PROXY}/v2/\x01",
    "an encoded line break": f"{PROXY}/v2/%0d%0aX: y",
    "a tab, which browsers leave out": f"/\t/evil.example.com{PROXY}/v2/",
    "a letter outside ASCII": f"{PROXY}/v2/\xe9",
    "an encoded letter outside ASCII": f"{PROXY}/v2/%F0%9F%98%80",
    "a broken escape": f"{PROXY}/v2/%zz",
    "a fragment": f"{PROXY}/v2/#x",
    "an encoded fragment": f"{PROXY}/v2/%23x",
    "another host": f"https://evil.example.com{PROXY}/v2/",
    "another host without scheme": f"//evil.example.com{PROXY}/v2/",
    "another scheme": f"ftp://{{host}}{PROXY}/v2/",
    "no host but a scheme": f"file:{PROXY}/v2/",
    "a user name": f"https://evil@{{host}}{PROXY}/v2/",
    "the server as a user name": f"https://{{host}}@evil.example.com{PROXY}/v2/",
    "another port of the host": f"https://127.0.0.1:1{PROXY}/v2/",
    "the host without its port": f"https://127.0.0.1{PROXY}/v2/",
    "no address": "http://[",
    "a relative address": "1?_state=x",
    "nothing": "",
    "two addresses": f"{PROXY}{UPLOAD}, /api/v1/namespaces/default/secrets",
}


@pytest.mark.parametrize("location", ATTACKS.values(), ids=ATTACKS)
def test_location_outside_of_pod_is_rejected(session: requests.Session, api_server: Server, location: str) -> None:
    api_server.reply(response_bytes(202, {"Location": location.format(host=api_server.address)}))

    with pytest.raises(RegistryError, match="the registry in Pod k8scr-0 returned a Location outside of the Pod"):
        session.post(f"{URL}/v2/a/blobs/uploads/")

    assert len(api_server.requests) == 1


LINK_ATTACKS = {name: attack.replace(PROXY, "") for name, attack in ATTACKS.items() if PROXY in attack}
HARMLESS_IN_LINK = {"another Pod", "a sibling of the prefix", "the prefix alone", "two addresses"}


@pytest.mark.parametrize("link", [attack for name, attack in LINK_ATTACKS.items() if name not in HARMLESS_IN_LINK])
def test_link_outside_of_pod_is_rejected(session: requests.Session, api_server: Server, link: str) -> None:
    api_server.reply(response_bytes(200, {"Link": f'<{link.format(host=api_server.address)}>; rel="next"'}, b"{}"))

    with pytest.raises(RegistryError, match="returned a Link outside of the Pod"):
        session.get(f"{URL}/v2/_catalog")

    assert len(api_server.requests) == 1


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("https://s3.example.com/bucket/blob?X-Amz-Signature=canary", "s3.example.com"),
        ("http://10.0.0.9:9000/bucket/blob?X-Amz-Signature=canary", "10.0.0.9"),
        ("https://[fd00::9]/blob", "[fd00::9]"),
        ("https://s3.example.com?canary", "s3.example.com"),
    ],
)
def test_error_explains_redirect_to_storage(
    session: requests.Session, api_server: Server, method: str, code: int, location: str, host: str
) -> None:
    api_server.reply(response_bytes(code, {"Location": location}))

    with pytest.raises(RegistryError) as caught:
        session.request(method, f"{URL}/v2/a/blobs/sha256:ab")

    message = f"the registry in Pod k8scr-0 redirects downloads to its storage at {host}, outside of the Pod"
    assert str(caught.value).startswith(f"{message}. Set storage.redirect.disable: true")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_redirect_of_upload_to_other_host_is_attack(session: requests.Session, api_server: Server, method: str) -> None:
    api_server.reply(response_bytes(307, {"Location": "https://s3.example.com/bucket"}))

    with pytest.raises(RegistryError, match="Do not trust this registry"):
        session.request(method, f"{URL}/v2/a/blobs/uploads/", data=b"x")


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
def test_redirect_to_secrets_of_cluster_is_rejected(
    session: requests.Session, api_server: Server, method: str, code: int
) -> None:
    api_server.reply(response_bytes(code, {"Location": "/api/v1/namespaces/default/secrets"}))

    with pytest.raises(RegistryError, match="check what runs in the Pod"):
        session.request(method, f"{URL}/v2/", allow_redirects=True)

    assert [request.target for request in api_server.requests] == [f"{PROXY}/v2/"]


@pytest.mark.parametrize(
    "location",
    [
        f"{PROXY}{UPLOAD}?_state=a%2Fb%3D",
        f"http://{{host}}{PROXY}{UPLOAD}?_state=a%2Fb%3D",
        f"https://{{host}}{PROXY}{UPLOAD}?_state=a%2Fb%3D",
    ],
)
def test_location_in_pod_is_translated(session: requests.Session, api_server: Server, location: str) -> None:
    api_server.reply(response_bytes(202, {"Location": location.format(host=api_server.address)}), response_bytes(201))

    translated = session.post(f"{URL}/v2/a/blobs/uploads/").headers["Location"]
    session.put(translated)

    assert translated == f"{URL}{UPLOAD}?_state=a%2Fb%3D"
    assert api_server.requests[1].target == f"{PROXY}{UPLOAD}?_state=a%2Fb%3D"


def test_location_of_manifest_is_translated(session: requests.Session, api_server: Server) -> None:
    api_server.reply(response_bytes(201, {"Location": f"{PROXY}/v2/team/api/manifests/sha256:ab"}))

    response = session.put(f"{URL}/v2/team/api/manifests/1", data=b"{}")

    assert response.headers["Location"] == f"{URL}/v2/team/api/manifests/sha256:ab"


def test_redirect_within_pod_is_followed(session: requests.Session, api_server: Server) -> None:
    api_server.reply(response_bytes(307, {"Location": f"{PROXY}/v2/other"}), response_bytes(200, body=b"there"))

    response = session.get(f"{URL}/v2/one")

    assert (response.text, response.url) == ("there", f"{URL}/v2/other")


@pytest.mark.parametrize("prefix", [f"/k8s/clusters/c-xyz{PROXY}", PROXY])
def test_location_is_translated_with_and_without_base_path(
    cluster_of: Connect, api_server: Server, options: dict[str, Any], prefix: str
) -> None:
    cluster = cluster_of({**options, "host": f"{api_server.url}/k8s/clusters/c-xyz"})
    session = requests.Session()
    session.mount(f"{URL}/", PodProxyAdapter(cluster.adapter, "k8scr", "k8scr-0", 5000))
    api_server.reply(response_bytes(202, {"Location": f"{prefix}{UPLOAD}"}))

    assert session.post(f"{URL}/v2/a/blobs/uploads/").headers["Location"] == f"{URL}{UPLOAD}"


def test_location_below_base_path_of_other_cluster_is_rejected(
    cluster_of: Connect, api_server: Server, options: dict[str, Any]
) -> None:
    cluster = cluster_of({**options, "host": f"{api_server.url}/k8s/clusters/c-xyz"})
    session = requests.Session()
    session.mount(f"{URL}/", PodProxyAdapter(cluster.adapter, "k8scr", "k8scr-0", 5000))
    api_server.reply(response_bytes(202, {"Location": f"/k8s/clusters/c-other{PROXY}{UPLOAD}"}))

    with pytest.raises(RegistryError, match="outside of the Pod"):
        session.post(f"{URL}/v2/a/blobs/uploads/")


class FixedResponse(requests.adapters.HTTPAdapter):
    """Replaces a server on the default port of its scheme, which tests cannot use."""

    base_url = "https://api.example.com:443"

    def __init__(self, location: str) -> None:
        super().__init__()
        self._location = location

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        response = requests.Response()
        response.status_code = 202
        response.headers["Location"] = self._location
        return response

    def read(self, response: requests.Response, behind: str | None = None) -> None:
        pass


@pytest.mark.parametrize("host", ["api.example.com", "API.example.com", "api.example.com:443"])
def test_location_without_default_port_is_translated(host: str) -> None:
    session = requests.Session()
    server: Any = FixedResponse(f"http://{host}{PROXY}{UPLOAD}")
    session.mount(f"{URL}/", PodProxyAdapter(server, "k8scr", "k8scr-0", 5000))

    response = session.post(f"{URL}/v2/a/blobs/uploads/")

    assert response.headers["Location"] == f"{URL}{UPLOAD}"


@pytest.mark.parametrize("link", ["/v2/_catalog?last=b&n=2", "http://{host}/v2/_catalog?last=b&n=2"])
def test_link_to_next_page_is_translated(session: requests.Session, api_server: Server, link: str) -> None:
    api_server.reply(response_bytes(200, {"Link": f'<{link.format(host=api_server.address)}>; rel="next"'}, b"{}"))

    session.get(session.get(f"{URL}/v2/_catalog?n=2").links["next"]["url"])

    assert api_server.requests[1].target == f"{PROXY}/v2/_catalog?last=b&n=2"


def test_links_of_other_kinds_are_removed(session: requests.Session, api_server: Server) -> None:
    link = '<https://evil.example.com/>; rel="preload", </v2/_catalog?last=b>; rel="next"'
    api_server.reply(response_bytes(200, {"Link": link}, b"{}"))

    response = session.get(f"{URL}/v2/_catalog")

    assert response.headers["Link"] == f'<{URL}/v2/_catalog?last=b>; rel="next"'


@pytest.mark.parametrize(
    "path", ["/v2/../x", "/v2/%2e%2e/x", "/v2/a%2fb", "/v2/a\\b", "/v2//a", "/v2/%00", "/v2/%252e%252e/x", "x", ""]
)
def test_path_that_api_server_would_change_is_not_requested(
    session: requests.Session, api_server: Server, path: str
) -> None:
    request = requests.Request("GET", f"{URL}/v2/").prepare()
    request.url = f"{URL}{path}"

    with pytest.raises(RegistryError, match="cannot be requested through the API server"):
        session.get_adapter(f"{URL}/").send(request)

    assert api_server.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example.com/",
        "{base}@evil.example.com/api",
        "https://me@{host}/k8s/clusters/c-1/api",
        "{base}/k8s/clusters/c-1/../c-2/api",
        "{base}/k8s/clusters/c-1/%2e%2e/c-2/api",
        "{base}/k8s/clusters/c-10/api",
        "{base}/k8s/clusters/c-1/a\\..\\..\\b",
        "{base}/k8s/clusters/c-1/a\r\nb",
        "http://[",
    ],
)
def test_credentials_are_not_sent_outside_of_base_url(
    cluster_of: Connect, api_server: Server, options: dict[str, Any], url: str
) -> None:
    adapter = cluster_of({**options, "host": f"{api_server.url}/k8s/clusters/c-1"}).adapter

    with pytest.raises(ClusterError, match=r"is outside .*, so the credentials were not sent|its address is not a URL"):
        adapter.open("GET", url.format(base=api_server.url, host=api_server.address))

    assert api_server.requests == []


def test_challenge_of_registry_is_removed(session: requests.Session, api_server: Server) -> None:
    challenge = 'Bearer realm="https://evil.example.com/token",service="registry"'
    api_server.reply(response_bytes(401, {"WWW-Authenticate": challenge}, b'{"errors": [{"code": "UNAUTHORIZED"}]}'))

    response = session.get(f"{URL}/v2/")

    assert (response.status_code, response.headers.get("WWW-Authenticate")) == (401, None)
    assert len(api_server.requests) == 1


@pytest.mark.parametrize("code", [401, 403, 404, 500])
def test_forged_status_of_api_server_only_raises_error(
    session: requests.Session, api_server: Server, code: int
) -> None:
    forged = (
        f'{{"kind": "Status", "apiVersion": "v1", "code": 200, "message": "all\\nis \\u001b[31mwell {"x" * 9999}"}}'
    )
    api_server.reply(response_bytes(code, {"Docker-Distribution-Api-Version": "registry/2.0"}, forged.encode()))

    with pytest.raises(ApiServerError) as caught:
        session.get(f"{URL}/v2/")

    assert caught.value.status == code
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
    assert len(api_server.requests) == 1


def test_cookie_of_registry_is_not_sent_back(session: requests.Session, api_server: Server) -> None:
    api_server.reply(response_bytes(200, {"Set-Cookie": "session=x; Path=/"}))

    session.get(f"{URL}/v2/")
    session.get(f"{URL}/v2/")

    assert api_server.requests[1].headers["Cookie"] is None


def test_adapter_is_not_used_for_other_hosts(session: requests.Session) -> None:
    assert not isinstance(session.get_adapter("http://registry.k8scr.evil.example.com/"), PodProxyAdapter)


def test_error_about_hostile_location_has_no_secret(session: requests.Session, api_server: Server) -> None:
    api_server.reply(response_bytes(202, {"Location": "/api/v1/namespaces/default/secrets?_state=canary"}))

    with pytest.raises(RegistryError) as caught:
        session.post(f"{URL}/v2/a/blobs/uploads/")

    error: BaseException | None = caught.value
    while error is not None:
        assert "canary" not in repr(error) + str(error)
        error = error.__cause__ or error.__context__
