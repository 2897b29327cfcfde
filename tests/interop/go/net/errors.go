// SPDX-License-Identifier: MIT

package net

// #include "bridge.h"
// #include <stdlib.h>
import "C"

import (
	"errors"
	"io"
	gonet "net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

// OpError is Go's, as a type of this package.
type OpError struct {
	Op     string
	Net    string
	Source Addr
	Addr   Addr
	Err    error
}

func (e *OpError) gos() *gonet.OpError { return (*gonet.OpError)(e) }
func (e *OpError) Error() string       { return e.gos().Error() }
func (e *OpError) Timeout() bool       { return e.gos().Timeout() }
func (e *OpError) Temporary() bool     { return e.gos().Temporary() }
func (e *OpError) Unwrap() error       { return e.Err }

var (
	ErrClosed           = gonet.ErrClosed
	ErrWriteToConnected = gonet.ErrWriteToConnected

	errMissingAddress    = errors.New("missing address")
	errNoSuitableAddress = errors.New("no suitable address found")
	errCanceled          = errors.New("operation was canceled")
)

// What netlite says in Go's words, as Go's values.
var values = map[string]error{}

func init() {
	for _, err := range []error{io.EOF, io.ErrUnexpectedEOF, ErrClosed,
		ErrWriteToConnected, os.ErrDeadlineExceeded, errMissingAddress} {
		values[err.Error()] = err
	}
}

// text takes over a string of C.
func text(c C.nl_text) string {
	defer C.free(unsafe.Pointer(c.data))
	return C.GoStringN(c.data, C.int(c.size))
}

// problem makes Go's error of the story that netlite tells, or nil.
func problem(story C.nl_error) error {
	if story.data == nil {
		return nil
	}
	f := strings.SplitN(text(story), "\n", 7)
	category, code, op, network, message := f[0], f[1], f[2], f[3], f[6]
	if op == "" {
		return cause(category, code, message)
	}
	err := &OpError{op, network, address(f[4]), address(f[5]), errors.New("")}
	before := err.Error()
	if !strings.HasPrefix(message, before) {
		panic("netlite says '" + message + "' where Go says '" + before + "'")
	}
	err.Err = cause(category, code, message[len(before):])
	if err.Error() != message {
		panic("netlite says '" + message + "' where Go says '" + err.Error() + "'")
	}
	return err
}

func cause(category, code, words string) error {
	if value, ok := values[words]; ok {
		return value
	}
	before, after, subject := words, "", false
	if i := strings.LastIndex(words, ": "); i >= 0 {
		before, after, subject = words[:i], words[i+2:], true
	}
	number, _ := strconv.Atoi(code)
	switch {
	case category == "errno" && subject:
		return &os.SyscallError{Syscall: before, Err: syscall.Errno(number)}
	case category == "errno":
		return syscall.Errno(number)
	case strings.HasPrefix(words, "unknown network "):
		return UnknownNetworkError(strings.TrimPrefix(words, "unknown network "))
	case strings.HasPrefix(words, "lookup "):
		return &DNSError{Err: after, Name: strings.TrimPrefix(before, "lookup "),
			IsNotFound: after == "no such host"}
	case strings.HasPrefix(words, "invalid "):
		return &ParseError{Type: strings.TrimPrefix(before, "invalid "), Text: after}
	case strings.HasPrefix(words, "address "):
		return &AddrError{Err: after, Addr: strings.TrimPrefix(before, "address ")}
	}
	return &AddrError{Err: words}
}
