#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_push
short_description: Push images to a cluster's registry through the API server
version_added: 0.1.0
description:
  - Pushes OCI and Docker images to a registry in a Pod. All requests go through the Pod proxy of the Kubernetes API
    server. Users need permission for C(pods/proxy) on the registry's port. A registry of the role
    P(k8scr.core.registry#role) also requires C(get) on the Secret with its write path.
  - Images are identified by digest. An existing image costs one request, or two if its source has no manifests, as in
    Docker archives and engines. None of its layers is read.
  - Artifacts such as Helm charts are pushed like images. Nondistributable layers with download URLs are not pushed.
  - The tag is set last, so clients never see an incomplete image. If a garbage collection of the registry deletes
    content of an image during the push, only that content is uploaded again.
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.auth
  - k8scr.core.registry.pod
  - k8scr.core.registry
  - k8scr.core.registry.images
  - k8scr.core.docker_daemon
  - k8scr.core.attributes
  - k8scr.core.attributes.images
  - k8scr.core.attributes.cluster
options:
  images:
    description:
      - The images to push. Each entry is a source, or a dictionary with a source and the image's name in the cluster.
      - A source is C(oci:FOLDER[:NAME]), C(oci-archive:FILE[:NAME]) or C(docker-archive:FILE[:NAME]) as in
        containers-transports(5), or a path that begins with V(/), V(./), V(../) or V(~), whose format is detected.
        Without C(NAME), all images of the source are pushed under their own names. V(@0) in place of C(NAME) selects
        the first image and V(@1) the second, including images without a name or with an invalid name. Set
        O(images[].name) for those.
      - OCI layouts of hauler and C(cosign save) are supported. Signatures and other referrers in a layout are not
        images of their own; O(images[].referrers) pushes them. Convert folders of C(skopeo sync --dest dir) with
        C(skopeo copy --all dir:FOLDER oci:LAYOUT:NAME).
      - An archive can be compressed with gzip, as by C(docker save NAME | gzip). It is read in place and needs no disk
        space. Reading takes as long as C(gunzip) if the cluster has the images, and twice as long otherwise.
      - An archive can also be compressed with zstd, as those of k3s and RKE2, with xz or with bzip2. It is decompressed
        into a temporary file in O(tmp_dest), at most four archives at once, or one for each of O(connections) if that
        is more. zstd requires Python 3.14, the Python library C(zstandard) or the program C(zstd) on the host that runs
        the module.
      - Layers of Docker archives that are compressed with xz or bzip2 are decompressed, because registries and runtimes
        support only gzip and zstd. O(compression) applies to them.
      - An image's config can have up to 16 MiB. Manifests, C(index.json) and C(manifest.json) can have up to 4 MiB.
      - A task can read more archives than the host's limit of open files. An archive must not change during the task.
      - C(docker-daemon:NAME) or a name alone, as in V(crossplane/crossplane:v1.2.1), is an image of the Docker or
        Podman engine. The module compares its image ID with the cluster's images, without an export. An engine exports
        only the platform that it runs.
      - C(docker://NAME) is an image of the registry in its name, as in
        C(docker://registry.example.com/team/api:1.2). It is copied directly to the cluster and not stored on this
        host's disk. A name with a digest, as in C(docker://registry.example.com/team/api:1.2@sha256:…), selects that
        digest, even if the tag has moved.
      - Sources are read on the host that runs the module. Symbolic links in an C(oci:) folder are not followed, because
        they may lead outside the folder. C(cp -rL) makes a copy without links.
    type: list
    elements: raw
    required: true
    suboptions:
      source:
        description: Source of the image.
        type: str
        required: true
      name:
        description: Name of the image in the cluster, as in C(registry.example.com/team/api:1.2). The default is its
          name in the source. An image whose digest differs from the digest in its name is an error. A name with a
          digest and no tag, as in C(registry.example.com/team/api@sha256:…), is identified by its digest alone. The
          module sets the tag C(k8scr-) with its first 12 digits, because garbage collections delete untagged images.
        type: str
      platforms:
        description: Platforms to push, as in V(linux/amd64) or V(linux/arm/v7). A platform without a variant selects
          all variants. By default, an index is pushed whole, and all digests stay unchanged. Set it to push only the
          platforms that the cluster needs, or if the source does not have the other platforms.
        type: list
        elements: str
      referrers:
        description:
          - Whether to push the referrers of the image, such as signatures, attestations and SBOMs, and their own
            referrers. By default, they are not pushed.
          - Each referrer has its own entry in the result, after the image's. If the cluster's registry does not support
            the referrers API, the module sets the tag C(sha256-DIGEST), which clients read instead.
          - Supported sources are C(docker://), C(oci:) and C(oci-archive:). Other sources cannot store referrers. In
            layouts, the artifacts that C(cosign save) and hauler store next to an image are referrers too.
          - It costs some requests for each platform, even if nothing changes.
        type: bool
        default: false
  mount_from:
    description: Other repositories of the cluster's registry to mount blobs from, as in V(team/base). By default, blobs
      are mounted from the repositories of the same task, and from those to which the same user pushed the image before
      under another name. Set it if other repositories share blobs with the images. Mounted blobs are not uploaded.
    type: list
    elements: str
    default: []
  lock:
    description:
      - Path of a lock file with the digest of each image's name, on the host that runs the module. By default, no file
        is used. Set it to deliver identical images to other clusters or at a later time. Keep the file in version
        control. It is a JSON object, sorted by name, with one line for each image.
      - Without O(locked), the task writes the file. It adds each delivered image or updates its digest, and keeps all
        other entries. The task is changed if the file changes. Check mode and C(--diff) show the change.
      - Concurrent tasks can share the file. If two tasks deliver an image under the same name, the file has the digest
        of the task that finished last.
      - The digest is that of the manifest or index at the source, before O(images[].platforms) reduces it. Images of
        Docker archives and engines have no such digest and are locked by image ID, which is the digest of the config.
        Such an entry matches images of these kinds of sources. Referrers are not locked.
    type: path
  locked:
    description: Whether to push only the digests in the file of O(lock), without writing the file. By default, the file
      is written. An image of C(docker://) is read by its locked digest, even if the tag has moved. In other
      sources, an image with another digest is an error before any of its data is sent. So is a missing entry.
    type: bool
    default: false
  compression:
    description:
      - How to compress uncompressed layers during the upload. The default is V(auto). It applies to Docker archives and
        engines. Compressed layers stay unchanged. All content and all digests of OCI layouts, OCI archives and other
        registries stay unchanged too.
      - V(auto) and V(gzip) are gzip at its fastest level, with the Python library C(isal) if the host that runs the
        module has it, and with Python's own C(zlib) otherwise. C(isal) takes a quarter of the time.
      - V(zstd) is supported by current runtimes. It requires Python 3.14 or the Python library C(zstandard).
      - V(none) uploads layers uncompressed. Set it if the network is faster than the compression, which is about 65 MB
        a second for each processor with C(zlib) and 250 MB with C(isal). The registry and the connection to each node
        then carry more than twice as much data.
      - Compression does not change the identity of an image. An existing image is not pushed again, and a missing image
        reuses the registry's existing layers with their compression.
    type: str
    choices: [auto, none, gzip, zstd]
    default: auto
  tmp_dest:
    description:
      - Folder for the exports of images from the Docker or Podman engine, and for archives that are compressed with
        zstd, xz or bzip2. The default is E(TMPDIR), or C(/var/tmp) if it is unset. Set it if that folder is too small
        for the uncompressed images. The files are temporary. An export is deleted when its image is done, an archive at
        the end of the task.
      - Up to O(connections) images are exported at once, and each takes its uncompressed size. If a task has more
        missing images, most of them are exported twice, for the plan and for the upload. Check mode exports missing
        images too, to show the same blobs as the push. Existing images are not exported.
    type: path
  require_space:
    description:
      - Whether to fail before the first upload if the registry has too little space for the missing images. By default,
        the module shows a warning and uploads. It then reads the images in the registry only if the upload is larger
        than one percent of the capacity. Set this option if a full storage would harm other users.
      - The free space is at most the capacity minus the size of all images in the registry. The capacity is the size
        limit of an C(emptyDir) or the size of a PersistentVolumeClaim; users need C(get) on the Pod and claim. If it
        is unknown, the task fails unless all images exist. Layers to compress count with their uncompressed size.
    type: bool
    default: false
  upstreams:
    description:
      - Settings of the registries in names of C(docker://), one entry for each registry. By default, registries are
        reached over HTTPS, with the host's trusted certificates and with the credentials of other tools.
      - Without O(upstreams[].username), the module looks for credentials when a registry requests them. It reads
        E(DOCKER_AUTH_CONFIG), which has the content of a C(config.json), then the file in E(REGISTRY_AUTH_FILE), or if
        that is unset C($XDG_RUNTIME_DIR/containers/auth.json), C($XDG_CONFIG_HOME/containers/auth.json) and
        C($DOCKER_CONFIG/config.json) (C(~/.docker/config.json)), in this order, with the credential helpers that these
        files name.
      - CA certificates (C(*.crt)) and client certificates (C(NAME.cert) with C(NAME.key)) of a registry are
        read as in containers-certs.d(5), from the first existing folder of C(~/.config/containers/certs.d/HOST:PORT),
        C(/etc/containers/certs.d/HOST:PORT) and C(/etc/docker/certs.d/HOST:PORT).
      - A registry's credentials and client certificates are used only for that registry and its token server.
      - Proxies are read from the environment variables E(HTTPS_PROXY), E(HTTP_PROXY) and E(NO_PROXY).
        E(NO_PROXY) has the notation of O(no_proxy).
    type: list
    elements: dict
    default: []
    suboptions:
      host:
        description: Host of the registry as in image names, such as V(registry.example.com:5000). Docker Hub is
          V(docker.io).
        type: str
        required: true
      username:
        description: User to log in as. By default, the module looks for credentials as described above.
        type: str
      password:
        description: Password or access token of the user.
        type: str
      ca_cert:
        description: Path of a PEM file with CA certificates to trust, in addition to the system's. Set it for a
          registry with a certificate of a private CA. They also apply to its token server and to redirects.
        type: path
      client_cert:
        description: Path of a PEM file with the client certificate, for a registry that requires one.
        type: path
      client_key:
        description: Path of a PEM file with the certificate's private key, without a password. The default is the file
          of O(upstreams[].client_cert).
        type: path
      validate_certs:
        description: Whether to verify the registry's certificate. By default, it is verified.
        type: bool
        default: true
      plain_http:
        description: Whether to use HTTP without TLS, which also sends credentials unencrypted. The default is HTTPS.
        type: bool
        default: false
      mirrors:
        description:
          - Mirrors to read this registry's images from, in order of preference, before the registry itself. An entry is
            a host, or a host with a path that precedes the repositories of images, as in V(mirror.example.com) or
            V(mirror.example.com/docker-hub).
          - The module skips a mirror that does not have an image. A mirror that keeps failing for five seconds before
            its first image is skipped for the rest of the task.
          - Names of images do not change with a mirror. Settings of a mirror belong in a separate entry.
        type: list
        elements: str
        default: []
seealso:
  - module: k8scr.core.k8scr_pull
"""

EXAMPLES = r"""
- name: Push images of an archive, the Docker engine and an OCI layout, the last one under another name
  k8scr.core.k8scr_push:
    images:
      - docker-archive:/media/app/app.tar
      - crossplane/crossplane:v1.2.1
      - source: oci:/media/app/layout:api
        name: registry.example.com/team/api:1.2

- name: Push an image built with Podman under another name
  k8scr.core.k8scr_push:
    images:
      - source: docker-daemon:localhost/api:dev
        name: registry.example.com/team/api:1.2
    docker_host: unix:///run/podman/podman.sock
    tmp_dest: /srv/scratch

- name: Show what a push would upload
  k8scr.core.k8scr_push:
    images:
      - /media/app/app.tar
      - oci-archive:/media/app/proxy.tar
  check_mode: true
  diff: true
  register: plan

- name: Limit the bandwidth, mount the blobs of another repository, and upload only if there is enough space
  k8scr.core.k8scr_push:
    images:
      - oci:/media/app/layout
    bandwidth: 5M
    mount_from: [team/base]
    require_space: true

- name: Copy images from other registries, one with its signatures and SBOMs, and record their digests
  k8scr.core.k8scr_push:
    images:
      - docker://docker.io/library/busybox:1.36
      - docker://images.example.net/team/web:2.1
      - source: docker://registry.example.com:5000/team/api:1.2
        name: registry.example.com/team/api:1.2
        referrers: true
    upstreams:
      - host: docker.io
        mirrors: [mirror.example.com/docker-hub]
      - host: registry.example.com:5000
        username: puller
        password: "{{ registry_password }}"
        ca_cert: /etc/ssl/example-ca.pem
      - host: images.example.net
        client_cert: /etc/ssl/bastion.pem
        client_key: /etc/ssl/private/bastion-key.pem
    lock: "{{ playbook_dir }}/images.lock.json"

- name: Push only the platforms of the nodes
  k8scr.core.k8scr_push:
    images:
      - source: docker://docker.io/library/busybox:1.36
        platforms: [linux/amd64]
      - source: oci:/media/app/layout:api
        platforms: [linux/amd64, linux/arm64]

- name: Push an identical image to another cluster, even if its tag has moved
  k8scr.core.k8scr_push:
    images:
      - docker://docker.io/library/busybox:1.36
    lock: "{{ playbook_dir }}/images.lock.json"
    locked: true
    context: production

- name: Push an archive uncompressed over a fast network, to the classic Pod of k8scr
  k8scr.core.k8scr_push:
    images:
      - docker-archive:/media/app/app.tar
    compression: none
    namespace: default
    registry: k8scr
    registry_port: 80
"""

RETURN = r"""
images:
  description: One entry for each image, in the given order.
  returned: success or failure of an image
  type: list
  elements: dict
  contains:
    name:
      description: Full name of the image.
      type: str
      sample: registry.example.com/team/api:1.2
    source:
      description: Source of the image.
      type: str
      sample: oci:/media/app/layout:api
    repository:
      description: Repository in the cluster's registry.
      type: str
      sample: team/api
    tag:
      description: Tag of the image; empty if its name has none.
      type: str
      sample: "1.2"
    target:
      description: Repository and tag, or repository and digest.
      type: str
      sample: team/api:1.2
    subject:
      description: Digest of the manifest to which a referrer refers; only for referrers.
      type: str
      sample: sha256:8d9b2c5a3f1f0d1c5a7a5b1cf2a3f4b5c6d7e8f90123456789abcdef01234567
    digest:
      description: Digest in the registry; empty if the image failed, and in check mode if layers would be compressed.
      type: str
      sample: sha256:4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1
    digest_before:
      description: Previous digest of the tag; empty if the tag was missing. Without a tag, the digest if it existed.
      type: str
      sample: sha256:8d9b2c5a3f1f0d1c5a7a5b1cf2a3f4b5c6d7e8f90123456789abcdef01234567
    changed:
      description: Whether the tag was set or changed.
      type: bool
      sample: true
    present:
      description: Number and bytes of the existing blobs.
      type: dict
      sample: {blobs: 3, bytes: 31357624}
    mounted:
      description: Number and bytes of the blobs mounted from other repositories of the registry, or in check mode of
        those to mount. If the registry does not mount a blob, it is uploaded.
      type: dict
      sample: {blobs: 1, bytes: 2811478}
    sent:
      description: Number and bytes of the uploaded blobs, or in check mode of those to upload. In check mode, layers to
        compress count with their uncompressed size.
      type: dict
      sample: {blobs: 1, bytes: 1532}
    blobs:
      description: The blobs of the missing manifests, each with the action that was taken. A layer that was compressed
        during an upload, now or in an earlier run, has its uncompressed digest in C(uncompressed). In check mode, a
        layer to compress has an empty C(digest) and its uncompressed C(size).
      type: list
      elements: dict
      sample:
        - digest: sha256:4f4fb700ef54461cfa02571ae0db9a0dc1e0cdb5577484a6d75e68dc38e8acc1
          size: 1532
          action: sent
        - digest: sha256:1d9ae0bd2f3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2
          size: 29124181
          action: sent
          uncompressed: sha256:7c9d20b9b6cda1c58bc4f9d6c401386786f584437abbe87e58910f8a9a15386b
    error:
      description: Reason for the failure of the image, if it failed.
      type: str
      sample: /media/app/layout does not exist. Sources are read on the host that runs the module; check the path there.
retries:
  description: Retried requests, each with the reason and the number of retries.
  returned: success or failure of an image
  type: list
  elements: dict
  sample:
    - what: blob sha256:4f4fb700ef54461cfa02571ae0db9a0dc1e0cdb5577484a6d75e68dc38e8acc1 to team/api
      why: the connection to the API server 192.0.2.1:6443 was interrupted
      times: 1
"""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.cluster_module import run_module
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.image_settings import (
    PUSH_ARGUMENT_SPEC,
    PUSH_RULES,
)
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.push import run_push


def main() -> None:
    """Run the module."""
    run_module(PUSH_ARGUMENT_SPEC, run_push, **PUSH_RULES)


if __name__ == "__main__":
    main()
