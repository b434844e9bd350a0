# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster's addresses."""

from __future__ import annotations

import ipaddress
from itertools import combinations

from cluster import layout
from cluster.layout import NODES


def test_address_blocks_are_disjoint_parts_of_cluster_network() -> None:
    blocks = (layout.MACHINES, layout.PODS, layout.SERVICES)
    assert all(block.subnet_of(layout.NETWORK) for block in blocks)
    assert not any(one.overlaps(other) for one, other in combinations(blocks, 2))


def test_nodes_have_distinct_addresses() -> None:
    assert all(ipaddress.IPv4Network(node.pods).subnet_of(layout.PODS) for node in NODES)
    assert len({node.pods for node in NODES}) == len({node.address for node in NODES}) == len(NODES)
