# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Archives of Helm charts."""

from __future__ import annotations

import gzip
from pathlib import Path

from .tar_entries import END, entry

CHART = """\
apiVersion: v2
name: app
version: 1.2.3+build.5
description: |
  Several lines <b>&amp; "quotes"
  and é
home: https://example.com/?a=1&b=2
sources: [https://example.com/src, "https://example.com/2 "]
keywords: [a, 1, 2.50, true, null]
maintainers:
  - {name: Ann, email: ann@example.com, url: "https://example.com"}
  - {email: bob@example.com}
  - {name: Eve}
appVersion: 1.10
deprecated: yes
engine: gotpl
annotations:
  org.opencontainers.image.title: other
  org.opencontainers.image.licenses: MIT
  number: 7
dependencies:
  - name: redis
    version: 17.x
    repository: https://charts.example.com
    tags: [cache, 1]
    import-values: [data, {parent: b, child: a}]
  - {name: other, enabled: true}
"""
"""A Chart.yaml with most fields and the values that Helm converts."""


def write_chart(path: Path, chart: str = CHART, *more: bytes, folder: str = "app") -> Path:
    """Write the archive of a chart, and return its path.

    Args:
        chart: The content of ``Chart.yaml``.
        more: Further entries of the archive.
        folder: The name of its folder.
    """
    entries = [entry(f"{folder}/Chart.yaml", chart.encode()), entry(f"{folder}/values.yaml", b"replicas: 1\n")]
    path.write_bytes(gzip.compress(b"".join([*entries, *more, END]), mtime=0))
    return path
