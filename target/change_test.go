package target_test

import (
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/target"
	"sanstick/target/block"
	"sanstick/target/block/faultdev"
	"sanstick/target/block/memdev"
	"sanstick/target/iscsitest"
	"sanstick/target/scsi"
)

const (
	alice = "iqn.2026-01.test:alice"
	bob   = "iqn.2026-01.test:bob"
)

// live is a server to which things are done while initiators use it.
type live struct {
	*target.Server
	t    *testing.T
	addr string
}

func newLive(t *testing.T) *live {
	t.Helper()
	srv, err := target.New(target.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &live{srv, t, l.Addr().String()}
}

func (l *live) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func newUnit(t *testing.T, dev block.Device, serial string) *scsi.Unit {
	t.Helper()
	u, err := scsi.NewUnit(dev, scsi.UnitOptions{Identity: scsi.Identity{Serial: serial, NAA: scsi.NAAFromUUID(serial)}})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func newMem(t *testing.T) *memdev.Device {
	t.Helper()
	dev, err := memdev.New(1<<20, memdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

func (l *live) dial() *iscsitest.Conn {
	l.t.Helper()
	c, err := iscsitest.Dial(context.Background(), l.addr)
	l.must(err)
	l.t.Cleanup(func() { c.Close() })
	return c
}

// session logs in and takes the first unit attention from LUNs.
func (l *live) session(initiator, iqn string, luns ...uint16) *iscsitest.Conn {
	l.t.Helper()
	c := l.dial()
	_, err := c.Login(iscsitest.Names(initiator, iqn)...)
	l.must(err)
	for _, lun := range luns {
		l.sense(c, lun, 0x062900)
	}
	return c
}

// sense does a TEST UNIT READY and checks how it ends: sense key, ASC and ASCQ,
// 0 = GOOD.
func (l *live) sense(c *iscsitest.Conn, lun uint16, want uint32) {
	l.t.Helper()
	r, err := c.Do(iscsitest.Command{LUN: lun, CDB: make([]byte, 6)})
	l.must(err)
	if got := r.SenseCode(); got != want || (r.Status == 0) != (want == 0) {
		l.t.Fatalf("LUN %d: status %d, sense %06x, want %06x", lun, r.Status, got, want)
	}
}

// traffic reads and writes LUN 0 on sessions of its own until stop is called.
// Unit attentions are fine, all else that isn't GOOD is an error. flow returns
// when some more commands have ended.
func (l *live) traffic(iqn string) (flow, stop func()) {
	var conns []*iscsitest.Conn
	for i := range 2 {
		c := l.dial()
		c.ISID[5] = byte(0x40 + i)
		_, err := c.Login(iscsitest.Names(alice, iqn)...)
		l.must(err)
		conns = append(conns, c)
	}
	quit := make(chan struct{})
	var wg sync.WaitGroup
	var ended atomic.Int64
	for _, c := range conns {
		wg.Go(func() {
			for i := uint32(0); ; i++ {
				select {
				case <-quit:
					return
				default:
				}
				cmd := iscsitest.Write10(i%64, make([]byte, 512), 512)
				if i%2 == 0 {
					cmd = iscsitest.Read10(i%64, 8, 512)
				}
				r, err := c.Do(cmd)
				if err != nil || r.Status != 0 && r.SenseCode()>>16 != 6 {
					l.t.Errorf("under traffic: %v, %+v", err, r)
					return
				}
				ended.Add(1)
			}
		})
	}
	flow = func() {
		for until := ended.Load() + 20; ended.Load() < until && !l.t.Failed(); {
			time.Sleep(time.Millisecond)
		}
	}
	return flow, func() { close(quit); wg.Wait() }
}

// LUNs come, go, are replaced and grow, and no session notices more than it
// has to.
func TestLUNsChange(t *testing.T) {
	l := newLive(t)
	first, second := newMem(t), newMem(t)
	c := target.Config{IQN: openIQN, Initiators: []string{"*"}, LUNs: []target.LUN{{Number: 0, Unit: newUnit(t, first, "A")}}}
	l.must(l.Add(c))
	flow, stop := l.traffic(openIQN)
	defer stop()
	flow()
	a := l.session(alice, openIQN, 0)

	l.must(l.AddLUN(openIQN, target.LUN{Number: 3, Unit: newUnit(t, second, "B")}))
	l.sense(a, 0, 0x063f0e)
	if diff := cmp.Diff([]uint16{0, 3}, luns(t, a)); diff != "" {
		t.Errorf("LUNs (-want +got):\n%s", diff)
	}
	l.sense(a, 3, 0x062900)
	l.sense(a, 3, 0)
	if err := l.AddLUN(openIQN, target.LUN{Number: 3, Unit: c.LUNs[0].Unit}); err == nil {
		t.Error("a LUN that is taken was added")
	}

	flow()
	l.must(first.Grow(2 << 20))
	l.sense(a, 0, 0x062a09)
	r, err := a.Do(iscsitest.Command{CDB: []byte{0x25, 9: 0}, In: 8})
	l.must(err)
	if want := []byte{0, 0, 0x0f, 0xff, 0, 0, 2, 0}; !slices.Equal(r.Data, want) {
		t.Errorf("READ CAPACITY: %x", r.Data)
	}

	flow()
	third := newUnit(t, newMem(t), "R")
	l.must(l.AddLUN(openIQN, target.LUN{Number: 9, Unit: third}))
	l.sense(a, 9, 0x062900)
	l.sense(a, 0, 0x063f0e)
	l.sense(a, 3, 0x063f0e)
	l.must(third.SetReadOnly(true))
	l.sense(a, 9, 0x062a01)
	write := iscsitest.Write10(0, make([]byte, 512), 512)
	write.LUN = 9
	if r, err := a.Do(write); err != nil || r.SenseCode() != 0x072700 {
		t.Errorf("write to a LUN that was made read-only: %v, %+v", err, r)
	}
	l.must(l.RemoveLUN(openIQN, 9))
	l.sense(a, 0, 0x063f0e)
	l.sense(a, 3, 0x063f0e)

	l.must(l.RemoveLUN(openIQN, 3))
	l.sense(a, 3, 0x052500)
	l.sense(a, 0, 0x063f0e)
	l.sense(a, 0, 0)
	if err := l.RemoveLUN(openIQN, 3); err == nil {
		t.Error("a LUN was removed twice")
	}

	// The same by Update: 0 stays, 5 is new; then 5 is another disk.
	c.LUNs = append(c.LUNs, target.LUN{Number: 5, Unit: newUnit(t, second, "C")})
	l.must(l.Update(c))
	l.sense(a, 0, 0x063f0e)
	l.sense(a, 5, 0x062900)
	c.LUNs[1].Unit = newUnit(t, newMem(t), "D")
	l.must(l.Update(c))
	l.sense(a, 0, 0x063f0e)
	l.sense(a, 5, 0x062900)
	l.sense(a, 5, 0)
	flow()
	if n := len(l.Sessions()); n != 3 {
		t.Errorf("%d sessions, want 3", n)
	}
}

// luns asks for the LUNs.
func luns(t *testing.T, c *iscsitest.Conn) (all []uint16) {
	t.Helper()
	r, err := c.Do(iscsitest.Command{CDB: []byte{0xa0, 8: 1, 11: 0}, In: 256})
	if err != nil || r.Status != 0 {
		t.Fatalf("REPORT LUNS: %v, %+v", err, r)
	}
	for at := 8; at+8 <= len(r.Data); at += 8 {
		all = append(all, uint16(r.Data[at+1]))
	}
	return all
}

// RemoveLUN returns when the commands that came to that LUN have come back,
// although the unit is used elsewhere too, and those that had not begun do
// nothing.
func TestRemoveLUNWaits(t *testing.T) {
	l := newLive(t)
	disk := faultdev.New(newMem(t))
	unit := newUnit(t, disk, "A")
	for _, iqn := range []string{openIQN, lockedIQN} {
		l.must(l.Add(target.Config{IQN: iqn, Initiators: []string{"*"}, LUNs: []target.LUN{{Number: 1, Unit: unit}}}))
	}
	a, b := l.session(alice, openIQN, 1), l.session(bob, lockedIQN, 1)

	// A write whose data has not come yet: not begun.
	data := make([]byte, 128<<10)
	for i := range data {
		data[i] = 0xaa
	}
	late := iscsitest.Write10(1024, data, 512)
	late.LUN = 1
	p, _ := a.Request(late)
	p.Data = nil
	l.must(a.Send(p))
	r2t, err := a.Receive()
	l.must(err)
	if r2t.Op() != 0x31 {
		t.Fatalf("want R2T, got %v", &r2t)
	}
	// And one that the device holds.
	arrived, release := disk.Hold(faultdev.Write)
	early := iscsitest.Write10(0, make([]byte, 512), 512)
	early.LUN = 1
	itt, err := a.Start(early)
	l.must(err)
	<-arrived
	removed := make(chan error, 1)
	go func() { removed <- l.RemoveLUN(openIQN, 1) }()
	select {
	case err := <-removed:
		t.Fatalf("removed under a running command: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	l.sense(b, 1, 0) // the other target isn't touched
	release()
	l.must(<-removed)
	r, err := a.Finish(itt, early)
	l.must(err)
	if r.Status != 0 {
		t.Errorf("the command that ran ended with %+v", r)
	}
	l.must(a.SendData(p.ITT(), r2t.U32(20), 1, data, 0))
	r, err = a.Finish(p.ITT(), late)
	l.must(err)
	if r.SenseCode() != 0x052500 {
		t.Errorf("the command that had not begun ended with %+v", r)
	}
	got := make([]byte, 512)
	if _, err := disk.ReadAt(got, 512<<10); err != nil || slices.Max(got) != 0 {
		t.Errorf("it has written all the same: %v", err)
	}
	l.sense(b, 1, 0)
}

// Several targets are removed together, in the time that one takes.
func TestRemoveSeveral(t *testing.T) {
	l := newLive(t)
	var all []string
	for _, name := range []string{openIQN, lockedIQN, "iqn.2026-01.test:third"} {
		l.must(l.Add(target.Config{IQN: name, Initiators: []string{"*"}}))
		l.session(alice, name) // it doesn't log out
		all = append(all, name)
	}
	begun := time.Now()
	if err := l.Remove(append(all, "iqn.2026-01.test:none")...); err == nil {
		t.Error("one that isn't there was removed")
	}
	if took := time.Since(begun); took > 2500*time.Millisecond {
		t.Errorf("that took %v", took)
	}
	if got := l.Sessions(); len(got) != 0 {
		t.Errorf("sessions left: %v", got)
	}
	for _, name := range all {
		l.must(l.Add(target.Config{IQN: name}))
	}
}
