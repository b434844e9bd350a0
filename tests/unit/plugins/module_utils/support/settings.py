# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options of tasks, and the settings read from them after Ansible converted them and added the defaults."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.image import IMAGE_ARGUMENT_SPEC, ImageSettings
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.image_settings import (
    PULL_ARGUMENT_SPEC,
    PUSH_ARGUMENT_SPEC,
    PullSettings,
    PushSettings,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.upstream_settings import (
    UPSTREAMS_ARGUMENT_SPEC,
    upstream_settings,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.registry.upstreams import UpstreamSettings


def module_options(argument_spec: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Return the parameters of a module: the options of a task with the defaults of the argument spec."""
    result = ArgumentSpecValidator(argument_spec).validate(options)
    assert not result.error_messages
    parameters: dict[str, Any] = result.validated_parameters
    return parameters


def push_settings(*images: Any, **options: Any) -> PushSettings:
    """Return the settings of a task of k8scr_push."""
    return PushSettings.from_options(module_options(PUSH_ARGUMENT_SPEC, images=list(images), **options))


def pull_settings(*images: Any, **options: Any) -> PullSettings:
    """Return the settings of a task of k8scr_pull."""
    return PullSettings.from_options(module_options(PULL_ARGUMENT_SPEC, images=list(images), **options))


def image_settings(name: str, **options: Any) -> ImageSettings:
    """Return the settings of a task of k8scr_image."""
    return ImageSettings.from_options(module_options(IMAGE_ARGUMENT_SPEC, name=name, **options))


def upstreams_of(*entries: dict[str, Any]) -> dict[str, UpstreamSettings]:
    """Return the settings of upstream registries: the entries of the option ``upstreams``."""
    spec = {"upstreams": UPSTREAMS_ARGUMENT_SPEC}
    return upstream_settings(module_options(spec, upstreams=list(entries))["upstreams"])
