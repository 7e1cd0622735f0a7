package iscsi_test

import (
	"testing"
	"time"

	"sanstick/target/block/faultdev"
	"sanstick/target/iscsi"
	"sanstick/target/iscsitest"
)

// limit bounds the target that is for anyone.
func (b *bench) limit(l iscsi.Limit) {
	b.t.Helper()
	if err := b.srv.SetAccess(iscsi.Target{Name: open, Initiators: []string{"*"}, Limit: l}); err != nil {
		b.t.Fatal(err)
	}
}

// What is over the limit waits, and so do others' commands; what isn't about
// the medium doesn't.
func TestLimit(t *testing.T) {
	b := start(t, iscsi.Options{})
	c, other := b.session(), b.dial()
	b.login(other, bob)
	b.limit(iscsi.Limit{IOPS: 100})
	const n = 50
	begin := time.Now()
	for range n {
		if _, err := c.Start(read10(0, 8)); err != nil {
			t.Fatal(err)
		}
	}
	inquiry, err := c.Start(iscsitest.Command{CDB: []byte{0x12, 0, 0, 0, 36, 0}, In: 36})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n + 1 {
		if p := b.want(c, 0x25); p.ITT() == inquiry && i == n {
			t.Error("an INQUIRY had to wait")
		}
	}
	if r := b.do(other, read10(0, 8)); r.Status != 0 {
		t.Fatalf("%+v", r)
	}
	// The first few come out of what wasn't used before.
	if took, least := time.Since(begin), (n-3)*time.Second/100; took < least {
		t.Errorf("%d commands took %v, which must be at least %v", n+1, took, least)
	}
}

func TestLimitOfBytes(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session()
	b.limit(iscsi.Limit{Bytes: 10_000_000})
	begin := time.Now()
	const n = 5
	for range n {
		if r := b.do(c, iscsitest.Write10(0, noise(1, 1_024_000), 512)); r.Status != 0 {
			t.Fatalf("%+v", r)
		}
	}
	if took, least := time.Since(begin), (n-1)*time.Second/10; took < least {
		t.Errorf("%d MB took %v, which must be at least %v", n, took, least)
	}
}

// Commands that wait for their turn can be aborted, and then never run; and a
// limit that is lifted counts for those that wait.
func TestLimitChanges(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session()
	b.limit(iscsi.Limit{IOPS: iscsi.MinIOPS})
	fill := func() {
		for range 30 { // three seconds' worth
			if _, err := c.Start(iscsitest.Write10(0, noise(1, 512), 512)); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill()
	b.send(c, c.Manage(iscsitest.AbortTaskSet, 0, 0xffffffff))
	for {
		p, err := c.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if p.Op() == 0x22 {
			break
		}
	}
	writes := b.disks[0].Calls(faultdev.Write)
	if writes > 10 {
		t.Errorf("%d writes were done before they were aborted", writes)
	}
	b.quiet(c)
	if n := b.disks[0].Calls(faultdev.Write); n != writes {
		t.Errorf("%d aborted writes were done", n-writes)
	}
	fill()
	b.limit(iscsi.Limit{})
	begin := time.Now()
	for range 30 {
		b.want(c, 0x21)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("without a limit, what waited took %v", took)
	}
}

func TestLimitRefused(t *testing.T) {
	srv := iscsi.NewServer(iscsi.Options{})
	for _, l := range []iscsi.Limit{{IOPS: -1}, {IOPS: iscsi.MinIOPS - 1}, {Bytes: -1}, {Bytes: iscsi.MinBytes - 1}} {
		if err := srv.Add(iscsi.Target{Name: open, Limit: l}); err == nil {
			t.Errorf("%+v: no error", l)
		}
	}
}
