// Copyright: k8scr.core contributors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Command seed moves an image the way that the kubectl plugin k8scr does: go-containerregistry does all of it, and a
// round tripper has its requests go through the Pod proxy of the API server, over HTTP/2.
//
//	seed push oci:FOLDER | docker-archive:FILE | docker-daemon:NAME  REPOSITORY:TAG
//	seed pull REPOSITORY:TAG  oci:FOLDER | docker-archive:FILE | docker-daemon:NAME
//
// The environment says where: SEED_PROXY is the URL of the Pod's proxy, SEED_CA, SEED_CERTIFICATE and SEED_KEY are files.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/daemon"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
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
	if len(words) != 3 {
		return fmt.Errorf("usage: seed push SOURCE NAME, seed pull NAME DESTINATION")
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
	authority, err := os.ReadFile(os.Getenv("SEED_CA"))
	if err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(os.Getenv("SEED_CERTIFICATE"), os.Getenv("SEED_KEY"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	secure := &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}
	return road{proxy, &http.Transport{TLSClientConfig: secure, ForceAttemptHTTP2: true}}, nil
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
		return index.Image(manifest.Manifests[0].Digest)
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
