// SPDX-License-Identifier: MIT

//go:build race

package net

import (
	"runtime"
	"unsafe"
)

// The race detector sees Go code only: it is told that a call fills or reads a
// buffer, and that what was done before a write comes before the read of it.

var wire byte

func filled(data []byte) {
	if len(data) > 0 {
		runtime.RaceWriteRange(unsafe.Pointer(&data[0]), len(data))
	}
	runtime.RaceAcquire(unsafe.Pointer(&wire))
}

func taken(data []byte) {
	runtime.RaceReleaseMerge(unsafe.Pointer(&wire))
	if len(data) > 0 {
		runtime.RaceReadRange(unsafe.Pointer(&data[0]), len(data))
	}
}
