package iscsi_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sanstick/target/block"
	"sanstick/target/block/faultdev"
	"sanstick/target/block/filedev"
	"sanstick/target/iscsi"
	"sanstick/target/iscsitest"
)

// A disk that hangs holds up nobody who wants something of another. Each of these is
// one way to hang.

// stuck is a disk that takes nothing of what is started: Submit waits.
type stuck struct {
	faultdev.Starter
	on      *atomic.Bool
	arrived chan struct{}
	open    chan struct{}
}

func (d stuck) Submit() {
	if d.on.Load() {
		d.arrived <- struct{}{}
		<-d.open
	}
	d.Starter.Submit()
}

// begin starts a command on a LUN.
func (b *bench) begin(c *iscsitest.Conn, lun uint16, cmd iscsitest.Command) uint32 {
	b.t.Helper()
	cmd.LUN = lun
	itt, err := c.Start(cmd)
	if err != nil {
		b.t.Fatal(err)
	}
	return itt
}

// answered checks that a command is answered soon, whatever else is.
func (b *bench) answered(c *iscsitest.Conn, itt uint32, what string) {
	b.t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	defer c.SetReadDeadline(time.Now().Add(20 * time.Second))
	for {
		p, err := c.Receive()
		if err != nil {
			b.t.Fatalf("%s isn't answered: %v", what, err)
		}
		if p.ITT() == itt {
			return
		}
	}
}

// Whatever the first LUN keeps workers or memory with, the other goes on.
func TestOtherLUNGoesOn(t *testing.T) {
	small := iscsitest.Write10(8, noise(1, 512), 512)
	for _, tt := range []struct {
		name  string
		hangs faultdev.Op
		first *iscsitest.Command // alone, until it hangs
		rest  iscsitest.Command
	}{
		{"large reads", faultdev.Read, nil, iscsitest.Read10(0, 2048, 512)},
		{"reads that take all memory", faultdev.Read, nil, iscsitest.Read10(0, 1024, 512)},
		{"writes to what somebody has alone", faultdev.Write, &iscsitest.Command{CDB: []byte{0x89, 13: 1, 15: 0}, Out: make([]byte, 1024)}, small},
	} {
		for _, start := range []func(*testing.T, iscsi.Options) *bench{start, startStarters} {
			t.Run(tt.name, func(t *testing.T) {
				b := start(t, iscsi.Options{})
				c := b.session()
				arrived, release := b.disks[0].Hold(tt.hangs)
				defer release()
				defer c.Close()
				if tt.first != nil {
					b.begin(c, 0, *tt.first)
					<-arrived
				}
				for range 100 {
					b.begin(c, 0, tt.rest)
				}
				time.Sleep(200 * time.Millisecond)
				b.answered(c, b.begin(c, 1, iscsitest.TestUnitReady()), "TEST UNIT READY")
				b.answered(c, b.begin(c, 1, iscsitest.Read10(0, 8, 512)), "READ")
			})
		}
	}
}

// stuckBench has a disk as the first LUN that is stuck as long as on is set, and
// another as the second.
func stuckBench(t *testing.T, other func(*faultdev.Device) block.Device) (b *bench, on *atomic.Bool, arrived <-chan struct{}, open func()) {
	on = new(atomic.Bool)
	first := stuck{on: on, arrived: make(chan struct{}, 100), open: make(chan struct{})}
	n := 0
	b = serve(t, iscsi.Options{}, func(*iscsi.Server) {}, func(d *faultdev.Device) block.Device {
		if n++; n == 1 {
			first.Starter = faultdev.Starter{Device: d}
			return first
		}
		return other(d)
	})
	return b, on, first.arrived, func() { on.Store(false); close(first.open) }
}

func TestOneDiskTakesNothing(t *testing.T) {
	b, on, arrived, open := stuckBench(t, func(d *faultdev.Device) block.Device { return faultdev.Starter{Device: d} })
	c := b.session()
	held, release := b.disks[0].Hold(faultdev.Write)
	on.Store(true)
	write := iscsitest.Write10(8, noise(1, 512), 512)
	b.begin(c, 0, write)
	<-held // it is alone: a worker waits for it
	b.begin(c, 0, write)
	<-arrived
	time.Sleep(20 * time.Millisecond)
	for range 3 {
		b.answered(c, b.begin(c, 1, write), "WRITE")
	}
	b.answered(c, b.begin(c, 1, iscsitest.TestUnitReady()), "TEST UNIT READY")
	b.send(c, c.NOPOut(true, []byte("there?")))
	b.want(c, 0x20)
	open()
	release()
	c.Close()
}

// together is a connection that can send several PDUs at once.
type together struct {
	net.Conn
	mu   sync.Mutex
	hold bool
	buf  []byte
}

func (c *together) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hold {
		c.buf = append(c.buf, p...)
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (c *together) send() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hold = false
	_, err := c.Conn.Write(c.buf)
	return err
}

// What a session has started on the good disk doesn't keep others from it, though it
// came together with something for the other disk.
func TestOneDiskTakesNothingOtherSession(t *testing.T) {
	dir, err := os.MkdirTemp(".", "disk-test-") // temporary files may be in RAM
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "disk")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := filedev.Open(path, filedev.Options{Direct: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	b, on, arrived, open := stuckBench(t, func(*faultdev.Device) block.Device { return file })
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	conn := &together{Conn: nc}
	c, err := iscsitest.NewConn(context.Background(), conn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b.login(c, alice)
	other := b.dial()
	b.login(other, bob)
	write := iscsitest.Write10(16, noise(1, 4096), 512)
	on.Store(true)
	conn.mu.Lock()
	conn.hold = true
	conn.mu.Unlock()
	b.begin(c, 0, write)
	b.begin(c, 1, write)
	if err := conn.send(); err != nil {
		t.Fatal(err)
	}
	<-arrived
	b.answered(other, b.begin(other, 1, write), "WRITE of another session")
	open()
}

// A disk that doesn't flush, and writes that have to be durable only since they are
// under way.
func TestOneDiskDoesNotFlush(t *testing.T) {
	b := startStarters(t, iscsi.Options{})
	b.disks[0].Volatile()
	c := b.session()
	held, release := b.disks[0].Hold(faultdev.Write)
	for range 2 {
		b.begin(c, 0, iscsitest.Write10(8, noise(1, 512), 512))
		<-held
	}
	noCache := iscsitest.Command{CDB: []byte{0x15, 0x10, 0, 0, 24, 0}, Out: append([]byte{0, 0, 0, 0, 0x08, 0x12}, make([]byte, 18)...)}
	if r := b.do(c, noCache); r.Status != 0 {
		t.Fatalf("MODE SELECT: %+v", r)
	}
	flushes, releaseFlush := b.disks[0].Hold(faultdev.Flush)
	release()
	<-flushes
	<-flushes
	for range 3 {
		b.answered(c, b.begin(c, 1, iscsitest.Write10(8, noise(1, 512), 512)), "WRITE")
	}
	releaseFlush()
	c.Close()
}
