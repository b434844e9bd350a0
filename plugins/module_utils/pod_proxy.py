# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The public transport of the collection: requests adapters through the API server's Pod proxy.

All other code in ``module_utils`` is private. The names in ``__all__`` stay importable from here; a name is deprecated
for one major release before it is removed.
"""

from __future__ import annotations

from ._k8scr.commands.cluster_options import connect
from ._k8scr.registry.write_path import WritePath
from ._k8scr.transport.cluster import Cluster
from ._k8scr.transport.pod_proxy import PodProxyAdapter

__all__ = ["Cluster", "PodProxyAdapter", "WritePath", "connect"]
