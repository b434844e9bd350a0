# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options for sources of images."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of modules that read images from any source."""

    DOCUMENTATION = r"""
options:
  images:
    description:
      - The images to copy. Each entry is a source, or a dictionary with a source and the image's name at the
        destination.
      - A source is C(oci:FOLDER[:NAME]), C(oci-archive:FILE[:NAME]) or C(docker-archive:FILE[:NAME]) as in
        containers-transports(5), or a path that begins with V(/), V(./), V(../) or V(~), whose format is detected.
        Without C(NAME), all images of the source are copied under their own names. V(@0) in place of C(NAME) selects
        the first image and V(@1) the second, including images without a name or with an invalid name. Set
        O(images[].name) for those.
      - C(bundle:PATH[:NAME]) is a bundle of M(k8scr.core.k8scr_bundle), which is also detected if only its path is
        written. C(PATH) is a folder, an archive, one volume of a bundle, or a folder whose subfolders are volumes. It
        is read in place, also from read-only media. An incomplete bundle is an error. If a volume is missing, the
        images and the layers on the other volumes are copied, and the task fails with the number of the missing volume;
        insert it and run the task again. A layer that is cut into parts is uploaded part by part.
      - A bundle can leave out content that its destination should have. If the destination does not have it, the image
        fails before anything is sent for it, and the message lists the images to deliver first.
      - OCI layouts of hauler and C(cosign save) are supported. Signatures and other referrers in a layout are not
        images of their own; O(images[].referrers) copies them. Convert folders of C(skopeo sync --dest dir) with
        C(skopeo copy --all dir:FOLDER oci:LAYOUT:NAME).
      - An archive can be compressed with gzip, as by C(docker save NAME | gzip). It is read in place and needs no disk
        space. Reading takes as long as C(gunzip) if the destination has the images, and twice as long otherwise.
      - An archive can also be compressed with zstd, as those of k3s and RKE2, with xz or with bzip2. It is decompressed
        into a temporary file in O(tmp_dest), at most four archives at once, or one for each of O(connections) if that
        is more. zstd requires Python 3.14, the Python library C(zstandard) or the program C(zstd) on the host that runs
        the module.
      - Layers of Docker archives that are compressed with xz or bzip2 are decompressed, because registries and runtimes
        support only gzip and zstd. They are treated like uncompressed layers.
      - An image's config can have up to 16 MiB. Manifests, C(index.json) and C(manifest.json) can have up to 4 MiB.
      - A task can read more archives than the host's limit of open files. An archive must not change during the task.
      - C(docker-daemon:NAME) or a name alone, as in V(crossplane/crossplane:v1.2.1), is an image of the Docker or
        Podman engine. The module compares its image ID with the destination's images, without an export. An engine
        exports only the platform that it runs.
      - C(docker://NAME) is an image of the registry in its name, as in
        C(docker://registry.example.com/team/api:1.2). It is copied directly to the destination. A name with a digest,
        as in C(docker://registry.example.com/team/api:1.2@sha256:…), selects that digest, even if the tag has moved.
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
        description: Name of the image at the destination, as in C(registry.example.com/team/api:1.2). The default is
          its name in the source. An image whose digest differs from the digest in its name is an error. A name with a
          digest and no tag, as in C(registry.example.com/team/api@sha256:…), is identified by its digest alone. In the
          cluster's registry, it has the tag C(k8scr-) with its first 12 digits, because garbage collections delete
          untagged images.
        type: str
      platforms:
        description: Platforms to copy, as in V(linux/amd64) or V(linux/arm/v7). A platform without a variant selects
          all variants. By default, an index is copied whole, and all digests stay unchanged. Set it to copy only the
          platforms that the cluster needs, or if the source does not have the other platforms.
        type: list
        elements: str
      referrers:
        description:
          - Whether to copy the referrers of the image, such as signatures, attestations and SBOMs, and their own
            referrers. By default, they are not copied.
          - Each referrer has its own entry in the result, after the image's. If the cluster's registry does not support
            the referrers API, the module sets the tag C(sha256-DIGEST), which clients read instead.
          - Supported sources are C(docker://), C(oci:) and C(oci-archive:). Other sources cannot store referrers. In
            layouts, the artifacts that C(cosign save) and hauler store next to an image are referrers too.
          - It costs some requests for each platform, even if nothing changes.
        type: bool
        default: false
  lock:
    description:
      - Path of a lock file with the digest of each image's name, on the host that runs the module. By default, no file
        is used. Set it to deliver identical images to other clusters or at a later time. Keep the file in version
        control. It is a JSON object, sorted by name, with one line for each image.
      - Without O(locked), the task writes the file. It adds each copied image or updates its digest, and keeps all
        other entries. The task is changed if the file changes. Check mode and C(--diff) show the change.
      - Concurrent tasks can share the file. If two tasks copy an image under the same name, the file has the digest
        of the task that finished last.
      - The digest is that of the manifest or index at the source, before O(images[].platforms) reduces it. Images of
        Docker archives and engines have no such digest and are locked by image ID, which is the digest of the config.
        Such an entry matches images of these kinds of sources. Referrers are not locked.
    type: path
  locked:
    description: Whether to copy only the digests in the file of O(lock), without writing the file. By default, the file
      is written. An image of C(docker://) is read by its locked digest, even if the tag has moved. In other
      sources, an image with another digest is an error before any of its data is sent. So is a missing entry.
    type: bool
    default: false
  tmp_dest:
    description:
      - Folder for the exports of images from the Docker or Podman engine, and for archives that are compressed with
        zstd, xz or bzip2. The default is E(TMPDIR), or C(/var/tmp) if it is unset. Set it if that folder is too small
        for the uncompressed images. The files are temporary. An export is deleted when its image is done, an archive at
        the end of the task.
      - Up to O(connections) images are exported at once, and each takes its uncompressed size. If a task has more
        missing images, most of them are exported twice, for the plan and for the copy. Check mode exports missing
        images too, to show the same blobs as the copy. Existing images are not exported.
    type: path
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
        E(NO_PROXY) has the notation of O(k8scr.core.k8scr_push#module:no_proxy).
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
"""
