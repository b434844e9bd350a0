# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings that are read from the options of modules."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.cluster_options import cluster_settings
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.image_settings import (
    PUSH_ARGUMENT_SPEC,
    PushSettings,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.cluster import PodSettings, RegistrySettings
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.transport.settings import ClusterSettings, ProxyHeaders
from unit.plugins.module_utils.support.settings import module_options, pull_settings, push_settings


def test_defaults_of_options_are_defaults_of_settings() -> None:
    registry = RegistrySettings(ClusterSettings(), PodSettings())

    assert push_settings("app:1").registry == registry
    assert pull_settings("app:1").registry == RegistrySettings(ClusterSettings(), PodSettings(port=5001))


@pytest.mark.parametrize("empty", [None, "", [], {}])
def test_empty_option_of_cluster_is_like_missing_one(empty: Any) -> None:
    options = dict.fromkeys(("kubeconfig", "host", "api_key", "proxy_headers", "impersonate_groups"), empty)

    assert cluster_settings(options) == cluster_settings({}) == ClusterSettings()


def test_options_of_cluster_are_read_as_settings() -> None:
    settings = cluster_settings(
        {
            "host": "https://api.example.com",
            "validate_certs": False,
            "proxy_headers": {"user_agent": "k8scr", "basic_auth": None},
            "impersonate_groups": ["devs"],
            "images": ["not an option of the cluster"],
        }
    )

    assert settings == ClusterSettings(
        host="https://api.example.com",
        validate_certs=False,
        proxy_headers=ProxyHeaders(user_agent="k8scr"),
        impersonate_groups=("devs",),
    )


def test_repr_of_settings_has_no_secret() -> None:
    parameters = module_options(
        PUSH_ARGUMENT_SPEC,
        images=["app:1"],
        upstreams=[{"host": "registry.example.com", "username": "me", "password": "canary"}],
    )
    cluster = {
        "kubeconfig": {"users": ["canary"]},
        "api_key": "canary",
        "password": "canary",
        "proxy": "http://me:canary@proxy.example.com",
        "proxy_headers": {"proxy_basic_auth": "canary", "basic_auth": "canary"},
    }

    assert "canary" not in repr(PushSettings.from_options({**parameters, **cluster}))
