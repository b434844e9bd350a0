# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run ``k8scr_node_mirror`` and show its progress."""

from __future__ import annotations

from ansible_collections.k8scr.core.plugins.plugin_utils._k8scr.progress_action import ProgressAction


class ActionModule(ProgressAction):
    """The action of the module of the same name."""
