//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"sanstick/target/iscsitest"
)

// fetched serves data once at a port of this host, and returns the shell
// command with which the machine reads it to its standard output.
func (m *machine) fetched(t *testing.T, data string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if _, err := c.Write([]byte(data)); err != nil {
			t.Errorf("cannot send to the machine: %v", err)
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	// QEMU's user network has the host at this address.
	return fmt.Sprintf("netcat 10.0.2.2 %d", l.Addr().(*net.TCPAddr).Port)
}

// apply gives the machine another configuration while it runs and returns what
// sanctl says.
func (m *machine) apply(t *testing.T, toml string, options ...string) string {
	t.Helper()
	get := m.fetched(t, toml)
	return m.shell(t, get+" </dev/null >/tmp/new.toml; sanctl config apply /tmp/new.toml "+strings.Join(options, " "))
}

// growth checks that volumes grow, and targets come and go, under an initiator
// that is logged in.
func (m *machine) growth(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := iscsitest.Dial(ctx, fmt.Sprintf("127.0.0.1:%d", m.port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Login(iscsitest.Names("iqn.2006-12.test.sanstick:watching", iqn)...); err != nil {
		t.Fatal(err)
	}
	ready := func() uint32 {
		r, err := c.Do(iscsitest.TestUnitReady())
		if err != nil {
			t.Fatalf("the session has ended: %v", err)
		}
		return r.SenseCode()
	}
	for range 5 { // what every new session is told
		if ready() == 0 {
			break
		}
	}
	larger := strings.Replace(goodTOML, `"256MiB"`, `"384MiB"`, 1)
	if said := m.apply(t, larger); !strings.Contains(said, "volume vm1: size 256MiB -> 384MiB") {
		t.Errorf("sanctl config apply says\n%s", said)
	}
	if code := ready(); code&0xffff != 0x2a09 {
		t.Errorf("sense %06x after the volume has grown, want 6/2A09", code)
	}
	if out := run(t, "iscsi-readcapacity16", m.url(iqn)); !strings.Contains(out, "402653184") {
		t.Errorf("capacity isn't 384 MiB:\n%s", out)
	}
	refused := m.apply(t, strings.Replace(larger, `["*"]`, `["iqn.2006-12.test.sanstick:other"]`, 1))
	if !strings.Contains(refused, "iqn.2006-12.test.sanstick:watching") || !strings.Contains(refused, "--force") {
		t.Errorf("an initiator that would be thrown out isn't named:\n%s", refused)
	}
	if said := m.apply(t, strings.Replace(larger, "layout", "lay0ut", 1)); !strings.Contains(said, "lay0ut") {
		t.Errorf("an error isn't named:\n%s", said)
	}
	if code := ready(); code != 0 {
		t.Errorf("sense %06x after what was refused", code)
	}
	if said := m.apply(t, larger); !strings.Contains(said, "in force already") {
		t.Errorf("the same file again: %s", said)
	}
}
