# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sessions of the library requests that ignore the settings of the environment."""

from __future__ import annotations

from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import requests
    from requests.adapters import BaseAdapter


def open_session(url: str, adapter: BaseAdapter) -> requests.Session:
    """Return a session for URLs that begin with ``url``, whose requests ``adapter`` sends.

    It ignores ``~/.netrc`` and the environment's proxies, stores no cookies, and rejects other URLs. It does not follow
    redirects.
    """
    from requests import Session

    session = Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.adapters.clear()
    # Without this, requests reads the whole body of a redirect into memory, even if it does not follow the redirect.
    session.get_redirect_target = lambda resp: None  # type: ignore[method-assign]
    session.mount(url, adapter)
    return session
