// The same program as ../peer.cpp, with Go's own net.
// SPDX-License-Identifier: MIT

package main

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

var (
	guard     sync.Mutex // of the three tables
	conns     = map[string]net.Conn{}
	listeners = map[string]net.Listener{}
	started   = map[string]chan string{}
)

func answer(value string, err error) string {
	text, classes := "", ""
	if err != nil {
		text = err.Error()
		var classed net.Error
		if errors.As(err, &classed) {
			if classed.Timeout() {
				classes += "timeout "
			}
			if classed.Temporary() {
				classes += "temporary"
			}
		}
	}
	return strings.ReplaceAll(value+"\t"+text+"\t"+classes, "\n", "\\n")
}

var escapes = strings.NewReplacer("\\n", "\n", "\\r", "\r", "\\0", "\x00",
	"\\\\", "\\")

func pattern(size int) []byte {
	bytes := make([]byte, size)
	state := uint32(1)
	for i := range bytes {
		state = state*1664525 + 1013904223
		bytes[i] = byte(state >> 24)
		if i >= 65521 {
			bytes[i] = bytes[i-65521]
		}
	}
	return bytes
}

func drain(conn net.Conn) string {
	sum := crc32.NewIEEE()
	n, err := io.Copy(sum, conn)
	return answer(fmt.Sprint(n, " ", sum.Sum32()), err)
}

func openedConn(name string, conn net.Conn, err error) string {
	if err != nil {
		return answer("", err)
	}
	guard.Lock()
	defer guard.Unlock()
	conns[name] = conn
	return answer("open", nil)
}

func text(n int, buffer []byte, err error) string {
	return answer(fmt.Sprint(n, " ", string(buffer[:n])), err)
}

func resolve(network, address string) (net.Addr, error) {
	if strings.HasPrefix(network, "unix") {
		return net.ResolveUnixAddr(network, address)
	}
	return net.ResolveUDPAddr(network, address)
}

func run(line string) string {
	word := func() string {
		parts := strings.SplitN(line+" ", " ", 2)
		line = strings.TrimSuffix(parts[1], " ")
		return parts[0]
	}
	number := func() int {
		n, _ := strconv.Atoi(word())
		return n
	}
	rest := func() string { return escapes.Replace(line) }
	milliseconds := func() time.Duration {
		return time.Duration(number()) * time.Millisecond
	}
	command, name := word(), word()

	switch command {
	case "start":
		done := make(chan string, 1)
		guard.Lock()
		started[name] = done
		guard.Unlock()
		task := rest()
		go func() { done <- run(task) }()
		return answer("started", nil)
	case "join":
		guard.Lock()
		done := started[name]
		guard.Unlock()
		return <-done
	case "dial":
		conn, err := net.Dial(word(), rest())
		return openedConn(name, conn, err)
	case "dial_within":
		limit := milliseconds()
		conn, err := net.DialTimeout(word(), rest(), limit)
		return openedConn(name, conn, err)
	case "listen":
		listener, err := net.Listen(word(), rest())
		if err != nil {
			return answer("", err)
		}
		guard.Lock()
		defer guard.Unlock()
		listeners[name] = listener
		return answer("open", nil)
	case "listen_packet":
		packets, err := net.ListenPacket(word(), rest())
		conn, _ := packets.(net.Conn)
		return openedConn(name, conn, err)
	case "accept":
		guard.Lock()
		listener := listeners[word()]
		guard.Unlock()
		conn, err := listener.Accept()
		return openedConn(name, conn, err)
	case "lookup":
		found, err := net.LookupHost(name)
		return answer(strings.Join(append(found, ""), " "), err)
	}

	guard.Lock()
	conn, listener := conns[name], listeners[name]
	guard.Unlock()
	deadline := func(both, read, write func(time.Time) error) string {
		when := time.Time{}
		if line != "never" {
			when = time.Now().Add(milliseconds())
		}
		switch command {
		case "read_deadline":
			return answer("", read(when))
		case "write_deadline":
			return answer("", write(when))
		}
		return answer("", both(when))
	}

	switch command {
	case "ends":
		remote := ""
		if conn.RemoteAddr() != nil {
			remote = conn.RemoteAddr().String()
		}
		return answer(conn.LocalAddr().String()+" "+remote, nil)
	case "addr":
		if listener != nil {
			return answer(listener.Addr().String(), nil)
		}
		return answer(conn.LocalAddr().String(), nil)
	case "read":
		buffer := make([]byte, number())
		n, err := conn.Read(buffer)
		return text(n, buffer, err)
	case "read_full":
		buffer := make([]byte, number())
		n, err := io.ReadFull(conn, buffer)
		return text(n, buffer, err)
	case "read_from":
		buffer := make([]byte, number())
		n, from, err := conn.(net.PacketConn).ReadFrom(buffer)
		name := ""
		if err == nil {
			name = from.String()
		}
		return answer(fmt.Sprint(n, " ", string(buffer[:n]), " ", name), err)
	case "drain":
		return drain(conn)
	case "write":
		n, err := conn.Write([]byte(rest()))
		return answer(fmt.Sprint(n), err)
	case "write_to":
		to, err := resolve(word(), word())
		if err != nil {
			return answer("", err)
		}
		n, err := conn.(net.PacketConn).WriteTo([]byte(rest()), to)
		return answer(fmt.Sprint(n), err)
	case "fill":
		n, err := conn.Write(pattern(number()))
		return answer(fmt.Sprint(n), err)
	case "close":
		if listener != nil {
			return answer("", listener.Close())
		}
		return answer("", conn.Close())
	case "close_read":
		return answer("", conn.(interface{ CloseRead() error }).CloseRead())
	case "close_write":
		return answer("", conn.(interface{ CloseWrite() error }).CloseWrite())
	case "no_delay":
		return answer("", conn.(*net.TCPConn).SetNoDelay(true))
	case "linger":
		return answer("", conn.(*net.TCPConn).SetLinger(number()))
	case "read_buffer":
		return answer("", conn.(*net.TCPConn).SetReadBuffer(number()))
	case "write_buffer":
		return answer("", conn.(*net.TCPConn).SetWriteBuffer(number()))
	case "deadline", "read_deadline", "write_deadline":
		if l, ok := listener.(interface{ SetDeadline(time.Time) error }); ok {
			return deadline(l.SetDeadline, l.SetDeadline, l.SetDeadline)
		}
		return deadline(conn.SetDeadline, conn.SetReadDeadline,
			conn.SetWriteDeadline)
	}
	return answer("no such command", nil)
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fmt.Println(run(lines.Text()))
	}
}
