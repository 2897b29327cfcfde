// SPDX-License-Identifier: MIT

package net

// #include "bridge.h"
// #include <stdlib.h>
import "C"

import (
	gonet "net"
	"net/netip"
	"strings"
	"syscall"
	"unsafe"
)

// What is no socket is Go's own, or has Go's form.
type (
	Addr                = gonet.Addr
	AddrError           = gonet.AddrError
	Conn                = gonet.Conn
	DNSConfigError      = gonet.DNSConfigError
	DNSError            = gonet.DNSError
	Error               = gonet.Error
	HardwareAddr        = gonet.HardwareAddr
	IP                  = gonet.IP
	IPMask              = gonet.IPMask
	IPNet               = gonet.IPNet
	InvalidAddrError    = gonet.InvalidAddrError
	Listener            = gonet.Listener
	PacketConn          = gonet.PacketConn
	ParseError          = gonet.ParseError
	UnknownNetworkError = gonet.UnknownNetworkError
)

const (
	FlagUp        = gonet.FlagUp
	FlagLoopback  = gonet.FlagLoopback
	FlagBroadcast = gonet.FlagBroadcast
	FlagMulticast = gonet.FlagMulticast
	IPv4len       = gonet.IPv4len
	IPv6len       = gonet.IPv6len
)

var (
	CIDRMask = gonet.CIDRMask
	IPv4     = gonet.IPv4
	IPv4Mask = gonet.IPv4Mask

	IPv4allsys      = gonet.IPv4allsys
	IPv4bcast       = gonet.IPv4bcast
	IPv4zero        = gonet.IPv4zero
	IPv6loopback    = gonet.IPv6loopback
	IPv6unspecified = gonet.IPv6unspecified
	IPv6zero        = gonet.IPv6zero
)

// An Interface is Go's, with the addresses of this package.
type Interface struct{ gonet.Interface }

func Interfaces() (all []Interface, err error) {
	gos, err := gonet.Interfaces()
	for _, each := range gos {
		all = append(all, Interface{each})
	}
	return all, err
}

func (i *Interface) Addrs() ([]Addr, error)          { return ours(i.Interface.Addrs()) }
func (i *Interface) MulticastAddrs() ([]Addr, error) { return ours(i.Interface.MulticastAddrs()) }

func ours(gos []Addr, err error) ([]Addr, error) {
	for i, each := range gos {
		if ip, ok := each.(*gonet.IPAddr); ok {
			gos[i] = (*IPAddr)(ip)
		}
	}
	return gos, err
}

type TCPAddr struct {
	IP   IP
	Port int
	Zone string
}
type UDPAddr struct {
	IP   IP
	Port int
	Zone string
}
type IPAddr struct {
	IP   IP
	Zone string
}
type UnixAddr struct {
	Name string
	Net  string
}

func (a *TCPAddr) Network() string          { return "tcp" }
func (a *UDPAddr) Network() string          { return "udp" }
func (a *IPAddr) Network() string           { return "ip" }
func (a *UnixAddr) Network() string         { return a.Net }
func (a *TCPAddr) String() string           { return (*gonet.TCPAddr)(a).String() }
func (a *UDPAddr) String() string           { return (*gonet.UDPAddr)(a).String() }
func (a *IPAddr) String() string            { return (*gonet.IPAddr)(a).String() }
func (a *UnixAddr) String() string          { return (*gonet.UnixAddr)(a).String() }
func (a *TCPAddr) AddrPort() netip.AddrPort { return (*gonet.TCPAddr)(a).AddrPort() }
func (a *UDPAddr) AddrPort() netip.AddrPort { return (*gonet.UDPAddr)(a).AddrPort() }
func (a *TCPAddr) isWildcard() bool         { return a == nil || a.IP.IsUnspecified() }
func (a *UDPAddr) isWildcard() bool         { return a == nil || a.IP.IsUnspecified() }
func (a *IPAddr) isWildcard() bool          { return a == nil || a.IP.IsUnspecified() }
func (a *TCPAddr) family() int              { return family(a == nil, a.IP) }
func (a *UDPAddr) family() int              { return family(a == nil, a.IP) }
func TCPAddrFromAddrPort(a netip.AddrPort) *TCPAddr {
	return (*TCPAddr)(gonet.TCPAddrFromAddrPort(a))
}
func UDPAddrFromAddrPort(a netip.AddrPort) *UDPAddr {
	return (*UDPAddr)(gonet.UDPAddrFromAddrPort(a))
}

func family(none bool, ip IP) int {
	if none || len(ip) <= IPv4len || ip.To4() != nil {
		return syscall.AF_INET
	}
	return syscall.AF_INET6
}

// address makes an address of netlite's "network address".
func address(told string) Addr {
	network, where, _ := strings.Cut(told, " ")
	switch network {
	case "":
		return nil
	case "tcp", "udp":
		host, port := where[:strings.LastIndex(where, ":")], where[strings.LastIndex(where, ":")+1:]
		number, _ := gonet.LookupPort(network, port)
		host, zone, _ := strings.Cut(strings.Trim(host, "[]"), "%")
		ip := gonet.ParseIP(host)
		if !strings.Contains(host, ":") {
			ip = ip.To4()
		}
		if network == "tcp" {
			return &TCPAddr{ip, number, zone}
		}
		return &UDPAddr{ip, number, zone}
	}
	return &UnixAddr{where, network}
}

// told makes netlite's "network address" of an address.
func told(addr Addr) string {
	switch a := addr.(type) {
	case *TCPAddr:
		if a == nil {
			return ""
		}
	case *UDPAddr:
		if a == nil {
			return ""
		}
	case *UnixAddr:
		if a == nil {
			return ""
		}
		return "unix" + strings.TrimPrefix(a.Net, "unix") + " " + a.Name
	case nil:
		return ""
	}
	return addr.Network() + " " + addr.String()
}

// cstrings copies strings for C, and says how to free them.
func cstrings(texts ...string) (copies []C.nl_text, free func()) {
	calls.Add(1)
	for _, each := range texts {
		copies = append(copies, C.nl_text{C.CString(each), C.size_t(len(each))})
	}
	return copies, func() {
		for _, each := range copies {
			C.free(unsafe.Pointer(each.data))
		}
	}
}

func SplitHostPort(hostport string) (host, port string, err error) {
	s, free := cstrings(hostport)
	defer free()
	var h, p C.nl_text
	err = problem(C.nl_split_host_port(s[0], &h, &p))
	return text(h), text(p), err
}

func JoinHostPort(host, port string) string {
	s, free := cstrings(host, port)
	defer free()
	return text(C.nl_join_host_port(s[0], s[1]))
}

// ParseIP is of Go's older kind: without a zone, and IPv4 has 16 bytes.
func ParseIP(s string) IP {
	c, free := cstrings(s)
	defer free()
	var found C.nl_text
	err := problem(C.nl_parse_ip(c[0], &found))
	ip := text(found)
	if err != nil || strings.Contains(ip, "%") {
		return nil
	}
	return gonet.ParseIP(ip)
}

func ParseCIDR(s string) (IP, *IPNet, error) {
	c, free := cstrings(s)
	defer free()
	var ip, prefix C.nl_text
	err := problem(C.nl_parse_prefix(c[0], &ip, &prefix))
	host, block := text(ip), text(prefix)
	if err != nil {
		return nil, nil, err
	}
	_, found, err := gonet.ParseCIDR(block)
	return gonet.ParseIP(host), found, err
}

func resolve(network, where string) (Addr, error) {
	s, free := cstrings(network, where)
	defer free()
	var found C.nl_text
	err := problem(C.nl_resolve(s[0], s[1], &found))
	return address(text(found)), bare(err)
}

// bare is the cause alone: that is what Go's resolvers return.
func bare(err error) error {
	if op, ok := err.(*OpError); ok {
		return op.Err
	}
	return err
}

// ofKind is for Go's functions of one kind of network.
func ofKind(network, kind, standard string) (string, error) {
	if network == "" {
		network = standard
	}
	if !strings.HasPrefix(network, kind) {
		return network, UnknownNetworkError(network)
	}
	return network, nil
}

func ResolveTCPAddr(network, where string) (*TCPAddr, error) {
	network, err := ofKind(network, "tcp", "tcp")
	if err != nil {
		return nil, err
	}
	addr, err := resolve(network, where)
	if err != nil {
		return nil, err
	}
	tcp := addr.(*TCPAddr)
	tcp.IP = tcp.IP.To16() // Go's resolvers have one form for both families
	return tcp, nil
}

func ResolveUDPAddr(network, where string) (*UDPAddr, error) {
	network, err := ofKind(network, "udp", "udp")
	if err != nil {
		return nil, err
	}
	addr, err := resolve(network, where)
	if err != nil {
		return nil, err
	}
	udp := addr.(*UDPAddr)
	udp.IP = udp.IP.To16()
	return udp, nil
}

func ResolveUnixAddr(network, where string) (*UnixAddr, error) {
	network, err := ofKind(network, "unix", "unix")
	if err != nil {
		return nil, err
	}
	addr, err := resolve(network, where)
	if err != nil {
		return nil, err
	}
	return addr.(*UnixAddr), nil
}

// ResolveIPAddr fails: netlite has no raw sockets.
func ResolveIPAddr(network, where string) (*IPAddr, error) {
	_, err := resolve(network, where)
	return nil, err
}

func LookupPort(network, service string) (int, error) {
	s, free := cstrings(network, service)
	defer free()
	var port C.int
	err := problem(C.nl_lookup_port(s[0], s[1], &port))
	return int(port), bare(err)
}

func LookupHost(host string) ([]string, error) {
	s, free := cstrings(host)
	defer free()
	var lines C.nl_text
	err := problem(C.nl_lookup_host(s[0], &lines))
	return strings.Fields(text(lines)), bare(err)
}
