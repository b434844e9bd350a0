# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The road to a Pod: what the API server gets to see, and what comes back."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest
import requests
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.errors import (
    ApiServerError,
    ClusterError,
    ConnectionLostError,
    K8scrError,
    Retry,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.pod_proxy import PodProxyAdapter
from unit.plugins.module_utils.transport.servers import Server, answer

if TYPE_CHECKING:
    from unit.plugins.module_utils.transport.conftest import Connect

PROXY = "/api/v1/namespaces/k8scr/pods/k8scr-0:5000/proxy"
URL = "http://registry.k8scr"


def status(code: int, message: str) -> bytes:
    """How the API server itself refuses."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}
    return answer(code, {"Content-Type": "application/json"}, json.dumps(body).encode())


NOT_A_POD = status(404, 'pods "k8scr-0" not found')


@pytest.mark.parametrize(
    "path",
    ["/v2/", "/v2/team/api/manifests/1.2", "/v2/a/blobs/uploads/", "/v2/a/blobs/sha256:ab?x=1&_state=a%2Fb%3D", "/"],
)
def test_path_query_and_trailing_slash_are_kept(session: requests.Session, api_server: Server, path: str) -> None:
    session.get(URL + path)

    assert api_server.requests[0].target == PROXY + path


def test_an_api_server_below_a_base_path_is_asked_there(
    cluster_of: Connect, api_server: Server, options: dict[str, Any]
) -> None:
    cluster = cluster_of({**options, "host": f"{api_server.url}/k8s/clusters/c-xyz/"})
    session = requests.Session()
    session.mount(f"{URL}/", PodProxyAdapter(cluster.adapter, "k8scr", "k8scr-0", 5000))

    session.get(f"{URL}/v2/")

    assert api_server.requests[0].target == f"/k8s/clusters/c-xyz{PROXY}/v2/"


def test_a_registry_that_speaks_tls_is_named_with_its_scheme(
    cluster_of: Connect, api_server: Server, options: dict[str, Any]
) -> None:
    session = requests.Session()
    session.mount(f"{URL}/", PodProxyAdapter(cluster_of(options).adapter, "default", "k8scr", 443, "https"))

    session.get(f"{URL}/v2/")

    assert api_server.requests[0].target == "/api/v1/namespaces/default/pods/https:k8scr:443/proxy/v2/"


def test_the_answer_comes_from_where_it_was_asked(session: requests.Session) -> None:
    response = session.get(f"{URL}/v2/?n=1")

    assert (response.url, response.request.url, response.text) == (f"{URL}/v2/?n=1", f"{URL}/v2/?n=1", "ok")


def test_the_registry_is_asked_for_bytes_as_they_are(session: requests.Session, api_server: Server) -> None:
    session.get(f"{URL}/v2/", headers={"Accept-Encoding": "gzip, br"})

    assert api_server.requests[0].headers.get_all("Accept-Encoding") == ["identity"]


def test_what_a_session_says_about_itself_stays_here(session: requests.Session, api_server: Server) -> None:
    session.cookies.set("session", "canary")
    session.headers["Host"] = "elsewhere.example.com"
    session.headers["Impersonate-User"] = "admin"

    session.get(f"{URL}/v2/", auth=("me", "canary"))

    headers = api_server.requests[0].headers
    assert (headers["Authorization"], headers["Cookie"]) == ("Bearer canary-token", None)
    assert (headers["Host"], headers["Impersonate-User"]) == (api_server.address, None)


def test_a_body_of_known_length_is_sent_with_it(session: requests.Session, api_server: Server) -> None:
    session.patch(f"{URL}/v2/a/blobs/uploads/1", data=iter([b"ab", b"cd"]), headers={"Content-Length": "4"})

    (request,) = api_server.requests
    assert (request.body, request.headers["Content-Length"], request.headers["Transfer-Encoding"]) == (
        b"abcd",
        "4",
        None,
    )


def test_a_body_of_unknown_length_is_sent_in_chunks(session: requests.Session, api_server: Server) -> None:
    session.put(f"{URL}/v2/a/blobs/uploads/1", data=iter([b"ab", b"cd"]))

    (request,) = api_server.requests
    assert (request.body, request.headers["Transfer-Encoding"]) == (b"abcd", "chunked")


def test_a_range_is_asked_for_and_answered_as_it_is(session: requests.Session, api_server: Server) -> None:
    api_server.reply(answer(206, {"Content-Range": "bytes 2-3/4"}, b"cd"))

    response = session.get(f"{URL}/v2/a/blobs/x", headers={"Range": "bytes=2-3"})

    assert api_server.requests[0].headers["Range"] == "bytes=2-3"
    assert (response.status_code, response.headers["Content-Range"], response.content) == (
        206,
        "bytes 2-3/4",
        b"cd",
    )


def test_a_connection_is_used_again_after_an_answer_without_a_body(
    session: requests.Session, api_server: Server
) -> None:
    api_server.reply(answer(202), answer(200, {"Content-Length": "5"}), answer(200))

    session.post(f"{URL}/v2/a/blobs/uploads/", stream=True).close()
    session.head(f"{URL}/v2/a/manifests/1", stream=True).close()
    session.get(f"{URL}/v2/")

    assert api_server.connections == 1


def test_what_the_registry_refuses_comes_back_as_it_said_it(session: requests.Session, api_server: Server) -> None:
    body = b'{"errors": [{"code": "DENIED"}]}'
    api_server.reply(answer(403, {"Content-Type": "application/json"}, body))

    response = session.get(f"{URL}/v2/a/tags/list")

    assert (response.status_code, response.json()) == (403, {"errors": [{"code": "DENIED"}]})


def test_a_compressed_refusal_can_be_read(session: requests.Session, api_server: Server) -> None:
    api_server.reply(answer(400, {"Content-Encoding": "gzip"}, gzip.compress(b'{"errors": []}')))

    assert session.get(f"{URL}/v2/").json() == {"errors": []}


def test_a_refusal_that_is_too_long_is_not_read_to_its_end(session: requests.Session, api_server: Server) -> None:
    api_server.reply(answer(500, body=b"x" * (1 << 20)))

    response = session.get(f"{URL}/v2/")
    session.get(f"{URL}/v2/")

    assert (response.status_code, len(response.content)) == (500, 64 << 10)
    assert api_server.connections == 2  # the first one was given up with what was left on it


def test_a_refusal_that_breaks_off_is_still_one(session: requests.Session, api_server: Server) -> None:
    api_server.closes_after_answer = True
    api_server.reply(answer(413, {"Content-Length": "1000"}, b"too lar"))

    assert session.get(f"{URL}/v2/").status_code == 413


@pytest.mark.parametrize("code", [401, 403, 404, 500, 503])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_what_the_api_server_refuses_is_an_error_of_its_own(
    session: requests.Session, api_server: Server, method: str, code: int
) -> None:
    refusal = status(code, "refused for a reason")
    api_server.reply(lambda request: answer(code) if request.method == "HEAD" else refusal)

    with pytest.raises(ApiServerError, match="refused for a reason") as caught:
        session.request(method, f"{URL}/v2/a/manifests/1")

    assert caught.value.status == code


def test_a_refusal_of_rights_names_the_rule_that_lacks(session: requests.Session, api_server: Server) -> None:
    api_server.reply(status(403, 'User "bob" cannot patch resource "pods/proxy"'))

    with pytest.raises(ApiServerError) as caught:
        session.patch(f"{URL}/v2/", data=b"")

    assert "cannot patch" in str(caught.value)
    assert "pods/proxy with resourceNames [k8scr-0:5000] by a Role in k8scr" in str(caught.value)


def test_an_answer_to_head_is_the_one_whose_sender_is_known(session: requests.Session, api_server: Server) -> None:
    # The Pod gets its address between the two.
    api_server.reply(answer(400), answer(404, body=b'{"errors": [{"code": "BLOB_UNKNOWN"}]}'))

    assert session.head(f"{URL}/v2/a/blobs/sha256:ab").status_code == 404


def test_what_was_allowed_a_moment_before_may_be_allowed_again(session: requests.Session, api_server: Server) -> None:
    # An API server that has just started has not read the roles yet.
    forbidden = status(403, 'User "bob" cannot get resource "pods/proxy"')
    api_server.reply(answer(200), forbidden)
    session.get(f"{URL}/v2/")

    transient = []
    for method in ("GET", "POST"):
        with pytest.raises(ApiServerError) as caught:
            session.request(method, f"{URL}/v2/")
        transient.append(caught.value.transient)

    assert transient == [True, False]


def test_a_pod_that_is_gone_may_come_back(session: requests.Session, api_server: Server) -> None:
    api_server.reply(NOT_A_POD)

    with pytest.raises(ApiServerError, match="there is no Pod k8scr-0") as caught:
        session.get(f"{URL}/v2/")

    assert caught.value.transient


def test_a_pod_that_cannot_be_reached_is_described(session: requests.Session, api_server: Server) -> None:
    waiting = {"name": "registry", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    pod = {"status": {"phase": "Pending", "containerStatuses": [waiting]}}
    api_server.reply(status(503, "error trying to reach service: timeout"), answer(200, body=json.dumps(pod).encode()))

    with pytest.raises(ApiServerError, match="it is Pending and not ready; container registry is waiting: ImagePull"):
        session.get(f"{URL}/v2/")


@pytest.mark.parametrize(
    "told", [status(403, "you may not look at pods"), answer(200, body=b"<html>"), answer(200, body=b"{}"), b"nonsense"]
)
def test_a_pod_that_cannot_be_reached_nor_looked_at_is_still_told(
    session: requests.Session, api_server: Server, told: bytes
) -> None:
    api_server.closes_after_answer = True
    api_server.reply(status(503, "error trying to reach service: timeout"), told)

    with pytest.raises(ApiServerError, match="the API server cannot reach Pod k8scr-0 in namespace k8scr at port 5000"):
        session.get(f"{URL}/v2/")


@pytest.mark.parametrize(
    ("reason", "advised"),
    [
        ("dial tcp 10.0.0.7:5000: i/o timeout", True),
        ("dial tcp 10.0.0.7:5000: connect: no route to host", True),
        ("No agent available", True),
        ("dial tcp 10.0.0.7:5000: connect: connection refused", False),
        ("dial tcp 10.0.0.7:5000: connect: connection reset by peer", False),
    ],
)
def test_where_the_pod_network_is_out_of_reach_the_hosts_is_advised(
    session: requests.Session, api_server: Server, reason: str, advised: bool
) -> None:
    pod = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    api_server.reply(
        status(503, f"error trying to reach service: {reason}"), answer(200, body=json.dumps(pod).encode())
    )

    with pytest.raises(ApiServerError, match="cannot reach Pod k8scr-0") as caught:
        session.get(f"{URL}/v2/")

    assert ("hostNetwork: true" in str(caught.value)) == advised


@pytest.mark.parametrize(
    "reason",
    [
        "EOF",
        "http: server closed idle connection",
        "read tcp 10.0.0.1:4711->10.0.0.7:5000: read: connection timed out",
        "http2: Transport received GOAWAY from server ErrCode:NO_ERROR",
        "read tcp 10.0.0.1:4711->10.0.0.7:5000: read: connection reset by peer",
        "readfrom tcp 10.0.0.1:4711->10.0.0.7:5000: write tcp 10.0.0.1:4711->10.0.0.7:5000: write: broken pipe",
        "readfrom tcp 10.0.0.1:4711->10.0.0.7:5000: use of closed network connection",
    ],
)
def test_a_pod_that_breaks_off_is_told_from_one_that_cannot_be_reached(
    session: requests.Session, api_server: Server, reason: str
) -> None:
    pod = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}}
    api_server.reply(
        status(503, f"error trying to reach service: {reason}"), answer(200, body=json.dumps(pod).encode())
    )

    with pytest.raises(ConnectionLostError, match=r"the API server lost Pod k8scr-0 .*it is Running and not ready"):
        session.patch(f"{URL}/v2/app/blobs/uploads/1", data=b"half")


def test_an_api_server_with_too_much_to_do_says_for_how_long(session: requests.Session, api_server: Server) -> None:
    body = json.dumps({"kind": "Status", "apiVersion": "v1", "message": "too many requests", "code": 429}).encode()
    api_server.reply(answer(429, {"Retry-After": "7"}, body))

    with pytest.raises(ApiServerError, match="run again later") as caught:
        session.get(f"{URL}/v2/")

    assert caught.value.retry == Retry(after=7.0)


def test_head_of_something_that_is_not_there_is_asked_again_to_know_who_says_so(
    session: requests.Session, api_server: Server
) -> None:
    api_server.reply(answer(404), answer(404, body=b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}'))

    response = session.head(f"{URL}/v2/a/manifests/1")

    assert response.status_code == 404
    assert [request.method for request in api_server.requests] == ["HEAD", "GET"]


def test_head_is_not_asked_again_when_the_registry_names_itself(session: requests.Session, api_server: Server) -> None:
    api_server.reply(answer(404, {"Docker-Distribution-Api-Version": "registry/2.0"}))

    assert session.head(f"{URL}/v2/a/manifests/1").status_code == 404
    assert len(api_server.requests) == 1


def test_content_that_looks_like_a_refusal_of_the_api_server_is_content(
    session: requests.Session, api_server: Server
) -> None:
    forged = status(200, "not found")
    api_server.reply(answer(404), forged)

    response = session.head(f"{URL}/v2/a/manifests/1")

    assert response.status_code == 200


def test_an_answer_that_comes_while_the_body_is_being_sent_is_read(
    session: requests.Session, api_server: Server
) -> None:
    api_server.reads_bodies = False
    api_server.reply(answer(413, {"Connection": "close"}, b'{"errors": [{"code": "SIZE_INVALID"}]}'))
    blocks = (bytes(1 << 20) for _number in range(64))

    response = session.patch(f"{URL}/v2/a/blobs/uploads/1", data=blocks, headers={"Content-Length": str(64 << 20)})

    assert (response.status_code, response.json()) == (413, {"errors": [{"code": "SIZE_INVALID"}]})


def test_a_body_that_cannot_be_read_to_its_end_is_not_taken_for_a_broken_line(session: requests.Session) -> None:
    def blocks() -> Any:
        yield b"ab"
        raise K8scrError("the archive is damaged")

    with pytest.raises(K8scrError, match="the archive is damaged") as caught:
        session.patch(f"{URL}/v2/a/blobs/uploads/1", data=blocks(), headers={"Content-Length": "4"})

    assert not isinstance(caught.value, ClusterError)


def test_an_answer_that_is_cut_off_is_a_lost_connection(session: requests.Session, api_server: Server) -> None:
    api_server.closes_after_answer = True
    api_server.reply(answer(200, {"Content-Length": "100"}, b"short"))

    with pytest.raises(ConnectionLostError, match="was interrupted"):
        session.get(f"{URL}/v2/a/blobs/x")


def test_silence_is_waited_for_only_so_long(session: requests.Session, api_server: Server) -> None:
    api_server.reply(lambda request: answer(200) if api_server.stopping.wait(5) else b"")

    with pytest.raises(ConnectionLostError, match="timed out during a request"):
        session.get(f"{URL}/v2/", timeout=(5, 0.1))


def test_silence_in_the_middle_of_an_answer_is_waited_for_only_so_long(
    session: requests.Session, api_server: Server
) -> None:
    api_server.reply(answer(200, {"Content-Length": "100"}, b"short"))

    with pytest.raises(ConnectionLostError, match="timed out during a request"):
        session.get(f"{URL}/v2/", timeout=(5, 0.1))


def test_a_server_that_takes_no_more_of_a_body_is_given_up(
    cluster_of: Connect, api_server: Server, options: dict[str, Any]
) -> None:
    def deaf(request: object) -> bytes:
        api_server.stopping.wait(5)
        return b""

    api_server.reads_bodies = False
    api_server.reply(deaf)
    adapter = cluster_of(options, silence_timeout=0.1).adapter

    with pytest.raises(ConnectionLostError, match="timed out during a request"):
        adapter.open("PATCH", f"{adapter.base_url}/", {}, (bytes(1 << 20) for _number in range(64)))


@pytest.mark.parametrize("code", [101, 103])
def test_an_interim_answer_is_refused_and_its_connection_given_up(
    session: requests.Session, api_server: Server, code: int
) -> None:
    api_server.reply(f"HTTP/1.1 {code} Hints\r\n\r\n".encode() + answer(200, body=b"forged"), answer(200, body=b"true"))

    with pytest.raises(ClusterError, match=rf"interim answer \({code}\)"):
        session.get(f"{URL}/v2/")

    assert session.get(f"{URL}/v2/").text == "true"


def test_100_continue_is_no_answer(session: requests.Session, api_server: Server) -> None:
    api_server.reply(b"HTTP/1.1 100 Continue\r\n\r\n" + answer(201))

    assert session.put(f"{URL}/v2/", data=b"x").status_code == 201


@pytest.mark.parametrize(
    "nonsense",
    [
        b"hello\r\n",
        answer(200, {"X": "x" * (65 << 10)}),
        answer(200, {f"X-{number}": "x" for number in range(101)}),
        b"HTTP/1.1 999999 What\r\n\r\n",
    ],
    ids=["no HTTP", "a header of 65 KiB", "too many headers", "no status"],
)
def test_what_is_no_http_is_said_to_be_none(session: requests.Session, api_server: Server, nonsense: bytes) -> None:
    api_server.closes_after_answer = True
    api_server.reply(nonsense)

    with pytest.raises(ClusterError, match=r"Pod k8scr-0 .* is not valid HTTP"):
        session.get(f"{URL}/v2/")
