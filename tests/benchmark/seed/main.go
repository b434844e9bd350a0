// Copyright: k8scr.core contributors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Command seed pushes and pulls one image with the method of the kubectl plugin k8scr: go-containerregistry with a round
// tripper that sends its requests through the API server's Pod proxy, with client-go's transport over HTTP/2.
//
//	seed push oci:FOLDER | docker-archive:FILE | docker-daemon:NAME  REPOSITORY:TAG
//	seed pull REPOSITORY:TAG  oci:FOLDER | docker-archive:FILE | docker-daemon:NAME
//	seed serve ADDRESS
//
// Environment variables: SEED_PROXY is the URL of the Pod proxy, KUBECONFIG the kubeconfig for its API server. The
// command "serve" runs the plugin's registry, which keeps all data in memory.
//
// go.mod has the plugin's versions of the libraries, today.mod the current ones.
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

// podProxy is a round tripper that sends the requests for a registry to the Pod proxy.
type podProxy struct {
	proxy *url.URL
	next  http.RoundTripper
}

func (p podProxy) RoundTrip(request *http.Request) (*http.Response, error) {
	sent := request.Clone(request.Context())
	sent.URL.Scheme, sent.URL.Host, sent.Host = p.proxy.Scheme, p.proxy.Host, p.proxy.Host
	// The API server adds the prefix to the path of a Location.
	if !strings.HasPrefix(sent.URL.Path, p.proxy.Path) {
		sent.URL.Path = p.proxy.Path + sent.URL.Path
	}
	return p.next.RoundTrip(sent)
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 2 && arguments[0] == "serve" {
		return http.ListenAndServe(arguments[1], registry.New())
	}
	if len(arguments) != 3 {
		return fmt.Errorf("usage: seed push SOURCE NAME, seed pull NAME DESTINATION, seed serve ADDRESS")
	}
	transport, err := transport()
	if err != nil {
		return err
	}
	if arguments[0] == "push" {
		return push(arguments[1], arguments[2], transport)
	}
	return pull(arguments[1], arguments[2], transport)
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
	return podProxy{proxy, next}, err
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
	kind, location, _ := strings.Cut(source, ":")
	switch kind {
	case "oci":
		index, err := layout.ImageIndexFromPath(location)
		if err != nil {
			return nil, err
		}
		manifest, err := index.IndexManifest()
		if err != nil {
			return nil, err
		}
		image, err := index.Image(manifest.Manifests[0].Digest)
		return layoutImage{image, layout.Path(location)}, err
	case "docker-archive":
		return tarball.ImageFromPath(location, nil)
	case "docker-daemon":
		reference, err := name.ParseReference(location)
		if err != nil {
			return nil, err
		}
		return daemon.Image(reference)
	}
	return nil, fmt.Errorf("unknown transport of source %s", source)
}

// layoutImage is an image in a layout. The plugin's version of the library cannot read uncompressed layers of a layout.
type layoutImage struct {
	v1.Image
	path layout.Path
}

func (i layoutImage) Layers() ([]v1.Layer, error) {
	manifest, err := i.Manifest()
	if err != nil {
		return nil, err
	}
	layers := make([]v1.Layer, len(manifest.Layers))
	for number, described := range manifest.Layers {
		if layers[number], err = partial.CompressedToLayer(blob{described, i.path}); err != nil {
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
	kind, location, _ := strings.Cut(destination, ":")
	switch kind {
	case "oci":
		path, err := layout.Write(location, empty.Index)
		if err != nil {
			return err
		}
		return path.AppendImage(image)
	case "docker-archive":
		return tarball.WriteToFile(location, reference, image)
	case "docker-daemon":
		tag, err := name.NewTag(location)
		if err != nil {
			return err
		}
		_, err = daemon.Write(tag, image)
		return err
	}
	return fmt.Errorf("unknown transport of destination %s", destination)
}
