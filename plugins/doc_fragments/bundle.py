# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options of bundles: the limits of downloads, and the files beside the images."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of ``k8scr_bundle``: ``DOCUMENTATION`` has the limits, and ``EXTRAS`` the files beside the images."""

    DOCUMENTATION = r"""
options:
  connections:
    description: Maximum number of concurrent requests to each registry, from V(1) to V(1024). The default is V(4).
    type: int
    default: 4
  timeout:
    description: Seconds without data after which a connection is considered lost, from V(1) to V(2147483). The
      default is V(60). The duration of a transfer is not limited.
    type: int
    default: 60
  minimum_rate:
    description: Minimum number of bytes a second of each connection, averaged over one minute, or over O(timeout) if
      that is longer, as in V(10K), from V(0) to V(1073741824). The default is V(1024). A slower connection is
      interrupted and its transfer is resumed, at most four times for each request. Set it to V(0) for no minimum.
    type: bytes
    default: 1024
  retry_timeout:
    description: Seconds to keep retrying a failing request, from V(0) to V(2147483). The default is V(120). Progress
      resets the timer. Until a registry has responded, only three attempts are made, so that a wrong name fails
      quickly.
    type: int
    default: 120
"""

    EXTRAS = r"""
options:
  extras:
    description: Other files to add, each with its checksum, so that the other side can start without a network. By
      default, there are none.
    type: dict
    suboptions:
      collections:
        description: Paths of the tarballs of collections, for C(ansible-galaxy collection install). They are stored in
          C(extras/collections).
        type: list
        elements: path
      wheels:
        description:
          - Python packages to download for the host on the other side, with everything they require. They are stored in
            C(extras/wheels), with the file C(requirements.txt), for C(pip install --no-index --find-links).
          - The pip of the module's Python interpreter downloads them, with its configuration, index and credentials.
            Only wheels are used, so that no code of the packages runs. For each Python version and platform, pip may
            run for one hour.
          - The module downloads them again only if this option changes, or with an incomplete or new bundle. To update
            them, raise a version in O(extras.wheels.requirements).
        type: dict
        suboptions:
          requirements:
            description: Names of packages with versions (PEP 508), as in V(ansible-core==2.19.*). URLs, paths and
              options of pip are not allowed. The default is C(requests) and C(kubernetes) in the versions that the
              modules of this collection need.
            type: list
            elements: str
          python:
            description: Versions of CPython on the other side, in quotes, as in V("3.11").
            type: list
            elements: str
            required: true
          platforms:
            description: Platforms of the hosts on the other side, as in the file names of wheels. The default is
              V(manylinux2014_x86_64), which is Linux with glibc 2.17 or newer. Each package must have a wheel for each
              Python version on each platform. Wheels for an older C(manylinux) or C(musllinux) are compatible.
            type: list
            elements: str
      files:
        description: Paths of files and folders, such as manifests and values. They are stored in C(extras/files) under
          their own names.
        type: list
        elements: path
"""
