# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images for the tests, made with real tools from real files.

>>> import images
>>> images.ensure("busybox").reference("oci")
'oci:/…/layout:docker.io/library/busybox:1.36'
"""

from __future__ import annotations

from .catalogue import RECIPES, ensure, ensure_random
from .image import Image, Tag
from .tools import Failed

__all__ = ["RECIPES", "Failed", "Image", "Tag", "ensure", "ensure_random"]
