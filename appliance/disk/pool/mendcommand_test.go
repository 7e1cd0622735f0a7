package pool

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/status"
	"sanstick/appliance/sys"
	"sanstick/appliance/sys/systest"
)

func TestThirdCopy(t *testing.T) {
	b := newBench(t, "abc", nil)
	b.specs[0].Disks = []string{"A", "B", "C"}
	if err := b.Bring(t.Context(), b.specs); err != nil {
		t.Fatal(err)
	}
	b.world.sync()
	b.write()
	b.look()
	b.wants(Healthy)
	b.whole("/dev/vda", "/dev/vdb", "/dev/vdc")
	if n := len(b.legsOf("tank", "thinpool_tdata")); n != 3 {
		t.Errorf("%d copies", n)
	}
}

func TestScrubs(t *testing.T) {
	b := newBench(t, "ab", func(s *Spec) { s.ScrubEvery = 30 * 24 * time.Hour })
	b.look()
	if b.scrubs != 0 {
		t.Error("a new pool is scrubbed")
	}
	b.clock.t = b.clock.t.Add(25 * time.Hour)
	b.look()
	if b.scrubs != 2 {
		t.Errorf("%d volumes are scrubbed, want 2", b.scrubs)
	}
	b.world.sync()
	b.clock.t = b.clock.t.Add(29 * 24 * time.Hour)
	b.look()
	if b.scrubs != 2 {
		t.Error("scrubbed too early")
	}
	b.clock.t = b.clock.t.Add(2 * 24 * time.Hour)
	b.look()
	if b.scrubs != 4 {
		t.Error("not scrubbed again")
	}
}

func TestReplaceByCommand(t *testing.T) {
	b := newBench(t, "abcx", nil)
	b.hold("x")
	for _, r := range []Replacement{{"nobody", "C"}, {"B", "nobody"}, {"B", "X"}, {"B", "A"}} {
		if _, err := b.ReplaceDisk(t.Context(), r); err == nil {
			t.Errorf("%+v is no error", r)
		}
	}
	b.ran()
	pool, err := b.ReplaceDisk(t.Context(), Replacement{"B", "C"})
	if err != nil || pool != "tank" {
		t.Fatal(pool, err)
	}
	b.wants(Rebuilding, "disk C")
	b.write()
	b.world.sync()
	b.look()
	b.wants(Healthy)
	b.whole("/dev/vda", "/dev/vdc")
	if n := len(b.groups[0].Physical); n != 2 {
		t.Errorf("%d disks in the pool", n)
	}
}

// While a disk is missing, another one that works isn't replaced.
func TestReplaceWhileOneIsMissing(t *testing.T) {
	b := newBench(t, "ab", nil)
	b.unplug("b")
	b.write()
	b.look()
	b.plug("x")
	if _, err := b.ReplaceDisk(t.Context(), Replacement{"A", "X"}); err == nil || !strings.Contains(err.Error(), "wait until it is healthy") {
		t.Errorf("%v", err)
	}
	b.look()
	b.wants(Rebuilding, "disk X")
}

func TestScrubByCommand(t *testing.T) {
	b := newBench(t, "ab", nil)
	if err := b.ScrubPool(t.Context(), "tank"); err != nil || b.scrubs != 2 {
		t.Errorf("%v, %d volumes", err, b.scrubs)
	}
	if err := b.ScrubPool(t.Context(), "tub"); err == nil {
		t.Error("a pool that isn't there")
	}
	b.unplug("b")
	b.write()
	if err := b.ScrubPool(t.Context(), "tank"); err == nil || b.scrubs != 2 {
		t.Errorf("while a disk is missing: %v", err)
	}
}

// Status waits a moment for the kernel, not for ever, and goes on with what it
// knew.
func TestStatusOfAHungDisk(t *testing.T) {
	w := newWorld(t, "ab")
	hang := make(chan struct{})
	hung := false
	m, _ := w.manager(func(o *Options) {
		o.Runner = &systest.Runner{Handle: func(c sys.Command) (sys.Output, error) {
			if hung && c.Name == "/sbin/dmsetup" {
				<-hang
			}
			return w.handle(c)
		}}
	})
	if err := m.Bring(t.Context(), tank); err != nil {
		t.Fatal(err)
	}
	if _, _, problems := m.Status(t.Context()); len(problems) > 0 {
		t.Fatalf("%+v", problems)
	}
	hung = true
	if _, _, problems := m.Status(t.Context()); len(problems) > 0 {
		t.Errorf("a machine that is busy for a moment has problems: %+v", problems)
	}
	m.mu.Lock()
	m.peekSince = m.peekSince.Add(-2 * peekPatience)
	m.mu.Unlock()
	for range 3 {
		start := time.Now()
		pools, disks, problems := m.Status(t.Context())
		if took := time.Since(start); took > time.Second {
			t.Errorf("it took %v", took)
		}
		if len(problems) == 0 || !strings.Contains(problems[0].What, "hasn't said") || pools[0].State != string(Healthy) || len(disks) != 2 {
			t.Errorf("%+v; %+v; %+v", pools, disks, problems)
		}
	}
	close(hang)
	for end := time.Now().Add(5 * time.Second); ; {
		if _, _, problems := m.Status(t.Context()); len(problems) == 0 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("%+v", problems)
		}
	}
}

func TestLayouts(t *testing.T) {
	for _, tt := range []struct {
		layout, disks string
		want          CreateThinPool
	}{
		{RAID10, "abcd", CreateThinPool{Pool: "tank", Copies: 2, Kind: lvm.Raid10, Disks: 2, Sizes: Sizes{Data: 66, Meta: 2, Chunk: 64 << 10}}},
		{RAID5, "abc", CreateThinPool{Pool: "tank", Copies: 2, Kind: lvm.Raid5, Disks: 2, Sizes: Sizes{Data: 66, Meta: 2, Chunk: 64 << 10}}},
		{RAID6, "abcde", CreateThinPool{Pool: "tank", Copies: 3, Kind: lvm.Raid6, Disks: 3, Sizes: Sizes{Data: 99, Meta: 2, Chunk: 64 << 10}}},
	} {
		spec := Spec{Name: "tank", Layout: tt.layout}
		for _, l := range tt.disks {
			spec.Disks = append(spec.Disks, strings.ToUpper(string(l)))
		}
		p := Make(spec, facts(tt.disks, creating(group("tank", tt.disks))), nil)
		if len(p.Steps) != 3 {
			t.Fatalf("%s: %+v", tt.layout, p)
		}
		if diff := cmp.Diff(tt.want, p.Steps[1]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.layout, diff)
		}
		spec.Disks = spec.Disks[1:]
		if p := Make(spec, facts(tt.disks), nil); len(p.Steps) > 0 || p.Problems[0].Health != status.Failed {
			t.Errorf("%s of %d disks: %+v", tt.layout, len(spec.Disks), p)
		}
	}
}

func TestBears(t *testing.T) {
	five := []string{"0", "1", "2", "3", "4"}
	for _, tt := range []struct {
		kind string
		legs int
		gone []int
		want bool
	}{
		{"raid1", 2, []int{0}, true}, {"raid1", 2, []int{0, 1}, false}, {"raid1", 3, []int{0, 2}, true},
		{"raid10", 4, []int{0, 2}, true}, {"raid10", 4, []int{0, 1}, false}, {"raid10", 4, []int{1, 2}, true}, {"raid10", 4, []int{2, 3}, false},
		{"raid5", 3, []int{1}, true}, {"raid5_ls", 3, []int{1, 2}, false},
		{"raid6", 5, []int{1, 4}, true}, {"raid6_zr", 5, []int{0, 1, 4}, false},
		{"raid0", 2, []int{0}, false},
	} {
		gone := make([]bool, tt.legs)
		for _, i := range tt.gone {
			gone[i] = true
		}
		if got := bears(lvm.LogicalVolume{Type: tt.kind, Devices: five[:tt.legs]}, gone); got != tt.want {
			t.Errorf("%s of %d without %v: %v, want %v", tt.kind, tt.legs, tt.gone, got, tt.want)
		}
	}
}
