# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options for a cluster's registry, and for transfers of images to and from it."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of modules that use a registry.

    ``POD`` has those of all modules that connect to one, and ``IMAGES`` those of modules that transfer several images.
    """

    DOCUMENTATION = r"""
options:
  qualify:
    description: Whether an image's repository in the cluster's registry begins with the host of the image's name, as in
      C(registry.example.com/team/api). By default, the host is omitted, as in C(team/api). Set it to separate equal
      repositories of different registries. A colon before a port becomes an underscore. An IPv6 address is written in
      full, with hyphens in place of colons.
    type: bool
    default: false
  connections:
    description: Maximum number of concurrent requests to the registry, and to each upstream registry, from V(1) to
      V(1024). The default is V(4).
    type: int
    default: 4
  bandwidth:
    description: Maximum number of bytes a second for all connections of the task together, as in V(20M), up to
      V(4503599627370496). By default, or with V(0), there is no limit. Set it to leave capacity for other clients,
      because images pass through the cluster's control plane.
    type: bytes
  chunk_size:
    description:
      - Maximum number of bytes in a request, as in V(64M), up to V(4503599627370496). By default, or with V(0), a
        blob is sent in one request, and in smaller requests if that fails. Set it if a load balancer limits the size of
        bodies or interrupts long requests.
      - It also limits the data that is sent again after an interruption, to one chunk for each connection. By default,
        that is the data that the API server and the registry received but did not store, about 3 to 10 MiB for each
        connection, and up to 16 MiB if the registry was stalled.
    type: bytes
  timeout:
    description: Seconds without data after which a connection is considered lost, from V(1) to V(2147483). The
      default is V(60). The duration of a transfer is not limited.
    type: int
    default: 60
  minimum_rate:
    description:
      - Minimum number of bytes a second of each connection in each direction, averaged over one minute, or over
        O(timeout) if that is longer, as in V(10K), from V(0) to V(1073741824). The default is V(1024). A slower
        connection is interrupted and its transfer is resumed, at most four times for each request. Only the time that
        a connection waits for the network counts, so O(bandwidth) may be lower. Set it to V(0) for no minimum, or
        increase it to interrupt unresponsive connections earlier.
      - It applies to the API server, and to upstream registries and their mirrors. Independent of it, the header of a
        response, and each body other than a blob, must arrive within five minutes from their first byte.
    type: bytes
    default: 1024
  retry_timeout:
    description: Seconds to keep retrying a failing request, from V(0) to V(2147483). The default is V(120). Increase
      it if the API server or the registry needs longer to restart. Progress resets the timer. Until the API server or
      the registry has responded, only three attempts are made, so that a wrong address fails quickly.
    type: int
    default: 120
"""

    POD = r"""
options:
  namespace:
    description: Namespace of the registry's Pod. The default is V(k8scr).
    type: str
    default: k8scr
  registry:
    description: Name of the registry's Pod. The default is V(k8scr-0), the Pod of the role P(k8scr.core.registry#role).
    type: str
    default: k8scr-0
  registry_port:
    description: Port of the registry in its Pod, from V(1) to V(65535). The default is the write port of the role
      P(k8scr.core.registry#role). On that port, the registry serves only requests below its secret write path. The
      module reads the path from the Secret C(NAME-write) for the Pod C(NAME-0); users need C(get) on it. A registry
      without such a Secret requires only C(pods/proxy).
    type: int
    default: 5000
  registry_scheme:
    description: Protocol of the registry on O(registry_port). The default is V(http).
    type: str
    choices: [http, https]
    default: http
"""

    IMAGES = r"""
options:
  fail_fast:
    description: Whether to stop at the first image that fails. By default, the other images are still transferred.
    type: bool
    default: false
notes:
  - With O(images[].platforms), an index is reduced to the selected platforms. If one image is left, the image's name
    points to it, and its digest is unchanged. Otherwise a new index lists the selected images. Its digest differs from
    the original index's and is the same in every run. Attestations in the index are omitted.
  - Referrers are found with the registry's referrers API, with the fallback tag C(sha256-DIGEST), and with cosign's
    tags C(sha256-DIGEST.sig), C(.att) and C(.sbom). This applies to the image and to each of its platforms. It takes
    up to five requests for each.
  - With O(images[].platforms), a signature of the index does not apply to a reduced index, which has another digest, or
    to the one manifest that is left. With O(images[].referrers=auto), the result reports it as left out.
"""
