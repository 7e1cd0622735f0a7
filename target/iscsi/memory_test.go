package iscsi_test

import (
	"net"
	"runtime"
	"testing"
	"time"

	"sanstick/target/block/faultdev"
	"sanstick/target/iscsi"
	"sanstick/target/iscsitest"
)

// many logs n initiators in.
func (b *bench) many(n int, keys ...string) []*iscsitest.Conn {
	b.t.Helper()
	all := make([]*iscsitest.Conn, n)
	for i := range all {
		all[i] = b.dial()
		all[i].ISID[5] = byte(100 + i)
		b.login(all[i], alice, keys...)
	}
	return all
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

// However many initiators read and never take their data, the server holds no
// more than it was given; and when they are gone, the others go on.
func TestMemoryOfReaders(t *testing.T) {
	b := start(t, iscsi.Options{Memory: 64 << 20})
	good := b.session()
	deaf := b.many(12)
	before := heap()
	for _, c := range deaf {
		for range 4 {
			if _, err := c.Start(iscsitest.Read10(0, 16384, 512)); err != nil {
				t.Fatal(err)
			}
		}
	}
	time.Sleep(500 * time.Millisecond)
	if grown := heap() - before; grown > 64<<20 {
		t.Errorf("%d MiB for %d initiators that don't read", grown>>20, len(deaf))
	}
	for _, c := range deaf {
		c.Close()
	}
	if r := b.do(good, iscsitest.Read10(0, 32768, 512)); r.Status != 0 {
		t.Errorf("%+v", r)
	}
}

// The same for pings.
func TestMemoryOfPings(t *testing.T) {
	b := start(t, iscsi.Options{Memory: 64 << 20})
	silent := b.many(24, "MaxRecvDataSegmentLength=262144")
	before := heap()
	ping := iscsitest.PDU{Data: make([]byte, 200<<10)}
	ping.BHS[0], ping.BHS[1] = 0x40, 0x80
	ping.Put32(20, 0xffffffff)
	done := make(chan bool)
	for _, c := range silent {
		deaf(t, c)
		c.SetWriteDeadline(time.Now().Add(1500 * time.Millisecond))
		go func() {
			for c.Send(ping) == nil {
			}
			done <- true
		}()
	}
	for range silent {
		<-done
	}
	if grown := heap() - before; grown > 48<<20 {
		t.Errorf("%d MiB for %d initiators that don't read", grown>>20, len(silent))
	}
}

// An initiator that has others' memory kept for data which it never sends is
// dropped. What finds no room is answered TASK SET FULL, and nothing of it
// written; it goes well when tried again.
func TestMemoryOfWriters(t *testing.T) {
	b := start(t, iscsi.Options{Memory: 64 << 20, DataTimeout: 1500 * time.Millisecond})
	good := b.session("FirstBurstLength=131072")
	hog := b.many(1, "FirstBurstLength=131072")[0]
	before := heap()
	large := make([]byte, 8<<20)
	full := 0
	for range 1 + 31 + 2 { // its share is one, and the beginnings of some 31
		if _, err := hog.Start(iscsitest.Write10(0, large, 512)); err != nil {
			t.Fatal(err)
		}
	}
	for full == 0 {
		p, err := hog.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if p.Op() == 0x21 && p.BHS[3] == 0x28 {
			full++
		}
	}
	if grown := heap() - before; grown > 48<<20 {
		t.Errorf("%d MiB for an initiator that sends no data", grown>>20)
	}
	data := noise(1, 64<<10)
	for i := 0; ; i++ {
		r := b.do(good, iscsitest.Write10(0, data, 512))
		if r.Status == 0 {
			break
		}
		if r.Status != 0x28 || i == 10 {
			t.Fatalf("%+v", r)
		}
		if i == 0 {
			same(t, "refused write", make([]byte, len(data)), b.onDisk(0, 0, len(data)))
		}
	}
	same(t, "on disk", data, b.onDisk(0, 0, len(data)))
	b.closed(hog)
}

// Many sessions that write more at once than there is memory for all get it
// done.
func TestMemoryShared(t *testing.T) {
	b := start(t, iscsi.Options{Memory: 64 << 20})
	all := b.many(6, "FirstBurstLength=131072")
	errs := make(chan error)
	for i, c := range all {
		go func() {
			data := noise(uint64(i), 8<<20)
			for range 4 {
				r, err := c.Do(iscsitest.Write10(uint32(i)*16384, data, 512))
				if err != nil || r.Status != 0 {
					t.Errorf("initiator %d: %v %+v", i, err, r)
				}
			}
			errs <- nil
		}()
	}
	for range all {
		<-errs
	}
	for i := range all {
		same(t, "on disk", noise(uint64(i), 8<<20), b.onDisk(0, int64(i)*8<<20, 8<<20))
	}
}

// When a session ends, the commands that waited for memory don't all get it at
// once.
func TestMemoryAtTheEnd(t *testing.T) {
	b := start(t, iscsi.Options{ReadBudget: 16 << 20})
	c := b.session()
	arrived, release := b.disks[0].Hold(faultdev.Read)
	for range 10 {
		if _, err := c.Start(iscsitest.Read10(0, 32768, 512)); err != nil {
			t.Fatal(err)
		}
	}
	<-arrived
	c.Close()
	n := 1
	for late := time.After(500 * time.Millisecond); ; n++ {
		select {
		case <-arrived:
			continue
		case <-late:
		}
		break
	}
	release()
	if n > 2 {
		t.Errorf("%d reads of 16 MiB at once", n)
	}
}

// deaf has little of what the target sends fit into the socket.
func deaf(t *testing.T, c *iscsitest.Conn) {
	t.Helper()
	if err := c.Conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
}

// Requests far ahead of their turn don't pile up.
func TestHeldData(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session("FirstBurstLength=65536")
	c.CmdSN++ // this one never comes
	data := make([]byte, 60<<10)
	for range 8 {
		if _, err := c.Start(iscsitest.Write10(0, data, 512)); err != nil {
			break
		}
	}
	b.closed(c)
}

// Initiators that read all they can and take nothing, and that have memory kept
// for writes whose data they don't send, leave others enough to go on with.
func TestPoliteBesideGreedy(t *testing.T) {
	b := start(t, iscsi.Options{})
	good := b.session("FirstBurstLength=131072")
	greedy := b.many(8)
	for i, c := range greedy {
		deaf(t, c)
		for range 64 {
			cmd := iscsitest.Read10(0, 2048, 512)
			if i%2 == 0 {
				cmd = iscsitest.Command{CDB: iscsitest.Write10(0, make([]byte, 1<<20), 512).CDB, Out: []byte{}, EDTL: 1 << 20}
			}
			if _, err := c.Start(cmd); err != nil {
				t.Fatal(err)
			}
		}
	}
	time.Sleep(200 * time.Millisecond)
	slowest := time.Duration(0)
	for i := range 20 {
		data := noise(uint64(i), 1<<20)
		for _, cmd := range []iscsitest.Command{iscsitest.Write10(8192, data, 512), iscsitest.Read10(8192, 2048, 512)} {
			begin := time.Now()
			r := b.do(good, cmd)
			slowest = max(slowest, time.Since(begin))
			if r.Status != 0 {
				t.Fatalf("%+v", r)
			}
			if cmd.In > 0 {
				same(t, "read back", data, r.Data)
			}
		}
	}
	if slowest > patience {
		t.Errorf("the slowest command took %v", slowest)
	}
}
