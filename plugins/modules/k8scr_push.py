#!/usr/bin/python
# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8scr_push
short_description: Push images into a cluster's registry through the API server
version_added: 0.1.0
description:
  - Pushes OCI and Docker images to a registry that runs as a Pod. All requests go through the Pod proxy of the
    Kubernetes API server. Users with the permission to use C(pods/proxy) on the registry's port can push; a registry of
    the role P(k8scr.core.registry#role) also asks for C(get) on the Secret with its write path.
  - An image is known by its digest. One that is there costs one request, and no layer is read.
  - Indexes of several platforms are pushed whole, and every digest stays as it is.
  - Any artifact travels as images do, as a Helm chart or WebAssembly. Layers that are not to be distributed and say
    where they are to be fetched from (C(nondistributable) of OCI, C(foreign) of Docker) are not sent.
  - The tag is set last, so nobody ever sees an image whose parts are missing.
author:
  - k8scr.core contributors (@k8scr)
extends_documentation_fragment:
  - k8scr.core.auth
  - k8scr.core.registry_pod
  - k8scr.core.registry
  - k8scr.core.docker_daemon
  - k8scr.core.attributes
  - k8scr.core.attributes.cluster
options:
  images:
    description:
      - The images to push.
      - Each is a source, or a dictionary with a source and the name that the image shall have.
      - A source is C(oci:FOLDER[:NAME]), C(oci-archive:FILE[:NAME]) or C(docker-archive:FILE[:NAME]) as in
        containers-transports(5), or a path that begins with V(/), V(./), V(../) or V(~), whose kind is found out.
        Without C(NAME) it means every image that is there, each under its own name. V(@0) in its place is the first
        image that is there, V(@1) the second, also where they have no names.
      - An archive may be compressed with gzip as a whole, as C(docker save NAME | gzip) makes it. It is read in place
        and takes no room on the disk, but the time of C(gunzip) also when there is nothing to do, and twice that when
        there is. What is compressed in another way has to be decompressed before; its layers stay compressed.
      - C(docker-daemon:NAME), or a name alone, is an image in the engine of Docker or Podman, as in
        V(crossplane/crossplane:v1.2.1). Whether it is in the cluster is found out by its image ID, without exporting
        it. Of an image of several platforms an engine gives the one that it runs, and of others none.
      - C(docker://NAME) is an image of the registry that its name begins with, as in
        C(docker://registry.example.com/team/api:1.2). It goes straight from there to the cluster, without a stop on
        this host's disk. A name with a digest, as in C(docker://registry.example.com/team/api:1.2@sha256:…), means
        that digest, whatever the tag has become since.
      - Sources are read on the host that runs the task. Links in a folder of C(oci:) are not followed, since they may
        lead out of it; C(cp -rL) makes a copy without any.
    type: list
    elements: raw
    required: true
    suboptions:
      source:
        description: Where the image is.
        type: str
        required: true
      name:
        description:
          - The name that the image shall have, as in C(registry.example.com/team/api:1.2).
          - Without it the name that the source has for the image is kept.
          - An image that has another digest than its name is refused. One whose name has a digest and no tag, as in
            C(registry.example.com/team/api@sha256:…), gets no tag and is known by its digest alone.
        type: str
      platforms:
        description:
          - The platforms that the cluster needs, as in V(linux/amd64) or V(linux/arm/v7). Without a variant all
            variants are meant.
          - Without it an index is pushed whole, and every digest stays as it is.
          - With it the image is reduced to these. If one image is left, that is what the tag points to, with the
            digest that it has at the source. Otherwise there is a new index, which lists the same images; its digest
            is another, the same in every run. Attestations that an index lists beside its images are left out.
          - Only what is needed for these has to be there, so sources that lack other platforms will do.
        type: list
        elements: str
      referrers:
        description:
          - Whether what refers to the image goes along, as signatures, attestations and SBOMs do, and what refers to
            these again. It is found by the registry's list of referrers, by the tag C(sha256-DIGEST) that stands for
            one, and by cosign's tags C(sha256-DIGEST.sig), C(.att) and C(.sbom), for the image and for each of its
            platforms.
          - Each has an entry of its own in the result, after the image's. Where the cluster's registry keeps no list,
            the tag C(sha256-DIGEST) is made there, which clients look at instead.
          - Sources are C(docker://), C(oci:) and C(oci-archive:). The others have no place for referrers.
          - It costs some requests for every platform, also when everything is there.
        type: bool
        default: false
  mount_from:
    description:
      - Other repositories of the cluster's registry that may have blobs of the images, as in V(team/base). The
        registry takes over from there what they have, and it is not sent.
      - The images of one task find each other by themselves, and so does an image that the same user has pushed
        there before under another name.
    type: list
    elements: str
    default: []
  lock:
    description:
      - A file, on the host that runs the task, that says which digest each image's name means, so that another cluster
        or another month gets the very same images. It is made for version control, a JSON object sorted by name with a
        line for each image.
      - Without O(locked) it is written - each image that the task delivered is added, or gets its digest of now, and
        what the file says of others stays. The task is changed if the file is. Check mode and C(--diff) show it.
      - Tasks that run at the same time, on several hosts or from several playbooks, can share the file. It keeps the
        images of all of them. If two tasks deliver an image under the same name, it has the digest of the task that
        finished last, as if they had run one after the other.
      - The digest is that of the manifest or index at the source, before O(images[].platforms) reduces it. An image of
        a Docker archive or of an engine has none that is its own, and is locked by its image ID, which is the digest
        of its config; one that is locked so is found again in these kinds of sources. What goes along with an image by
        O(images[].referrers) is not locked.
    type: path
  locked:
    description:
      - Whether images are held to the file in O(lock), and it is not written.
      - An image of C(docker://) is then read by the digest that is locked, whatever its tag has become since. In other
        sources an image with another digest is refused before anything of it is sent. So is one that the file does not
        have.
    type: bool
    default: false
  compression:
    description:
      - How layers that are not compressed are, on their way into the cluster. That is what Docker archives and engines
        have. Layers that are compressed already are never touched, and neither is anything of an OCI layout, an OCI
        archive or another registry - there the digests stay as they are.
      - V(auto) is gzip at its fastest, with the Python library C(isal) where the host that runs the module has it, and
        with Python's own C(zlib) otherwise. Both make about the same of a layer, C(isal) in a quarter of the time.
      - V(gzip) is the same, V(zstd) is what current runtimes read too. It needs Python 3.14, or the Python library
        C(zstandard).
      - With V(none) layers are sent as they are. That is faster where the line carries more than the processors
        compress, which is about 65 MB a second for each with C(zlib) and 250 MB with C(isal). The registry and the
        line to each node then carry more than twice as much.
      - An image stays the same image however it is compressed. One that is there is not sent again for it, and of one
        that is not there, layers that the registry has are taken as it has them.
    type: str
    choices: [auto, none, gzip, zstd]
    default: auto
  tmp_dest:
    description:
      - A folder that has room for the export of an image in the engine of Docker or Podman, which takes as much as the
        image has without compression. It is there while the task runs, in a file that vanishes with it.
      - Without it E(TMPDIR) counts, and without that it is C(/var/tmp).
    type: path
  upstreams:
    description:
      - What there is to say about the registries that C(docker://) names, one entry for each. A registry that speaks
        HTTPS with a certificate that this host trusts, and whose credentials are where other tools keep them, needs
        none.
      - Without O(upstreams[].username), credentials are looked for when a registry asks for some - in
        E(DOCKER_AUTH_CONFIG), which has what C(config.json) would have, then in the file that E(REGISTRY_AUTH_FILE)
        names, or else in C($XDG_RUNTIME_DIR/containers/auth.json),
        C($XDG_CONFIG_HOME/containers/auth.json) and C($DOCKER_CONFIG/config.json) (C(~/.docker/config.json)), in
        this order, with the credential helpers that these name. C(podman login) and C(docker login) write there.
      - Certificate authorities (C(*.crt)) and client certificates (C(NAME.cert) with C(NAME.key)) of a registry are
        looked for as containers-certs.d(5) says, in the first of C(~/.config/containers/certs.d/HOST:PORT),
        C(/etc/containers/certs.d/HOST:PORT) and C(/etc/docker/certs.d/HOST:PORT).
      - A registry's credentials and client certificates are shown to that registry and its token server alone.
      - Proxies are those of the environment, E(HTTPS_PROXY), E(HTTP_PROXY) and E(NO_PROXY).
    type: list
    elements: dict
    default: []
    suboptions:
      host:
        description:
          - The registry as images' names begin with it, as in V(registry.example.com:5000).
          - Docker Hub is V(docker.io).
        type: str
        required: true
      username:
        description: The user to log in as.
        type: str
      password:
        description: The user's password, or an access token that stands for one.
        type: str
      ca_cert:
        description:
          - A PEM file of certificate authorities to trust for this registry and what it sends us to, beside the
            system's.
        type: path
      client_cert:
        description: A PEM file with our certificate, for a registry that asks for one.
        type: path
      client_key:
        description:
          - A PEM file with the certificate's key, without a password.
          - Without it the key is in the file of O(upstreams[].client_cert).
        type: path
      validate_certs:
        description: Whether the registry's certificate is checked.
        type: bool
        default: true
      plain_http:
        description: Whether the registry speaks HTTP without TLS. Credentials then travel without TLS as well.
        type: bool
        default: false
      mirrors:
        description:
          - Registries that are asked for this one's images before it, the first one first, as in
            V(mirror.example.com) or V(mirror.example.com/docker-hub), where C(/docker-hub) comes before the images'
            repositories.
          - One that does not have an image or does not answer is passed over.
          - Images keep the name that they have without the mirror. What is to be said about a mirror itself has an
            entry of its own.
        type: list
        elements: str
        default: []
seealso:
  - module: k8scr.core.k8scr_pull
"""

EXAMPLES = r"""
- name: Push every image of an archive under its own name
  k8scr.core.k8scr_push:
    images:
      - docker-archive:/media/app/app.tar

- name: Push an image of the Docker daemon
  k8scr.core.k8scr_push:
    images:
      - crossplane/crossplane:v1.2.1

- name: Push an image that Podman built, under another name
  k8scr.core.k8scr_push:
    images:
      - source: docker-daemon:localhost/api:dev
        name: registry.example.com/team/api:1.2
    docker_host: unix:///run/podman/podman.sock
    tmp_dest: /srv/scratch

- name: Push one image of an OCI layout under another name
  k8scr.core.k8scr_push:
    images:
      - source: oci:/media/app/layout:api
        name: registry.example.com/team/api:1.2

- name: See what would be sent
  k8scr.core.k8scr_push:
    images:
      - /media/app/app.tar
      - oci-archive:/media/app/proxy.tar
  check_mode: true
  diff: true
  register: plan

- name: Leave room on a slow line for others, and send nothing that another repository has
  k8scr.core.k8scr_push:
    images:
      - oci:/media/app/layout
    bandwidth: 5M
    mount_from: [team/base]

- name: Copy images from their registries, without a stop on disk
  k8scr.core.k8scr_push:
    images:
      - docker://docker.io/library/busybox:1.36
      - source: docker://registry.example.com:5000/team/api:1.2
        name: registry.example.com/team/api:1.2
    upstreams:
      - host: docker.io
        mirrors: [mirror.example.com/docker-hub]
      - host: registry.example.com:5000
        username: puller
        password: "{{ registry_password }}"
        ca_cert: /etc/ssl/example-ca.pem

- name: Copy an image from a registry that wants a client certificate
  k8scr.core.k8scr_push:
    images:
      - docker://registry.example.com/team/api:1.2
    upstreams:
      - host: registry.example.com
        client_cert: /etc/ssl/bastion.pem
        client_key: /etc/ssl/private/bastion-key.pem

- name: Push what the nodes can run, and no other platforms
  k8scr.core.k8scr_push:
    images:
      - source: docker://docker.io/library/busybox:1.36
        platforms: [linux/amd64]
      - source: oci:/media/app/layout:api
        platforms: [linux/amd64, linux/arm64]

- name: Let the signatures and SBOMs of an image go along with it
  k8scr.core.k8scr_push:
    images:
      - source: docker://registry.example.com/team/api:1.2
        referrers: true

- name: Note which images these names mean today
  k8scr.core.k8scr_push:
    images:
      - docker://docker.io/library/busybox:1.36
      - docker://registry.example.com/team/api:1.2
    lock: "{{ playbook_dir }}/images.lock.json"

- name: Give another cluster the very same images, whatever the tags have become
  k8scr.core.k8scr_push:
    images:
      - docker://docker.io/library/busybox:1.36
      - docker://registry.example.com/team/api:1.2
    lock: "{{ playbook_dir }}/images.lock.json"
    locked: true
    context: production

- name: Push an archive over a fast line, without the time that compression takes
  k8scr.core.k8scr_push:
    images:
      - docker-archive:/media/app/app.tar
    compression: none

- name: Push to the Pod that k8scr's own manifest deploys
  k8scr.core.k8scr_push:
    images:
      - oci:/media/app/layout
    namespace: default
    registry: k8scr
    registry_port: 80
"""

RETURN = r"""
images:
  description: One entry for each image, in the order asked.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The image's full name.
      type: str
      sample: registry.example.com/team/api:1.2
    source:
      description: Where it was read from.
      type: str
      sample: oci:/media/app/layout:api
    repository:
      description: Its repository in the cluster's registry.
      type: str
      sample: team/api
    tag:
      description: Its tag.
      type: str
      sample: "1.2"
    target:
      description: Repository and tag, or repository and digest.
      type: str
      sample: team/api:1.2
    subject:
      description: The digest of the manifest that it refers to; only for what went along with an image.
      type: str
      sample: sha256:8d9b2c5a3f1f0d1c5a7a5b1cf2a3f4b5c6d7e8f90123456789abcdef01234567
    digest:
      description:
        - The digest of its manifest or index in the registry; empty if the image failed.
        - In check mode it is empty too where layers would be compressed, which tells what they become.
      type: str
      sample: sha256:4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1
    digest_before:
      description: The digest that the tag had before; empty if there was none.
      type: str
      sample: sha256:8d9b2c5a3f1f0d1c5a7a5b1cf2a3f4b5c6d7e8f90123456789abcdef01234567
    changed:
      description: Whether the tag was set anew.
      type: bool
      sample: true
    present:
      description: The blobs that the registry had, by number and bytes.
      type: dict
      sample: {blobs: 3, bytes: 31357624}
    mounted:
      description:
        - The blobs that it took over from another of its repositories.
        - In check mode, those that it would be asked to take over. A registry may refuse that; then they are sent.
      type: dict
      sample: {blobs: 1, bytes: 2811478}
    sent:
      description:
        - The blobs that were sent, or in check mode would be.
        - In check mode layers that would be compressed count with the bytes that they have before.
      type: dict
      sample: {blobs: 1, bytes: 1532}
    blobs:
      description:
        - Each blob of the manifests that were missing, with what became of it.
        - A layer that was compressed on the way, now or in an earlier run, has with C(uncompressed) the digest that it
          had before. In check mode C(digest) is empty if that is to be done, and C(size) is the one before.
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
      description: Why the image failed, if it did.
      type: str
      sample: /media/app/layout does not exist. Sources are read on the host that runs the task; check the path there.
retries:
  description: What was tried again, why, and how often.
  returned: always
  type: list
  elements: dict
  sample:
    - what: blob sha256:4f4fb700ef54461cfa02571ae0db9a0dc1e0cdb5577484a6d75e68dc38e8acc1 to team/api
      why: the connection to the API server 192.0.2.1:6443 was cut
      times: 1
"""

from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.push import run_push
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.push_settings import PUSH_ARGUMENT_SPEC
from ansible_collections.k8scr.core.plugins.module_utils._k8scr.commands.run_module import run_module


def main() -> None:
    """Run the module."""
    run_module(PUSH_ARGUMENT_SPEC, run_push, required_if=[("locked", True, ["lock"])])


if __name__ == "__main__":
    main()
