package honest

import (
	"strings"
	"sync"
	"testing"

	"sanstick/target/block"
)

// forgetful answers flushes without having flushed.
type forgetful struct{ block.Device }

func (forgetful) Flush() error { return nil }

// boastful says that it has no write cache.
type boastful struct{ block.Device }

func (d boastful) Info() block.Info {
	i := d.Device.Info()
	i.WriteCache = false
	return i
}

// hasty answers a flush once another one has ended that ran already, and that
// knew nothing of what was written since it began.
type hasty struct {
	block.Device
	mu      sync.Mutex
	running chan struct{}
}

func (d *hasty) Flush() error {
	d.mu.Lock()
	if running := d.running; running != nil {
		d.mu.Unlock()
		<-running
		return nil
	}
	d.running = make(chan struct{})
	d.mu.Unlock()
	err := d.Device.Flush()
	d.mu.Lock()
	close(d.running)
	d.running = nil
	d.mu.Unlock()
	return err
}

// A device that lies is found out by every command that relies on it. The disks
// have other data to begin with, so that nothing is there by chance.
func TestLiesAreFound(t *testing.T) {
	forget := func(d block.Device) block.Device { return forgetful{d} }
	boast := func(d block.Device) block.Device { return boastful{d} }
	for _, tc := range []struct {
		kind kind
		wrap func(block.Device) block.Device
	}{
		{kind{name: "block device that flushes nothing", disk: 512, block: 512}, forget},
		{kind{name: "file that flushes nothing", disk: 512, block: 4096, file: true, full: true}, forget},
		{kind{name: "direct file that flushes nothing", disk: 512, block: 512, file: true, direct: true, full: true}, forget},
		{kind{name: "block device that hides its cache", disk: 4096, block: 4096}, boast},
		{kind{name: "file that hides its cache", disk: 512, block: 512, file: true, full: true}, boast},
		{kind{name: "direct file that hides its cache", disk: 512, block: 4096, file: true, direct: true, full: true}, boast},
	} {
		t.Run(tc.kind.name, func(t *testing.T) {
			p := observe(t, tc.kind, tc.wrap)
			found := make(map[string]bool)
			for _, f := range p.check(t, effort{}) {
				if f.own {
					found[f.step] = true
				}
			}
			plain := 0
			for _, s := range p.unit.shots {
				if strings.HasPrefix(s.step, "UNMAP") && !p.unit.zeroes {
					continue // what it leaves is anything
				}
				if !found[s.step] {
					t.Errorf("%s: not found out", s.step)
				}
				if strings.HasPrefix(s.step, "WRITE (") && !strings.Contains(s.step, "FUA") {
					plain++
				}
			}
			if plain < 4 {
				t.Errorf("%d plain writes were held to WCE=0, want 4", plain)
			}
			if found, _ := p.checkStorm(t, effort{storm: 2}); len(found) == 0 {
				t.Error("the storm was not found out")
			}
		})
	}
}

// So is one that shares flushes with those who come too late. On block devices
// it can't be: there a flush and a write are never under way together, see
// attach.
func TestSharedTooLateIsFound(t *testing.T) {
	k := kind{disk: 512, block: 4096, file: true, full: true}
	p := observe(t, k, func(d block.Device) block.Device { return &hasty{Device: d} })
	for _, f := range p.check(t, effort{}) {
		t.Error(f) // one command at a time shares nothing
	}
	if found, _ := p.checkStorm(t, effort{storm: 1000}); len(found) == 0 {
		t.Error("not found out")
	}
}

// The ledger itself: what may be there, and what must not.
func TestLedger(t *testing.T) {
	fill := func(c byte) []byte {
		b := make([]byte, sector)
		for i := range b {
			b[i] = c
		}
		return b
	}
	l := newLedger(make([]byte, 2*sector))
	try := func(what string, sector0 byte, want int) {
		t.Helper()
		if wrong := l.broken(append(fill(sector0), make([]byte, sector)...)); len(wrong) != want {
			t.Errorf("%s: sectors %v are wrong, want %d", what, wrong, want)
		}
	}
	try("nothing sent", 0, 0)
	try("nothing sent, something there", 1, 1)
	l.sent(change{data: fill(1)})
	l.sent(change{data: fill(2)})
	for c, want := range []int{0, 0, 0, 1} {
		try("sent", byte(c), want)
	}
	l.promise(span{0, sector})
	for c, want := range []int{1, 1, 0} {
		try("promised", byte(c), want)
	}
	l.sent(change{n: sector})
	l.promise(span{0, sector})
	try("unmapped", 9, 0)
	l.sent(change{data: fill(3)})
	l.promise(span{0, sector})
	try("written after", 9, 1)
	if wrong := l.broken(fill(3)); len(wrong) != 1 {
		t.Errorf("the end is missing: %v are wrong", wrong)
	}
}
