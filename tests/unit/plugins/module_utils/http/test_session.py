# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sessions ignore settings of the environment."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import requests
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.http.session import open_session
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

URL = "http://registry/"


class Recorder(HTTPAdapter):
    """Records requests, and sets a cookie in each response."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[requests.PreparedRequest] = []
        self.proxies: list[Any] = []

    def send(self, request: requests.PreparedRequest, *_arguments: Any, **options: Any) -> requests.Response:
        """Record a request."""
        self.requests.append(request)
        self.proxies.append(dict(options["proxies"]))
        return self.build_response(request, HTTPResponse(io.BytesIO(), {"Set-Cookie": "a=b"}, 200))


@pytest.fixture
def adapter() -> Recorder:
    """The adapter of the session."""
    return Recorder()


def test_session_ignores_netrc_and_proxies_of_environment(
    adapter: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine registry login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("http_proxy", "http://proxy:3128")

    open_session(URL, adapter).get(f"{URL}v2/")

    assert "Authorization" not in adapter.requests[0].headers
    assert adapter.proxies == [{}]


def test_session_stores_no_cookies(adapter: Recorder) -> None:
    with open_session(URL, adapter) as session:
        session.get(f"{URL}v2/")
        session.get(f"{URL}v2/")

    assert not session.cookies
    assert "Cookie" not in adapter.requests[1].headers


@pytest.mark.parametrize("url", ["http://registry.example.com/", "https://registry/", "file:///etc/passwd"])
def test_session_rejects_other_urls(adapter: Recorder, url: str) -> None:
    with pytest.raises(requests.exceptions.InvalidSchema):
        open_session(URL, adapter).get(url)


def test_session_does_not_read_body_of_redirect(adapter: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    body = io.BytesIO(b"x" * 1000)
    redirect = HTTPResponse(body, {"Location": f"{URL}v2/other"}, 307, preload_content=False)
    monkeypatch.setattr(adapter, "send", lambda request, **_options: adapter.build_response(request, redirect))

    with open_session(URL, adapter) as session:
        response = session.get(f"{URL}v2/", allow_redirects=False, stream=True)

    assert (response.status_code, body.tell()) == (307, 0)
