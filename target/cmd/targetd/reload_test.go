package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sanstick/target/iscsitest"
)

// rig is targetd with a configuration file, on a port of its own.
type rig struct {
	t         *testing.T
	dir, file string
	addr      string
	reload    chan os.Signal
	log       lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// take returns what has come since the last time.
func (l *lockedBuffer) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}

func newReloadRig(t *testing.T, config string) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{t: t, dir: dir, file: filepath.Join(dir, "targetd.toml"), addr: freeAddress(t), reload: make(chan os.Signal)}
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.write(config)
	o, err := parseFlags([]string{"--config", r.file})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx, o, slog.New(slog.NewTextHandler(&r.log, nil)), r.reload) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return r
}

// freeAddress is a free port: taken, let go, and hoped for.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (r *rig) write(config string) {
	r.t.Helper()
	if err := os.WriteFile(r.file, []byte(fmt.Sprintf("listen = [%q]\n", r.addr)+config), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// change writes the file, has it read, and returns what was logged about it.
func (r *rig) change(config string) string {
	r.t.Helper()
	r.log.take()
	r.write(config)
	r.reload <- nil
	for all := ""; ; time.Sleep(5 * time.Millisecond) {
		if all += r.log.take(); strings.Contains(all, "configuration ") {
			return all
		}
	}
}

// session logs in to a target; the LUNs are those that it has.
func (r *rig) session(initiator, iqn string, luns ...uint16) *iscsitest.Conn {
	r.t.Helper()
	var c *iscsitest.Conn
	var err error
	for range 200 {
		if c, err = iscsitest.Dial(context.Background(), r.addr); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	if _, err := c.Login(iscsitest.Names(initiator, iqn)...); err != nil {
		r.t.Fatal(err)
	}
	for _, lun := range luns {
		r.sense(c, lun, 0x062900)
	}
	return c
}

func (r *rig) do(c *iscsitest.Conn, lun uint16, cmd iscsitest.Command) iscsitest.Result {
	r.t.Helper()
	cmd.LUN = lun
	res, err := c.Do(cmd)
	if err != nil {
		r.t.Fatal(err)
	}
	return res
}

func (r *rig) sense(c *iscsitest.Conn, lun uint16, want ...uint32) {
	r.t.Helper()
	for _, want := range want {
		if res := r.do(c, lun, iscsitest.TestUnitReady()); res.SenseCode() != want {
			r.t.Fatalf("LUN %d: sense %06x, want %06x", lun, res.SenseCode(), want)
		}
	}
}

// gone checks that the session was ended, if not without a word.
func (r *rig) gone(c *iscsitest.Conn) {
	r.t.Helper()
	for {
		p, err := c.Receive()
		switch {
		case err != nil:
			return
		case p.Op() != 0x32: // asynchronous message
			r.t.Errorf("the session goes on: %v", &p)
			return
		}
	}
}

const (
	alice = "iqn.2026-01.test:alice"
	bob   = "iqn.2026-01.test:bob"
)

// section makes a target and its LUNs; each is what follows [[target.lun]].
func section(iqn, initiators string, luns ...string) string {
	s := fmt.Sprintf("[[target]]\niqn = %q\ninitiators = [%s]\n", iqn, initiators)
	for _, l := range luns {
		s += "[[target.lun]]\n" + l + "\n"
	}
	return s
}

const (
	fileA = "number = 0\npath = \"a\"\n"
	ram   = "number = 1\npath = \"mem:1M\"\n"
)

func TestReload(t *testing.T) {
	first := section("iqn.x:one", `"`+alice+`", "`+bob+`"`, fileA, ram)
	r := newReloadRig(t, first)
	a, b := r.session(alice, "iqn.x:one", 0, 1), r.session(bob, "iqn.x:one", 0, 1)

	// A second target with the same disk; the RAM disk grows; bob goes.
	r.change(section("iqn.x:one", `"`+alice+`"`, fileA, "number = 1\npath = \"mem:2M\"\n") + section("iqn.x:two", `"*"`, "number = 7\npath = \"a\"\n"))
	r.gone(b)
	r.sense(a, 0, 0)
	r.sense(a, 1, 0x062a09, 0)
	b = r.session(bob, "iqn.x:two", 7)
	data := bytes.Repeat([]byte("way"), 512)[:512]
	if res := r.do(a, 0, iscsitest.Write10(5, data, 512)); res.Status != 0 {
		t.Errorf("write: %+v", res)
	}
	if res := r.do(b, 7, iscsitest.Read10(5, 1, 512)); !bytes.Equal(res.Data, data) {
		t.Errorf("the other way reads %+v", res)
	}

	// The file grows without any of that.
	if err := os.Truncate(filepath.Join(r.dir, "a"), 2<<20); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for r.do(a, 0, iscsitest.TestUnitReady()).SenseCode() != 0x062a09 {
		if time.Now().After(deadline) {
			t.Fatal("the file has grown and nobody says so")
		}
		time.Sleep(20 * time.Millisecond)
	}
	r.sense(b, 7, 0x062a09)

	// Read-only, and writable again.
	two := section("iqn.x:two", `"*"`, "number = 7\npath = \"a\"\n")
	mem2 := "number = 1\npath = \"mem:2M\"\n"
	r.change(section("iqn.x:one", `"`+alice+`"`, fileA+"ro = true\n", mem2) + strings.TrimSpace(two) + "\nro = true\n")
	r.sense(a, 0, 0x062a01, 0)
	r.sense(b, 7, 0x062a01, 0)
	if res := r.do(a, 0, iscsitest.Write10(6, data, 512)); res.SenseCode() != 0x072700 {
		t.Errorf("write to a disk that has become read-only: %+v", res)
	}
	r.change(section("iqn.x:one", `"`+alice+`"`, fileA, mem2) + two)
	r.sense(a, 0, 0x062a01, 0)
	r.sense(b, 7, 0x062a01, 0)
	if res := r.do(a, 0, iscsitest.Write10(6, data, 512)); res.Status != 0 {
		t.Errorf("write to a disk that has become writable: %+v", res)
	}

	// What can't be isn't done, and nothing else of it either.
	for name, bad := range map[string]string{
		"not TOML":        "[[target]",
		"unknown key":     section("iqn.x:one", `"*"`) + "fast = true\n",
		"no such disk":    section("iqn.x:one", `"*"`, "number = 3\npath = \"mem:1M\"", "number = 4\npath = \"nowhere\""),
		"shrunk RAM disk": section("iqn.x:one", `"*"`, "number = 1\npath = \"mem:1M\"") + two,
		"in use":          section("iqn.x:one", `"*"`, fileA, "number = 3\npath = \"link\"\n"),
	} {
		os.Link(filepath.Join(r.dir, "a"), filepath.Join(r.dir, "link")) // the second time there is one
		if log := r.change(bad); !strings.Contains(log, "configuration not taken: nothing has changed") && !strings.Contains(log, "level=ERROR") {
			t.Errorf("%s: %s", name, log)
		}
		r.sense(a, 0, 0)
		r.sense(a, 1, 0)
		r.sense(b, 7, 0)
	}

	// Another disk under the same number, a disk with another block size, and
	// one target less.
	r.change(section("iqn.x:one", `"`+alice+`"`, fileA+"bs = 4096", "number = 1\npath = \"b\"\n"))
	r.gone(b)
	r.sense(a, 1, 0x062900, 0)
	r.sense(a, 0, 0x062900)
	for r.do(a, 0, iscsitest.TestUnitReady()).SenseCode() != 0 {
	}
	if res := r.do(a, 0, iscsitest.Read10(0, 1, 4096)); !bytes.Equal(res.Data[5*512:6*512], data) {
		t.Errorf("after opening again: %+v", res)
	}

	// And back, in one step.
	r.change(first)
	r.sense(a, 0, 0x062900)
	r.session(bob, "iqn.x:one", 0, 1)
}

// Reloads and logins and I/O at the same time: nothing but unit attentions is
// noticed by a LUN that stays.
func TestReloadUnderTraffic(t *testing.T) {
	one := section("iqn.x:one", `"*"`, fileA)
	r := newReloadRig(t, one)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	commands := 0
	c := r.session(alice, "iqn.x:one", 0)
	wg.Go(func() {
		for ; ; commands++ {
			select {
			case <-stop:
				return
			default:
			}
			cmd := iscsitest.Write10(uint32(commands%100), make([]byte, 4096), 512)
			if res, err := c.Do(cmd); err != nil || res.Status != 0 && res.SenseCode() != 0x063f0e {
				t.Errorf("write: %v, %+v", err, res)
				return
			}
		}
	})
	for i := range 30 {
		text := one
		if i%2 == 0 {
			text = section("iqn.x:one", `"*"`, fileA, ram, "number = 2\npath = \"b\"\n") + section("iqn.x:two", `"*"`, "number = 0\npath = \"b\"\n")
		}
		if log := r.change(text); strings.Contains(log, "level=ERROR") {
			t.Error(log)
		}
		if i%2 == 0 {
			r.session(bob, "iqn.x:two", 0).Close() // one that stays would be asked to leave, and have time for it
		}
	}
	close(stop)
	wg.Wait()
	if commands < 30 {
		t.Errorf("only %d commands", commands)
	}
}
