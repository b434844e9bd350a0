# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images with referrers."""

from __future__ import annotations

import pytest
from unit.plugins.module_utils.support.images import Image
from unit.plugins.module_utils.support.registry_server import RegistryServer

from .test_referrer_jobs import put_referrers, referrers_tag, sbom_of


@pytest.fixture
def signed(upstream: RegistryServer, image: Image, other_image: Image) -> Image:
    """An image of ``upstream`` with a signature under a tag of cosign."""
    upstream.fill("team/app", "1", image)
    upstream.fill("team/app", referrers_tag(image, ".sig"), other_image)
    return image


@pytest.fixture
def sbom(upstream: RegistryServer, signed: Image) -> Image:
    """An SBOM of ``signed`` in the list under its fallback tag."""
    sbom = sbom_of(signed)
    put_referrers(upstream, "team/app", signed, sbom)
    return sbom
