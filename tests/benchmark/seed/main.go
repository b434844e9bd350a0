// Copyright: k8scr.core contributors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Command seed moves an image the way that the kubectl plugin k8scr does: go-containerregistry does all of it, and a
// round tripper has its requests go through the Pod proxy of the API server, with client-go's transport, over HTTP/2.
//
//	seed push oci:FOLDER | docker-archive:FILE | docker-daemon:NAME  REPOSITORY:TAG
//	seed pull REPOSITORY:TAG  oci:FOLDER | docker-archive:FILE | docker-daemon:NAME
//	seed serve ADDRESS
//
// The environment says where: SEED_PROXY is the URL of the Pod's proxy, KUBECONFIG the file for its API server. The
// last is the registry that goes with the plugin, which keeps everything in memory.
//
// go.mod has the versions of the plugin's libraries, today.mod those of today.
package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/daemon"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// road sends what is meant for a registry to the Pod's proxy instead.
type road struct {
	proxy *url.URL
	next  http.RoundTripper
}

func (r road) RoundTrip(request *http.Request) (*http.Response, error) {
	sent := request.Clone(request.Context())
	sent.URL.Scheme, sent.URL.Host, sent.Host = r.proxy.Scheme, r.proxy.Host, r.proxy.Host
	// The API server has put the prefix before the path of a Location already.
	if !strings.HasPrefix(sent.URL.Path, r.proxy.Path) {
		sent.URL.Path = r.proxy.Path + sent.URL.Path
	}
	return r.next.RoundTrip(sent)
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(words []string) error {
	if len(words) == 2 && words[0] == "serve" {
		return http.ListenAndServe(words[1], registry.New())
	}
	if len(words) != 3 {
		return fmt.Errorf("usage: seed push SOURCE NAME, seed pull NAME DESTINATION, seed serve ADDRESS")
	}
	transport, err := transport()
	if err != nil {
		return err
	}
	if words[0] == "push" {
		return push(words[1], words[2], transport)
	}
	return pull(words[1], words[2], transport)
}

func transport() (http.RoundTripper, error) {
	proxy, err := url.Parse(os.Getenv("SEED_PROXY"))
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return nil, err
	}
	next, err := rest.TransportFor(config)
	return road{proxy, next}, err
}

func push(source, target string, transport http.RoundTripper) error {
	reference, err := name.ParseReference("registry.example.com/"+target, name.Insecure)
	if err != nil {
		return err
	}
	image, err := open(source)
	if err != nil {
		return err
	}
	return remote.Write(reference, image, remote.WithTransport(transport))
}

func open(source string) (v1.Image, error) {
	kind, place, _ := strings.Cut(source, ":")
	switch kind {
	case "oci":
		index, err := layout.ImageIndexFromPath(place)
		if err != nil {
			return nil, err
		}
		manifest, err := index.IndexManifest()
		if err != nil {
			return nil, err
		}
		image, err := index.Image(manifest.Manifests[0].Digest)
		return kept{image, layout.Path(place)}, err
	case "docker-archive":
		return tarball.ImageFromPath(place, nil)
	case "docker-daemon":
		reference, err := name.ParseReference(place)
		if err != nil {
			return nil, err
		}
		return daemon.Image(reference)
	}
	return nil, fmt.Errorf("what kind of source is %s?", source)
}

// kept is an image in a layout. The plugin's version of the library reads no layer there that is not compressed.
type kept struct {
	v1.Image
	path layout.Path
}

func (k kept) Layers() ([]v1.Layer, error) {
	manifest, err := k.Manifest()
	if err != nil {
		return nil, err
	}
	layers := make([]v1.Layer, len(manifest.Layers))
	for number, described := range manifest.Layers {
		if layers[number], err = partial.CompressedToLayer(blob{described, k.path}); err != nil {
			return nil, err
		}
	}
	return layers, nil
}

type blob struct {
	described v1.Descriptor
	path      layout.Path
}

func (b blob) Digest() (v1.Hash, error)            { return b.described.Digest, nil }
func (b blob) Size() (int64, error)                { return b.described.Size, nil }
func (b blob) MediaType() (types.MediaType, error) { return b.described.MediaType, nil }
func (b blob) Compressed() (io.ReadCloser, error)  { return b.path.Blob(b.described.Digest) }

func pull(source, destination string, transport http.RoundTripper) error {
	reference, err := name.ParseReference("registry.example.com/"+source, name.Insecure)
	if err != nil {
		return err
	}
	image, err := remote.Image(reference, remote.WithTransport(transport))
	if err != nil {
		return err
	}
	kind, place, _ := strings.Cut(destination, ":")
	switch kind {
	case "oci":
		path, err := layout.Write(place, empty.Index)
		if err != nil {
			return err
		}
		return path.AppendImage(image)
	case "docker-archive":
		return tarball.WriteToFile(place, reference, image)
	case "docker-daemon":
		tag, err := name.NewTag(place)
		if err != nil {
			return err
		}
		_, err = daemon.Write(tag, image)
		return err
	}
	return fmt.Errorf("what kind of destination is %s?", destination)
}
