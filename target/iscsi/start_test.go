package iscsi_test

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"sanstick/target/block"
	"sanstick/target/block/faultdev"
	"sanstick/target/iscsi"
	"sanstick/target/iscsitest"
)

// answers receives the answers of commands that are under way at once, in any
// order, and returns what they have read.
func (b *bench) answers(c *iscsitest.Conn, itts map[uint32]int) map[uint32][]byte {
	b.t.Helper()
	data := make(map[uint32][]byte)
	for len(itts) > 0 {
		p, err := c.Receive()
		if err != nil {
			b.t.Fatal(err)
		}
		if _, ok := itts[p.ITT()]; !ok {
			b.t.Fatalf("unexpected %v", &p)
		}
		switch p.Op() {
		case 0x25:
			data[p.ITT()] = append(data[p.ITT()], p.Data...)
			if p.BHS[1]&1 == 0 {
				continue // without status
			}
		case 0x21:
			if p.BHS[3] != 0 {
				b.t.Fatalf("%v", &p)
			}
		default:
			b.t.Fatalf("unexpected %v", &p)
		}
		delete(itts, p.ITT())
	}
	return data
}

// Many sessions, each with much under way, on disks that are started and on ones
// that need a worker each: all ends up where it belongs.
func TestManyAtOnce(t *testing.T) {
	for _, start := range []func(*testing.T, iscsi.Options) *bench{start, startStarters} {
		b := start(t, iscsi.Options{})
		var wg sync.WaitGroup
		for n, c := range b.many(4) {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(n), 5))
				const part, unit = 64, 4096 // units of a session's part, and bytes of one
				model := make([]byte, part*unit)
				for range 40 {
					lun := uint16(n % 2)
					order := r.Perm(part)[:24]
					under, reads := map[uint32]int{}, map[uint32]int{}
					for _, u := range order {
						lba := uint32(n*part+u) * unit / 512
						var cmd iscsitest.Command
						read := false
						switch r.IntN(4) {
						case 0, 1:
							p := noise(r.Uint64(), unit)
							copy(model[u*unit:], p)
							cmd = iscsitest.Write10(lba, p, 512)
							cmd.CDB[1] = byte(r.IntN(2)) << 3 // FUA
						case 2:
							cmd, read = iscsitest.Read10(lba, unit/512, 512), true
						case 3:
							cmd = iscsitest.Command{CDB: append([]byte{0x35}, make([]byte, 9)...)}
						}
						cmd.LUN = lun
						itt, err := c.Start(cmd)
						if err != nil {
							t.Error(err)
							return
						}
						under[itt] = u
						if read {
							reads[itt] = u
						}
					}
					for itt, got := range b.answers(c, under) {
						u := reads[itt]
						same(t, "read", model[u*unit:(u+1)*unit], got)
					}
				}
				same(t, "disk", model, b.onDisk(n%2, int64(n*part*unit), len(model)))
			})
		}
		wg.Wait()
	}
}

// A function that aborts is answered only when what was started has come back,
// and that isn't answered.
func TestStartedAborts(t *testing.T) {
	data := noise(1, 512)
	for _, function := range []byte{iscsitest.AbortTask, iscsitest.AbortTaskSet, iscsitest.LUNReset} {
		b := startStarters(t, iscsi.Options{Workers: 1})
		c := b.session()
		arrived, release := b.disks[0].Hold(faultdev.Write)
		first, err := c.Start(iscsitest.Write10(0, data, 512))
		if err != nil {
			t.Fatal(err)
		}
		<-arrived // it is alone, and has the worker
		second, err := c.Start(iscsitest.Write10(8, data, 512))
		if err != nil {
			t.Fatal(err)
		}
		<-arrived // it needs none
		req := c.Manage(function, 0, second)
		b.send(c, req)
		b.quiet(c)
		release()
		got := map[uint32]bool{}
		for range 2 {
			p, err := c.Receive()
			if err != nil {
				t.Fatal(err)
			}
			if p.Op() == 0x22 && p.BHS[2] != 0 {
				t.Errorf("function %d: %v", function, &p)
			}
			got[p.ITT()] = true
			if function != iscsitest.AbortTask {
				break // both are aborted
			}
		}
		if !got[req.ITT()] || got[second] || got[first] != (function == iscsitest.AbortTask) {
			t.Errorf("function %d: answers %v", function, got)
		}
		b.quiet(c)
	}
}

// A session isn't over before what it has started has come back.
func TestStartedSessionEnds(t *testing.T) {
	b := startStarters(t, iscsi.Options{})
	c := b.session()
	arrived, release := b.disks[0].Hold(faultdev.Write)
	for lba := range uint32(3) {
		if _, err := c.Start(iscsitest.Write10(lba, noise(uint64(lba), 512), 512)); err != nil {
			t.Fatal(err)
		}
		<-arrived
	}
	c.Close()
	time.Sleep(100 * time.Millisecond)
	if n := len(b.srv.Sessions()); n != 1 {
		t.Errorf("%d sessions, and writes under way", n)
	}
	release()
	for end := time.Now().Add(patience); len(b.srv.Sessions()) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the session doesn't end")
		}
	}
}

// What a device says reaches the initiator.
func TestStartedFails(t *testing.T) {
	b := startStarters(t, iscsi.Options{})
	c := b.session()
	arrived, release := b.disks[0].Hold(faultdev.Read)
	b.disks[0].FailRange(faultdev.Read, 8*512, 512, block.ErrMedium)
	for _, lba := range []uint32{0, 8} {
		if _, err := c.Start(iscsitest.Read10(lba, 1, 512)); err != nil {
			t.Fatal(err)
		}
		<-arrived
	}
	release()
	good, bad := 0, 0
	for range 2 {
		p, err := c.Receive()
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case p.Op() == 0x25:
			good++
		case p.Op() == 0x21 && p.BHS[3] == 2 && bytes.HasPrefix(p.Data[2:], []byte{0xf0, 0, 3}) || p.Op() == 0x21 && p.BHS[3] == 2 && p.Data[2+2]&0xf == 3:
			bad++
		default:
			t.Errorf("%v %x", &p, p.Data)
		}
	}
	if good != 1 || bad != 1 {
		t.Errorf("%d reads, %d medium errors", good, bad)
	}
}

// A LUN gets so many commands of a session at once, and the others get theirs.
func TestStartedLimit(t *testing.T) {
	b := startStarters(t, iscsi.Options{})
	c := b.session()
	arrived, release := b.disks[0].Hold(faultdev.Read)
	const all = 100
	under := map[uint32]int{}
	for range all {
		itt, err := c.Start(iscsitest.Read10(0, 1, 512))
		if err != nil {
			t.Fatal(err)
		}
		under[itt] = 0
	}
	n := 0
	for late := time.After(300 * time.Millisecond); ; n++ {
		select {
		case <-arrived:
			continue
		case <-late:
		}
		break
	}
	if n < 60 || n > 66 {
		t.Errorf("%d commands at once", n)
	}
	other := iscsitest.Read10(0, 1, 512)
	other.LUN = 1
	if r := b.do(c, other); r.Status != 0 {
		t.Errorf("the other LUN: %+v", r)
	}
	release()
	b.answers(c, under)
}

// Nothing overtakes an ORDERED command, whoever runs it.
func TestStartedOrder(t *testing.T) {
	b := startStarters(t, iscsi.Options{})
	c := b.session()
	arrived, release := b.disks[0].Hold(faultdev.Write)
	under := map[uint32]int{}
	for i, attr := range []byte{0, 0, 2, 0} {
		cmd := iscsitest.Write10(0, bytes.Repeat([]byte{byte(i + 1)}, 512), 512)
		cmd.Attr = attr
		itt, err := c.Start(cmd)
		if err != nil {
			t.Fatal(err)
		}
		under[itt] = i
	}
	<-arrived
	<-arrived
	select {
	case <-arrived:
		t.Error("something has overtaken what was before an ORDERED command, or that itself has")
	case <-time.After(100 * time.Millisecond):
	}
	release()
	b.answers(c, under)
	same(t, "last write", bytes.Repeat([]byte{4}, 512), b.onDisk(0, 0, 512))
}
