package iscsi_test

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"sanstick/target/block/faultdev"
	"sanstick/target/iscsi"
	"sanstick/target/iscsitest"
)

// narrow is a session whose initiator takes little before it reads.
func (b *bench) narrow() *iscsitest.Conn {
	b.t.Helper()
	nc, err := (&net.Dialer{}).DialContext(b.t.Context(), "tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := nc.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		b.t.Fatal(err)
	}
	c, err := iscsitest.NewConn(context.Background(), nc)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close() })
	b.login(c, alice, "MaxRecvDataSegmentLength=65536", "MaxBurstLength=1048576")
	return c
}

func read10(lba uint32, blocks int) iscsitest.Command {
	return iscsitest.Read10(lba, uint16(blocks), 512)
}

// A large read doesn't keep the answers of small ones that come later.
func TestSmallReadsPassALargeOne(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.narrow()
	large, err := c.Start(read10(0, 32767)) // 16 MiB, more than sockets hold
	if err != nil {
		t.Fatal(err)
	}
	first := b.want(c, 0x25)
	reads := b.disks[0].Calls(faultdev.Read)
	small, err := c.Start(read10(4711, 8))
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); b.disks[0].Calls(faultdev.Read) == reads; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the small one isn't read while the large one is sent")
		}
	}
	time.Sleep(20 * time.Millisecond) // it is queued by now
	offset := map[uint32]uint32{large: uint32(len(first.Data))}
	stat, passed := uint32(0), false
	for ended := 0; ended < 2; {
		p := b.want(c, 0x25)
		if p.U32(40) != offset[p.ITT()] {
			t.Fatalf("%v: want offset %d", &p, offset[p.ITT()])
		}
		offset[p.ITT()] += uint32(len(p.Data))
		if p.BHS[1]&1 == 0 {
			continue
		}
		if sn := p.U32(24); ended > 0 && sn != stat+1 {
			t.Errorf("StatSN %d after %d", sn, stat)
		}
		stat = p.U32(24)
		ended++
		passed = passed || ended == 1 && p.ITT() == small
	}
	if !passed {
		t.Error("the small read waited for the large one")
	}
}

// A task management function is not answered amid the answers to commands that
// were done before it.
func TestFunctionsWaitForAnswersThatHaveBegun(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.narrow()
	large, err := c.Start(read10(0, 32767))
	if err != nil {
		t.Fatal(err)
	}
	b.want(c, 0x25)
	b.send(c, c.Manage(iscsitest.LUNReset, 0, 0xffffffff))
	for ended := false; ; {
		p, err := c.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if p.Op() == 0x22 {
			if !ended {
				t.Error("answered before the end of the read")
			}
			return
		}
		if p.Op() != 0x25 || p.ITT() != large || ended {
			t.Fatalf("unexpected %v", &p)
		}
		ended = p.BHS[1]&1 != 0
	}
}

// Reads that are done at once, and others, in one stream: all are answered in
// full, whatever the initiator takes and when.
func TestReadsOfAllKindsTogether(t *testing.T) {
	for _, digest := range []string{"None", "CRC32C"} {
		b := start(t, iscsi.Options{Memory: 64 << 20})
		c := b.session("HeaderDigest="+digest, "DataDigest="+digest, "MaxRecvDataSegmentLength=16384")
		block := make([]byte, 512)
		for lba := range 4096 {
			binary.BigEndian.PutUint32(block, uint32(lba))
			if _, err := b.disks[0].WriteAt(block, int64(lba)*512); err != nil {
				t.Fatal(err)
			}
		}
		type sent struct{ lba, blocks, came int }
		open := make(map[uint32]*sent)
		r := rand.New(rand.NewPCG(5, 5))
		for left := 600; left > 0 || len(open) > 0; {
			if left > 0 && len(open) < 60 {
				x := &sent{lba: r.IntN(2048), blocks: []int{1, 8, 64, 512, 2000}[r.IntN(5)]}
				itt, err := c.Start(read10(uint32(x.lba), x.blocks))
				if err != nil {
					t.Fatal(err)
				}
				open[itt] = x
				if left--; left%97 == 0 {
					_, release := b.disks[0].Hold(faultdev.Read)
					time.AfterFunc(2*time.Millisecond, release)
				}
				if r.IntN(20) > 0 {
					continue
				}
			}
			p := b.want(c, 0x25)
			x := open[p.ITT()]
			if x == nil || int(p.U32(40)) != x.came {
				t.Fatalf("unexpected %v", &p)
			}
			for off := 0; off < len(p.Data); off += 512 {
				if want, got := x.lba+(x.came+off)/512, binary.BigEndian.Uint32(p.Data[off:]); uint32(want) != got {
					t.Fatalf("block %d in place of %d", got, want)
				}
			}
			if x.came += len(p.Data); p.BHS[1]&1 != 0 {
				if x.came != x.blocks*512 {
					t.Errorf("%d bytes of %d", x.came, x.blocks*512)
				}
				delete(open, p.ITT())
			}
		}
	}
}
