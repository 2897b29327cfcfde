// Go's net: the same work as in work.hpp.
// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"sort"
	"strconv"
	"time"
)

const (
	message = 64
	room    = 1024
	block   = 65536
	burst   = 20
	batch   = 100
)

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

func number(text string) int { return must(strconv.Atoi(text)) }

func echo(conn net.Conn) {
	buffer := make([]byte, room)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		conn.Write(buffer[:n])
	}
}

func answerOneByte(conn net.Conn) {
	var one [1]byte
	if n, _ := conn.Read(one[:]); n == 1 {
		conn.Write(one[:])
	}
}

func each(listener net.Listener, handle func(net.Conn)) {
	for {
		conn := must(listener.Accept())
		handle(conn)
		conn.Close()
	}
}

func serve(listener net.Listener, handle func(net.Conn)) {
	for {
		conn := must(listener.Accept())
		go func() {
			handle(conn)
			conn.Close()
		}()
	}
}

func serveUntilTold(address string, server func()) {
	go server()
	fmt.Println(address)
	io.Copy(io.Discard, os.Stdin)
	os.Remove(address)
	os.Exit(0)
}

func packets() {
	conn := must(net.ListenPacket("udp4", "127.0.0.1:0"))
	serveUntilTold(conn.LocalAddr().String(), func() {
		buffer := make([]byte, message)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err == nil {
				conn.WriteTo(buffer[:n], from)
			}
		}
	})
}

func server(work, first, second string) {
	network, address := "tcp", "127.0.0.1:0"
	if work == "answer" || work == "source" {
		network = first
	}
	if network == "unix" {
		address = fmt.Sprintf("/tmp/netlite-bench-%d", os.Getpid())
	}
	listener := must(net.Listen(network, address))
	serveUntilTold(listener.Addr().String(), func() {
		switch work {
		case "serve":
			serve(listener, echo)
		case "brief":
			if first == "threads" {
				serve(listener, answerOneByte)
			} else {
				each(listener, answerOneByte)
			}
		case "answer":
			each(listener, func(conn net.Conn) {
				if second == "deadline" {
					conn.SetDeadline(time.Now().Add(time.Hour))
				}
				echo(conn)
			})
		case "source":
			data := make([]byte, block)
			each(listener, func(conn net.Conn) {
				for left := number(second) << 20; left > 0; left -= block {
					conn.Write(data)
				}
			})
		case "file":
			each(listener, func(conn net.Conn) {
				file := must(os.Open(first))
				io.Copy(conn, file)
				file.Close()
			})
		case "proxy":
			each(listener, func(conn net.Conn) {
				from := must(net.Dial("tcp", first))
				io.Copy(conn, from)
				from.Close()
			})
		}
	})
}

func timed(work func()) float64 {
	start := time.Now()
	work()
	return time.Since(start).Seconds()
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sort.Float64s(values)
	return values[len(values)/2]
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, value := range values {
		sum += value
	}
	return sum / float64(len(values))
}

func medianLap(laps int, lap func()) float64 {
	var seconds []float64
	for i := 0; i < laps; i++ {
		seconds = append(seconds, timed(lap))
	}
	return median(seconds)
}

func ping(network, address string, rounds int, how string) float64 {
	conn := must(net.Dial(network, address))
	if how == "deadline" {
		conn.SetDeadline(time.Now().Add(time.Hour))
	}
	buffer := make([]byte, room)
	oneBurst := func() {
		for i := 0; i < burst; i++ {
			must(conn.Write(buffer[:message]))
			must(io.ReadAtLeast(conn, buffer, message))
		}
	}
	medianLap(rounds/10/burst, oneBurst) // warm up
	var seconds []float64
	for i := 0; i < rounds/burst; i++ {
		if how == "bursts" {
			time.Sleep(time.Millisecond)
		}
		seconds = append(seconds, timed(oneBurst))
	}
	conn.Close()
	if how == "mean" {
		return mean(seconds) / burst * 1e6
	}
	return median(seconds) / burst * 1e6
}

func drain(network, address string) float64 {
	const lap = 4 << 20
	conn := must(net.Dial(network, address))
	buffer := make([]byte, block)
	var laps []float64
	for more := true; more; {
		have := 0
		seconds := timed(func() {
			for more && have < lap {
				n, err := conn.Read(buffer)
				more = err == nil
				have += n
			}
		})
		if more {
			laps = append(laps, seconds/float64(have))
		}
	}
	return 1e-9 / median(laps)
}

func rate(address string, connections int) float64 {
	one := []byte{'x'}
	return burst / medianLap(connections/burst, func() {
		for i := 0; i < burst; i++ {
			conn := must(net.Dial("tcp", address))
			must(conn.Write(one))
			must(conn.Read(one))
			if n, err := conn.Read(one); n != 0 || err != io.EOF {
				panic("rate: no end")
			}
			conn.Close()
		}
	})
}

func oneWay(datagrams int) float64 {
	packets := must(net.ListenPacket("udp4", "127.0.0.1:0"))
	conn := must(net.Dial("udp", packets.LocalAddr().String()))
	data := make([]byte, message)
	return batch / medianLap(datagrams/batch, func() {
		for i := 0; i < batch; i++ {
			must(conn.Write(data))
		}
		for i := 0; i < batch; i++ {
			if _, _, err := packets.ReadFrom(data); err != nil {
				panic(err)
			}
		}
	})
}

func main() {
	args := append(os.Args[1:], "", "", "", "", "")
	result := 0.0
	switch work := args[0]; work {
	case "ping":
		result = ping(args[1], args[2], number(args[3]), args[4])
	case "drain":
		result = drain(args[1], args[2])
	case "rate":
		result = rate(args[1], number(args[2]))
	case "oneway":
		result = oneWay(number(args[1]))
	case "packets":
		packets()
	default:
		server(work, args[1], args[2])
	}
	fmt.Printf("%.9g\n", result)
}
