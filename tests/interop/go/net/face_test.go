// What Go's tests of net take from its inside, as netlite has it.
// SPDX-License-Identifier: MIT

package net

import (
	"context"
	"fmt"
	gonet "net"
	"os"
	"testing"
	"time"
)

var (
	noDeadline   = time.Time{}
	aLongTimeAgo = time.Unix(1, 0)

	// The names that Go's tests put here are those of every hosts file.
	testHookLookupIP func(context.Context, func(context.Context, string, string) ([]IPAddr, error), string, string) ([]IPAddr, error)
)

type (
	addrinfoErrno int
	pipeAddr      struct{ Addr }
)

// timeoutError is what Go's net says for a context's deadline.
type timeoutError struct{}

var errTimeout error = &timeoutError{}

func (*timeoutError) Error() string   { return "i/o timeout" }
func (*timeoutError) Timeout() bool   { return true }
func (*timeoutError) Temporary() bool { return true }

// zoneCache knows the interfaces by number.
var zoneCache zones

type zones struct{}

func (zones) name(index int) string {
	found, _ := gonet.InterfaceByIndex(index)
	return found.Name
}

func (addrinfoErrno) Error() string { return "" }

func listens(network, address string) bool {
	l, err := Listen(network, address)
	if err == nil {
		l.Close()
	}
	return err == nil
}

func supportsIPv4() bool    { return listens("tcp4", "127.0.0.1:0") }
func supportsIPv6() bool    { return listens("tcp6", "[::1]:0") }
func supportsIPv4map() bool { return supportsIPv4() && supportsIPv6() }

// A test that never came here proves nothing of netlite.
func TestMain(m *testing.M) {
	setupTestData()
	before := calls.Load()
	code := m.Run()
	if calls.Load() == before {
		fmt.Println("netlite was not called")
	}
	os.Exit(code)
}
