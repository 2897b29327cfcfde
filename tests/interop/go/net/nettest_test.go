// SPDX-License-Identifier: MIT

package net

import (
	"path/filepath"
	"testing"

	"golang.org/x/net/nettest"
)

// accepted makes pairs of a dialled and an accepted connection.
func accepted(network, address string) nettest.MakePipe {
	return func() (dialled, taken Conn, stop func(), err error) {
		listener, err := Listen(network, address)
		if err != nil {
			return nil, nil, nil, err
		}
		defer listener.Close()
		if dialled, err = Dial(network, listener.Addr().String()); err != nil {
			return nil, nil, nil, err
		}
		if taken, err = listener.Accept(); err != nil {
			dialled.Close()
			return nil, nil, nil, err
		}
		return dialled, taken, func() { dialled.Close(); taken.Close() }, nil
	}
}

// Other people's test of what a net.Conn must do; `nettest` is its author.
func TestConformance(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	for _, each := range []struct{ name, network, address string }{
		{"tcp", "tcp", "localhost:0"},
		{"tcp4", "tcp4", "127.0.0.1:0"},
		{"tcp6", "tcp6", "[::1]:0"},
		{"unix", "unix", path},
		{"unix abstract", "unix", "@" + path},
		{"unixpacket", "unixpacket", path},
		{"unixpacket abstract", "unixpacket", "@" + path},
	} {
		t.Run(each.name, func(t *testing.T) {
			nettest.TestConn(t, accepted(each.network, each.address))
		})
	}
	t.Run("pipe", func(t *testing.T) {
		nettest.TestConn(t, func() (first, second Conn, stop func(), err error) {
			first, second = Pipe()
			return first, second, func() { first.Close(); second.Close() }, nil
		})
	})
}
