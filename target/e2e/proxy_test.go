//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
)

// proxy is a path to a port that can be cut. Its own port stays the same.
type proxy struct {
	port int // where to connect to
	to   string

	mu      sync.Mutex
	l       net.Listener // nil while the path is cut
	silent  bool         // bytes disappear
	conns   map[net.Conn]struct{}
	running sync.WaitGroup
}

// newProxy makes a path to a port of 127.0.0.1. It ends with the test.
func newProxy(t *testing.T, port int) *proxy {
	t.Helper()
	p := &proxy{port: freePort(t), to: fmt.Sprintf("127.0.0.1:%d", port), conns: make(map[net.Conn]struct{})}
	p.mend(t)
	t.Cleanup(func() {
		p.cut()
		p.running.Wait()
	})
	return p
}

// mend makes the path usable for new connections. Those that have lost bytes
// are broken.
func (p *proxy) mend(t *testing.T) {
	t.Helper()
	p.cut()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p.port))
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.l, p.silent = l, false
	p.running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.running.Go(func() { p.carry(c) })
		}
	})
}

// refuse refuses new connections.
func (p *proxy) refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.l != nil {
		p.l.Close()
		p.l = nil
	}
}

// cut breaks all connections, and refuses new ones.
func (p *proxy) cut() {
	p.refuse()
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// silence lets all bytes disappear, like a cable that is pulled. New
// connections are refused: Linux 6.1 with open-iscsi 2.1.8 may never get a
// session back of which a login was broken off.
func (p *proxy) silence() {
	p.refuse()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = true
}

// carry serves one connection until either end closes it or the path is cut.
func (p *proxy) carry(c net.Conn) {
	defer c.Close()
	up, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer up.Close()
	p.mu.Lock()
	if p.l == nil {
		p.mu.Unlock()
		return
	}
	p.conns[c], p.conns[up] = struct{}{}, struct{}{}
	p.mu.Unlock()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{c, up}, {up, c}} {
		both.Go(func() {
			_, _ = io.Copy(filter{p, way[0]}, way[1]) // ends when either is closed
			c.Close()
			up.Close()
		})
	}
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	delete(p.conns, up)
}

// filter loses what is written to it while its proxy is silent.
type filter struct {
	p *proxy
	c net.Conn
}

func (f filter) Write(b []byte) (int, error) {
	f.p.mu.Lock()
	silent := f.p.silent
	f.p.mu.Unlock()
	if silent {
		return len(b), nil
	}
	return f.c.Write(b)
}
