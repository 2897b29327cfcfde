// Package net has the form of Go's package net, and netlite inside: Go's own
// tests of net are built with it.
// SPDX-License-Identifier: MIT
package net

// #include "bridge.h"
// #include <stdlib.h>
import "C"

import (
	"context"
	"net/netip"
	"os"
	"runtime"
	"runtime/cgo"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// calls counts those to netlite: a test that makes none proves nothing.
var calls atomic.Int64

// A netFD is a handle of netlite's; it is dropped when Go forgets it.
type netFD struct {
	nl     *C.nl_socket
	kind   C.enum_nl_kind
	net    string
	laddr  Addr
	raddr  Addr
	family int
}

func newFD(nl *C.nl_socket, kind C.enum_nl_kind) *netFD {
	fd := &netFD{nl: nl, kind: kind, laddr: address(text(C.nl_local_addr(nl)))}
	if kind == C.nl_conn {
		fd.raddr = address(text(C.nl_remote_addr(nl)))
	}
	if fd.laddr != nil {
		fd.net = fd.laddr.Network()
	}
	fd.family, _ = syscall.GetsockoptInt(int(C.nl_descriptor(nl)),
		syscall.SOL_SOCKET, syscall.SO_DOMAIN)
	runtime.SetFinalizer(fd, func(fd *netFD) { C.nl_drop(fd.nl) })
	return fd
}

// socket is what the types below have in common.
type socket struct{ fd *netFD }

func (s *socket) ok() bool { return s != nil && s.fd != nil }

// do makes a call that tells only how it went.
func (s *socket) do(call func(nl *C.nl_socket) C.nl_error) error {
	if !s.ok() {
		return syscall.EINVAL
	}
	defer runtime.KeepAlive(s.fd)
	calls.Add(1)
	return problem(call(s.fd.nl))
}

// move makes a call that moves bytes.
func (s *socket) move(data []byte,
	call func(nl *C.nl_socket, data unsafe.Pointer, size C.size_t, n *C.size_t) C.nl_error) (int, error) {
	if !s.ok() {
		return 0, syscall.EINVAL
	}
	defer runtime.KeepAlive(s.fd)
	calls.Add(1)
	var first unsafe.Pointer
	if len(data) > 0 {
		first = unsafe.Pointer(&data[0])
	}
	var n C.size_t
	err := problem(call(s.fd.nl, first, C.size_t(len(data)), &n))
	return int(n), err
}

func (s *socket) Close() error {
	return s.do(func(nl *C.nl_socket) C.nl_error { return C.nl_close(nl) })
}

func (s *socket) limit(direction C.enum_nl_direction, when time.Time) error {
	never := C.int(0)
	if when.IsZero() {
		never = 1
	}
	return s.do(func(nl *C.nl_socket) C.nl_error {
		return C.nl_set_deadline(nl, direction, C.int64_t(time.Until(when)), never)
	})
}

func (s *socket) SetDeadline(t time.Time) error { return s.limit(C.nl_both, t) }

func (s *socket) set(option C.enum_nl_option, value int64) error {
	return s.do(func(nl *C.nl_socket) C.nl_error {
		return C.nl_set(nl, option, C.int64_t(value))
	})
}

func (s *socket) File() (f *os.File, err error) {
	var descriptor C.int
	err = s.do(func(nl *C.nl_socket) C.nl_error { return C.nl_duplicate(nl, &descriptor) })
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(descriptor), "netlite"), nil
}

func (s *socket) SyscallConn() (syscall.RawConn, error) {
	if !s.ok() {
		return nil, syscall.EINVAL
	}
	return rawConn{s.fd}, nil
}

// conn is what can be read and written.
type conn struct{ socket }

func (c *conn) Read(data []byte) (int, error) {
	if c.ok() && c.fd.kind == C.nl_packet_conn {
		n, _, err := c.readFrom(data)
		return n, err
	}
	n, err := c.move(data, func(nl *C.nl_socket, p unsafe.Pointer, size C.size_t, n *C.size_t) C.nl_error {
		return C.nl_read(nl, p, size, n)
	})
	filled(data[:n])
	return n, err
}

func (c *conn) Write(data []byte) (int, error) {
	if c.ok() && c.fd.kind == C.nl_packet_conn {
		return c.writeTo(data, nil)
	}
	taken(data)
	return c.move(data, func(nl *C.nl_socket, p unsafe.Pointer, size C.size_t, n *C.size_t) C.nl_error {
		return C.nl_write(nl, p, size, n)
	})
}

// readFrom reads a message; of a connection, its one peer sent it.
func (c *conn) readFrom(data []byte) (int, Addr, error) {
	if c.ok() && c.fd.kind == C.nl_conn {
		n, err := c.Read(data)
		return n, c.fd.raddr, err
	}
	var from C.nl_text
	n, err := c.move(data, func(nl *C.nl_socket, p unsafe.Pointer, size C.size_t, n *C.size_t) C.nl_error {
		return C.nl_read_from(nl, p, size, n, &from)
	})
	filled(data[:n])
	if from.data == nil {
		return n, nil, err
	}
	return n, address(text(from)), err
}

// writeTo sends a message. A connection has its one peer: in netlite this does
// not compile, so this side says what Go's would.
func (c *conn) writeTo(data []byte, to Addr) (int, error) {
	if c.ok() && c.fd.kind == C.nl_conn {
		return 0, &OpError{"write", c.fd.net, c.fd.laddr, to, ErrWriteToConnected}
	}
	s, free := cstrings(told(to))
	defer free()
	taken(data)
	return c.move(data, func(nl *C.nl_socket, p unsafe.Pointer, size C.size_t, n *C.size_t) C.nl_error {
		return C.nl_write_to(nl, p, size, s[0], n)
	})
}

func (c *conn) SetReadDeadline(t time.Time) error  { return c.limit(C.nl_reads, t) }
func (c *conn) SetWriteDeadline(t time.Time) error { return c.limit(C.nl_writes, t) }
func (c *conn) SetReadBuffer(n int) error          { return c.set(C.nl_read_buffer, int64(n)) }
func (c *conn) SetWriteBuffer(n int) error         { return c.set(C.nl_write_buffer, int64(n)) }

func (c *conn) LocalAddr() Addr {
	if !c.ok() {
		return nil
	}
	return c.fd.laddr
}

func (c *conn) RemoteAddr() Addr {
	if !c.ok() {
		return nil
	}
	return c.fd.raddr
}

func (c *conn) CloseRead() error {
	return c.do(func(nl *C.nl_socket) C.nl_error { return C.nl_close_read(nl) })
}

func (c *conn) CloseWrite() error {
	return c.do(func(nl *C.nl_socket) C.nl_error { return C.nl_close_write(nl) })
}

type TCPConn struct{ conn }

func (c *TCPConn) SetNoDelay(on bool) error    { return c.set(C.nl_no_delay, number(on)) }
func (c *TCPConn) SetLinger(seconds int) error { return c.set(C.nl_linger, int64(seconds)) }
func (c *TCPConn) SetKeepAlive(on bool) error {
	return c.SetKeepAlivePeriod(time.Duration(number(on)) * 15 * time.Second)
}
func (c *TCPConn) SetKeepAlivePeriod(d time.Duration) error {
	return c.set(C.nl_keep_alive, int64(d))
}

func number(on bool) int64 {
	if on {
		return 1
	}
	return 0
}

type UDPConn struct{ conn }

func (c *UDPConn) ReadFrom(data []byte) (int, Addr, error) { return c.readFrom(data) }
func (c *UDPConn) WriteTo(data []byte, to Addr) (int, error) {
	if addr, ok := to.(*UDPAddr); ok {
		return c.WriteToUDP(data, addr)
	}
	return 0, &OpError{"write", c.fd.net, c.fd.laddr, to, syscall.EINVAL}
}
func (c *UDPConn) ReadFromUDP(data []byte) (int, *UDPAddr, error) {
	n, from, err := c.readFrom(data)
	addr, _ := from.(*UDPAddr)
	return n, addr, err
}
func (c *UDPConn) WriteToUDP(data []byte, to *UDPAddr) (int, error) {
	if to == nil {
		return c.writeTo(data, nil)
	}
	return c.writeTo(data, to)
}
func (c *UDPConn) ReadMsgUDP(data, oob []byte) (n, oobn, flags int, from *UDPAddr, err error) {
	n, from, err = c.ReadFromUDP(data)
	return
}
func (c *UDPConn) WriteMsgUDP(data, oob []byte, to *UDPAddr) (n, oobn int, err error) {
	if to == nil && c.fd.kind == C.nl_conn {
		n, err = c.Write(data)
	} else {
		n, err = c.WriteToUDP(data, to)
	}
	return
}

func (c *UDPConn) ReadFromUDPAddrPort(data []byte) (int, netip.AddrPort, error) {
	n, from, err := c.ReadFromUDP(data)
	return n, from.AddrPort(), err
}
func (c *UDPConn) WriteToUDPAddrPort(data []byte, to netip.AddrPort) (int, error) {
	return c.WriteToUDP(data, UDPAddrFromAddrPort(to))
}
func (c *UDPConn) ReadMsgUDPAddrPort(data, oob []byte) (n, oobn, flags int, from netip.AddrPort, err error) {
	n, from, err = c.ReadFromUDPAddrPort(data)
	return
}
func (c *UDPConn) WriteMsgUDPAddrPort(data, oob []byte, to netip.AddrPort) (n, oobn int, err error) {
	return c.WriteMsgUDP(data, oob, UDPAddrFromAddrPort(to))
}

type UnixConn struct{ conn }

func (c *UnixConn) ReadFrom(data []byte) (int, Addr, error) { return c.readFrom(data) }
func (c *UnixConn) WriteTo(data []byte, to Addr) (int, error) {
	if addr, ok := to.(*UnixAddr); ok {
		return c.WriteToUnix(data, addr)
	}
	return 0, &OpError{"write", c.fd.net, c.fd.laddr, to, syscall.EINVAL}
}
func (c *UnixConn) ReadFromUnix(data []byte) (int, *UnixAddr, error) {
	n, from, err := c.readFrom(data)
	addr, _ := from.(*UnixAddr)
	return n, addr, err
}
func (c *UnixConn) WriteToUnix(data []byte, to *UnixAddr) (int, error) {
	if to == nil {
		return c.writeTo(data, nil)
	}
	return c.writeTo(data, to)
}
func (c *UnixConn) ReadMsgUnix(data, oob []byte) (n, oobn, flags int, from *UnixAddr, err error) {
	n, from, err = c.ReadFromUnix(data)
	return
}
func (c *UnixConn) WriteMsgUnix(data, oob []byte, to *UnixAddr) (n, oobn int, err error) {
	if to == nil && c.fd.kind == C.nl_conn {
		n, err = c.Write(data)
	} else {
		n, err = c.WriteToUnix(data, to)
	}
	return
}

// typed gives a socket the type that its network has in Go.
func typed(fd *netFD) Conn {
	switch fd.net {
	case "tcp":
		return &TCPConn{conn{socket{fd}}}
	case "udp":
		return &UDPConn{conn{socket{fd}}}
	}
	return &UnixConn{conn{socket{fd}}}
}

type listener struct{ socket }

func (l *listener) Addr() Addr { return l.fd.laddr }

func (l *listener) Accept() (Conn, error) {
	var nl *C.nl_socket
	err := l.do(func(listener *C.nl_socket) C.nl_error { return C.nl_accept(listener, &nl) })
	if err != nil {
		return nil, err
	}
	return typed(newFD(nl, C.nl_conn)), nil
}

type TCPListener struct{ listener }

func (l *TCPListener) AcceptTCP() (*TCPConn, error) {
	c, err := l.Accept()
	tcp, _ := c.(*TCPConn)
	return tcp, err
}

type UnixListener struct{ listener }

func (l *UnixListener) AcceptUnix() (*UnixConn, error) {
	c, err := l.Accept()
	unix, _ := c.(*UnixConn)
	return unix, err
}
func (l *UnixListener) SetUnlinkOnClose(on bool) { l.set(C.nl_unlink_on_close, number(on)) }

func typedListener(nl *C.nl_socket) Listener {
	fd := newFD(nl, C.nl_listener)
	if fd.net == "tcp" {
		return &TCPListener{listener{socket{fd}}}
	}
	return &UnixListener{listener{socket{fd}}}
}

// rawConn lends the descriptor.
type rawConn struct{ fd *netFD }

func (c rawConn) Control(f func(uintptr)) error {
	defer runtime.KeepAlive(c.fd)
	descriptor := C.nl_descriptor(c.fd.nl)
	if descriptor < 0 {
		return &OpError{"raw-control", c.fd.net, nil, c.fd.laddr, ErrClosed}
	}
	f(uintptr(descriptor))
	return nil
}

func (c rawConn) Read(f func(uintptr) bool) error  { return c.until(f, C.nl_reads) }
func (c rawConn) Write(f func(uintptr) bool) error { return c.until(f, C.nl_writes) }

func (c rawConn) until(done func(uintptr) bool, direction C.enum_nl_direction) error {
	if c.fd.kind != C.nl_conn {
		return syscall.EINVAL
	}
	s := socket{c.fd}
	for {
		if err := s.do(func(nl *C.nl_socket) C.nl_error { return C.nl_wait(nl, direction) }); err != nil {
			return err
		}
		if done(uintptr(C.nl_descriptor(c.fd.nl))) {
			return nil
		}
	}
}

// A control sees a descriptor before it is bound or connected.
type control struct {
	call    func(network, address string, c syscall.RawConn) error
	network string
	address string
	err     error
}

type rawDescriptor int

func (d rawDescriptor) Control(f func(uintptr)) error  { f(uintptr(d)); return nil }
func (d rawDescriptor) Read(func(uintptr) bool) error  { return syscall.ENOTSUP }
func (d rawDescriptor) Write(func(uintptr) bool) error { return syscall.ENOTSUP }

//export nl_call_control
func nl_call_control(handle C.uintptr_t, descriptor C.int) C.int {
	c := cgo.Handle(handle).Value().(*control)
	c.err = c.call(precise(c.network, int(descriptor)), c.address, rawDescriptor(descriptor))
	if c.err != nil {
		return C.int(syscall.ECANCELED)
	}
	return 0
}

// precise is a network with its family, as Go names it to a control.
func precise(network string, descriptor int) string {
	domain, _ := syscall.GetsockoptInt(descriptor, syscall.SOL_SOCKET, syscall.SO_DOMAIN)
	switch {
	case network != "tcp" && network != "udp":
		return network
	case domain == syscall.AF_INET:
		return network + "4"
	}
	return network + "6"
}

// open makes a call that opens a socket, with a control perhaps.
func open(call func(network, address string, c syscall.RawConn) error, network, where string,
	opens func(control C.uintptr_t, nl **C.nl_socket) C.nl_error) (*C.nl_socket, error) {
	var nl *C.nl_socket
	if call == nil {
		err := problem(opens(0, &nl))
		return nl, err
	}
	c := &control{call: call, network: network, address: where}
	handle := cgo.NewHandle(c)
	defer handle.Delete()
	err := problem(opens(C.uintptr_t(handle), &nl))
	if op, ok := err.(*OpError); ok && c.err != nil {
		op.Err = c.err
	}
	return nl, err
}

type Dialer struct {
	Timeout       time.Duration
	Deadline      time.Time
	LocalAddr     Addr
	DualStack     bool
	FallbackDelay time.Duration
	KeepAlive     time.Duration
	Resolver      *struct{}
	Cancel        <-chan struct{}
	Control       func(network, address string, c syscall.RawConn) error
}

func (d *Dialer) Dial(network, where string) (Conn, error) {
	s, free := cstrings(network, where, told(d.LocalAddr))
	defer free()
	options := (*C.nl_dial_options)(C.calloc(1, C.sizeof_nl_dial_options))
	defer C.free(unsafe.Pointer(options))
	options.timeout = C.int64_t(d.Timeout)
	if !d.Deadline.IsZero() {
		options.has_deadline = 1
		options.until = C.int64_t(time.Until(d.Deadline))
	}
	options.fallback_delay = C.int64_t(d.FallbackDelay)
	options.keep_alive = C.int64_t(d.KeepAlive)
	options.local = s[2]
	nl, err := open(d.Control, network, where, func(control C.uintptr_t, nl **C.nl_socket) C.nl_error {
		options.control = control
		return C.nl_dial(s[0], s[1], options, nl)
	})
	if err != nil {
		return nil, err
	}
	return typed(newFD(nl, C.nl_conn)), nil
}

// DialContext knows a context's deadline; netlite's calls are not cancelled.
func (d *Dialer) DialContext(ctx context.Context, network, where string) (Conn, error) {
	bounded := *d
	if when, ok := ctx.Deadline(); ok && (d.Deadline.IsZero() || when.Before(d.Deadline)) {
		bounded.Deadline = when
	}
	return bounded.Dial(network, where)
}

func Dial(network, where string) (Conn, error) { return new(Dialer).Dial(network, where) }

func DialTimeout(network, where string, timeout time.Duration) (Conn, error) {
	return (&Dialer{Timeout: timeout}).Dial(network, where)
}

type ListenConfig struct {
	Control   func(network, address string, c syscall.RawConn) error
	KeepAlive time.Duration
}

func (l *ListenConfig) Listen(_ context.Context, network, where string) (Listener, error) {
	s, free := cstrings(network, where)
	defer free()
	nl, err := open(l.Control, network, where, func(control C.uintptr_t, nl **C.nl_socket) C.nl_error {
		return C.nl_listen(s[0], s[1], control, nl)
	})
	if err != nil {
		return nil, err
	}
	return typedListener(nl), nil
}

func (l *ListenConfig) ListenPacket(_ context.Context, network, where string) (PacketConn, error) {
	s, free := cstrings(network, where)
	defer free()
	nl, err := open(l.Control, network, where, func(control C.uintptr_t, nl **C.nl_socket) C.nl_error {
		return C.nl_listen_packet(s[0], s[1], control, nl)
	})
	if err != nil {
		return nil, err
	}
	return typed(newFD(nl, C.nl_packet_conn)).(PacketConn), nil
}

func Listen(network, where string) (Listener, error) {
	return new(ListenConfig).Listen(context.Background(), network, where)
}

func ListenPacket(network, where string) (PacketConn, error) {
	return new(ListenConfig).ListenPacket(context.Background(), network, where)
}

// where is an address as text; nil is an empty one.
func where(addr Addr) string {
	switch a := addr.(type) {
	case *TCPAddr:
		if a == nil {
			return ":0"
		}
	case *UDPAddr:
		if a == nil {
			return ":0"
		}
	case *UnixAddr:
		if a == nil {
			return ""
		}
	}
	return addr.String()
}

// wrong is the error of a call that netlite cannot be asked for.
func wrong(op, network string, addr Addr, err error) error {
	return &OpError{Op: op, Net: network, Addr: addr, Err: err}
}

func DialTCP(network string, laddr, raddr *TCPAddr) (*TCPConn, error) {
	if raddr == nil {
		return nil, wrong("dial", network, nil, errMissingAddress)
	}
	if _, err := ofKind(network, "tcp", ""); err != nil {
		return nil, wrong("dial", network, raddr, err)
	}
	d := Dialer{}
	if laddr != nil {
		d.LocalAddr = laddr
	}
	c, err := d.Dial(network, where(raddr))
	tcp, _ := c.(*TCPConn)
	return tcp, err
}

func DialUDP(network string, laddr, raddr *UDPAddr) (*UDPConn, error) {
	if raddr == nil {
		return nil, wrong("dial", network, nil, errMissingAddress)
	}
	if _, err := ofKind(network, "udp", ""); err != nil {
		return nil, wrong("dial", network, raddr, err)
	}
	d := Dialer{}
	if laddr != nil {
		d.LocalAddr = laddr
	}
	c, err := d.Dial(network, where(raddr))
	udp, _ := c.(*UDPConn)
	return udp, err
}

// DialUnix without a peer is what netlite calls listen_packet.
func DialUnix(network string, laddr, raddr *UnixAddr) (*UnixConn, error) {
	if _, err := ofKind(network, "unix", ""); err != nil {
		return nil, wrong("dial", network, raddr, err)
	}
	if raddr == nil && laddr != nil {
		return ListenUnixgram(network, laddr)
	}
	d := Dialer{}
	if laddr != nil {
		d.LocalAddr = laddr
	}
	c, err := d.Dial(network, where(raddr))
	unix, _ := c.(*UnixConn)
	return unix, err
}

// DialIP and ListenIP fail: netlite has no raw sockets.
func DialIP(network string, _, _ *IPAddr) (Conn, error)      { return Dial(network, "127.0.0.1") }
func ListenIP(network string, _ *IPAddr) (PacketConn, error) { return ListenPacket(network, "") }

func ListenTCP(network string, laddr *TCPAddr) (*TCPListener, error) {
	if _, err := ofKind(network, "tcp", ""); err != nil {
		return nil, wrong("listen", network, laddr, err)
	}
	l, err := Listen(network, where(laddr))
	tcp, _ := l.(*TCPListener)
	return tcp, err
}

func ListenUDP(network string, laddr *UDPAddr) (*UDPConn, error) {
	if _, err := ofKind(network, "udp", ""); err != nil {
		return nil, wrong("listen", network, laddr, err)
	}
	c, err := ListenPacket(network, where(laddr))
	udp, _ := c.(*UDPConn)
	return udp, err
}

func ListenUnix(network string, laddr *UnixAddr) (*UnixListener, error) {
	if laddr == nil {
		return nil, wrong("listen", network, nil, errMissingAddress)
	}
	l, err := Listen(network, where(laddr))
	unix, _ := l.(*UnixListener)
	return unix, err
}

func ListenUnixgram(network string, laddr *UnixAddr) (*UnixConn, error) {
	if laddr == nil {
		return nil, wrong("listen", network, nil, errMissingAddress)
	}
	c, err := ListenPacket(network, where(laddr))
	unix, _ := c.(*UnixConn)
	return unix, err
}

func ListenMulticastUDP(network string, on *Interface, group *UDPAddr) (*UDPConn, error) {
	c, err := ListenUDP(network, group)
	if err != nil {
		return nil, err
	}
	name := ""
	if on != nil {
		name = on.Name
	}
	s, free := cstrings(group.IP.String(), name)
	defer free()
	return c, c.do(func(nl *C.nl_socket) C.nl_error { return C.nl_join_group(nl, s[0], s[1]) })
}

// Pipe is netlite's: a pair of connected sockets, which the kernel buffers.
func Pipe() (Conn, Conn) {
	var first, second *C.nl_socket
	if err := problem(C.nl_pipe(&first, &second)); err != nil {
		panic(err)
	}
	return typed(newFD(first, C.nl_conn)), typed(newFD(second, C.nl_conn))
}

type fileAddr string

func (fileAddr) Network() string  { return "file+net" }
func (f fileAddr) String() string { return string(f) }

// adopt takes over a duplicate of the file's descriptor, as Go does.
func adopt(f *os.File, kind C.enum_nl_kind) (*C.nl_socket, error) {
	descriptor, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		return nil, err
	}
	var nl *C.nl_socket
	if err = problem(C.nl_adopt(C.int(descriptor), kind, &nl)); err != nil {
		syscall.Close(descriptor)
		if op, ok := err.(*OpError); ok { // netlite knows no name of a file
			op.Net, op.Addr = "file+net", fileAddr(f.Name())
		}
	}
	return nl, err
}

func FileConn(f *os.File) (Conn, error) {
	nl, err := adopt(f, C.nl_conn)
	if err != nil {
		return nil, err
	}
	return typed(newFD(nl, C.nl_conn)), nil
}

func FileListener(f *os.File) (Listener, error) {
	nl, err := adopt(f, C.nl_listener)
	if err != nil {
		return nil, err
	}
	return typedListener(nl), nil
}

func FilePacketConn(f *os.File) (PacketConn, error) {
	nl, err := adopt(f, C.nl_packet_conn)
	if err != nil {
		return nil, err
	}
	return typed(newFD(nl, C.nl_packet_conn)).(PacketConn), nil
}
