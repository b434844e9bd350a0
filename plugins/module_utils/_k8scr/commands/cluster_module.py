# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules with the options of a cluster: hide its secrets, check the libraries and run a command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..transfer.progress import Progress
from ..transport.kubeconfig_secrets import masked_secrets_of, redacted_kubeconfig
from .cluster_options import CLUSTER_ARGUMENT_SPEC
from .redacting_module import RedactingModule

_LIBRARIES = ("requests", "kubernetes")


class ClusterModule(RedactingModule):
    """A :class:`RedactingModule` with the options of :data:`CLUSTER_ARGUMENT_SPEC` and its own."""

    def __init__(
        self, argument_spec: dict[str, Any], redact: Mapping[str, Callable[[Any], Any]] | None = None, **rest: Any
    ) -> None:
        super().__init__(
            {**CLUSTER_ARGUMENT_SPEC, **argument_spec}, {"kubeconfig": redacted_kubeconfig, **(redact or {})}, **rest
        )
        self.no_log_values.update(masked_secrets_of(self.params.get("kubeconfig")))


def run_module(
    argument_spec: dict[str, Any],
    body: Callable[[Mapping[str, Any], bool, Progress], dict[str, Any]],
    **arguments: Any,
) -> None:
    """Run a module with the options of a cluster, and exit.

    Args:
        body: Takes the options, the check mode and the progress, and returns the module's result.
    """
    module = ClusterModule(argument_spec, supports_check_mode=True, **arguments)
    module.require(_LIBRARIES)
    module.run(lambda: body(module.params, module.check_mode, module.progress))
