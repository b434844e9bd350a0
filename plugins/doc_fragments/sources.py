# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options for sources of images."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of modules that read images from any source, and the settings of registries alone."""

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
        images of their own; O(images[].referrers) states whether they are copied. Convert folders of
        C(skopeo sync --dest dir) with C(skopeo copy --all dir:FOLDER oci:LAYOUT:NAME).
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
      - C(chart:FILE.tgz) is the archive of a Helm chart, as C(helm package) writes it. It is copied as the artifact
        that C(helm push) makes, with its provenance file C(FILE.tgz.prov) if there is one. The artifact has no time of
        creation, so the same chart always has the same digest. The default of O(images[].name) is
        C(localhost/charts/NAME:VERSION), with C(_) in place of C(+). C(helm pull) requires that the repository ends
        with the chart's name, and that the tag is its version.
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
            referrers.
          - With V(auto), they are copied together with a new or changed image. Referrers that cannot be copied are
            left out, and the task succeeds. RV(images[].referrers.left_out) has the reasons, and one warning names the
            images. Examples are a missing blob of a signature at the source, and a registry that rejects it.
          - With V(auto), the image fails if a repeated task may copy its referrers, for example after a timeout, an
            interrupted connection, or a response with the status 429 or 503. The image does not get its tag, so that
            the repeated task copies both.
          - With V(auto), an unchanged image takes no additional requests. Therefore a referrer that was added to the
            source later is not copied.
          - With V(true), referrers of unchanged images are copied too, and the task fails if a referrer cannot be
            copied. It takes some requests for each platform, even if nothing changes. Set it to add new signatures to
            existing images, or if an image must not be used without them.
          - With V(false), no referrers are copied.
          - Each referrer has its own entry in the result, after the image's. The tag of an image is set after its
            referrers were copied. If the destination's registry does not support the referrers API, the module sets the
            tag C(sha256-DIGEST), which clients read instead.
          - Supported sources are C(docker://), C(oci:) and C(oci-archive:). With other sources, V(auto) copies the
            image alone, because they cannot store referrers. In layouts, the artifacts that C(cosign save) and hauler
            store next to an image are referrers too.
        type: raw
        default: auto
      tags:
        description:
          - Rules that select tags of a repository. O(images[].source) is then C(docker://REGISTRY/REPOSITORY) without a
            tag, and O(images[].name) is a repository too. By default, an entry of C(docker://) is one image.
          - Each selected tag is an image of its own, in the result and in the file of O(lock). Only selected tags are
            requested. An empty selection is an error.
          - With O(locked), the rules select among the tags of the repository in the lock file, without a request. The
            lookup P(k8scr.core.tags#lookup) shows a selection before it is used.
        type: dict
        suboptions:
          semver:
            description:
              - Ranges of versions to select, as in V(>=1.2 <2). Separate the comparisons that must all be satisfied
                with spaces or commas, and alternatives with C(||), or write a list of alternatives. By default, all
                versions are selected.
              - The operators are C(=), C(!=), C(>), C(>=), C(<), C(<=), C(~) and C(^). V(1.2), V(1.2.x) and V(~1.2.0)
                select all versions 1.2, V(^1.2) selects 1.2 and later versions 1, and V(1.2 - 1.4) both ends too. A
                bound with fewer numbers includes all others, so V(<=1.2) includes 1.2.7.
              - A version may begin with C(v), and may have one to eight numbers, as calendar versions do. C(_) begins
                build metadata, because tags cannot contain C(+). Other tags, such as V(latest), have no version.
              - Pre-releases, such as 1.2.0-rc.1, are selected only by a range with a pre-release, as in V(>=1.2.0-0
                <2). Variants, such as 1.2.0-alpine, are selected only by a range with that suffix, as in
                V(>=1.2.0-alpine), or with O(images[].tags.match).
            type: raw
          match:
            description: Regular expression of Python that a whole tag must match, as in V(v?[0-9.]+). By default, all
              tags match. Avoid nested repetitions, which can take very long.
            type: raw
          exclude:
            description: Regular expressions of Python that no part of a tag may match, as in V(-debug$), as a string or
              a list. By default, no tag is excluded.
            type: raw
          newest:
            description:
              - Number of newest versions to select, from V(1) to V(100000). By default, all are selected.
              - Tags are compared as versions, and each variant that O(images[].tags.match) selects is counted alone.
                Tags of equal versions, such as V(v1.2.3) and V(1.2.3), count as one and are all selected. A shorter tag
                such as V(1.2) is not selected next to a longer one such as V(1.2.3), because it usually names the same
                image.
              - The order of tags says nothing about the time when an image was made.
            type: int
          at_most:
            description: Largest number of tags of the repository, from V(1) to V(100000). More selected tags are an
              error that lists them. The default is V(20). Increase it if you need more tags.
            type: int
            default: 20
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
  verify:
    description:
      - Policies for the signatures of images. By default, signatures are not checked. The first policy whose
        O(verify[].match) matches an image's name decides. An image without a policy, without a signature that its
        policy accepts, or from a source that cannot store signatures is not copied and has an error in the result. The
        other images are copied, and the task fails at its end.
      - Signatures are checked before anything is sent, also for images that the destination already has and in check
        mode. This takes at least one request for each image. Up to O(connections) images are checked at once.
      - The signature must name the digest that the source has for the image's name. That digest was resolved once, and
        its content is copied, even if the tag moves in the meantime. For an index, the index itself must be signed, as
        by C(cosign sign). O(images[].platforms) selects from the verified index. Signatures of its manifests alone are
        not sufficient, unless the image is named by the digest of the manifest.
      - Signatures of cosign 2 and 3 are supported, under the tag C(sha256-DIGEST.sig) and as referrers, in registries
        with and without the referrers API and in OCI layouts and archives, including those of C(cosign save).
        Signatures of notation are not verified. Neither are attestations and SBOMs.
      - The source must have the signatures; O(images[].referrers) is not required. No other host is contacted. The
        guide on signatures has details.
    type: list
    elements: dict
    suboptions:
      match:
        description:
          - Shell pattern of the full names of images at the destination, as in V(registry.example.com/team/*). A C(*)
            also matches slashes. The pattern is compared with the name with its tag and with the name without its tag;
            a digest in the name is ignored.
          - Names are complete, such as C(docker.io/library/busybox:1.36). A pattern that can match no complete name,
            such as V(busybox), is an error, because a later policy would decide about its images.
        type: str
        required: true
      cosign_key:
        description: Path of a public key in PEM format, such as C(cosign.pub), for ECDSA, Ed25519 or RSA. A signature
          with this key is required. Entries in a transparency log are not required and not checked. It requires the
          Python library C(cryptography) on the host that runs the module.
        type: path
      identity:
        description:
          - Regular expression for the identity in a certificate of Sigstore, an e-mail address or a URL, as in
            V(https://github\\.com/example/.*). It must match the whole identity. It has the syntax of Go and Python.
          - It requires the program C(cosign), version 2.5 or later, on the host that runs the module. The program runs
            without a network.
        type: str
      issuer:
        description: URL of the identity provider in the certificate, as in
          V(https://token.actions.githubusercontent.com).
        type: str
      trusted_root:
        description:
          - Path of the trusted root of the Sigstore deployment that issued the certificate, a JSON file. It is never
            downloaded. C(cosign trusted-root create) writes it for a private deployment.
          - It states the required proofs. With C(tlogs), a signature must be in a transparency log; without it, it must
            have a signed timestamp. With C(ctlogs), its certificate must be in a certificate log.
        type: path
      allow:
        description: With V(unsigned), images that match need no signature, and none is checked. No other value exists.
        type: str
        choices: [unsigned]
"""

    UPSTREAMS = r"""
options:
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
      - Credentials in the name of an image, a host or a mirror, as in C(docker://user:password@registry.example.com/app),
        are an error.
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
