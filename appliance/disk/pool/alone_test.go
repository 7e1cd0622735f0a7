package pool

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/status"
)

// notes is a Witness.
type notes struct {
	newest map[string][]string
	err    error
}

func (n *notes) Newest(group string) ([]string, bool) { return n.newest[group], n.err == nil }

func (n *notes) Remember(group string, newest []string) error {
	n.newest[group] = newest
	return n.err
}

// A pool is used without disk B, and then only B is there: it isn't used. With
// both it is, and when they hold the same either may go.
func TestOutOfDate(t *testing.T) {
	w := newWorld(t, "ab")
	n := &notes{newest: map[string][]string{}}
	boot := func() (*Manager, error) {
		w.restart()
		m, _ := w.manager(func(o *Options) { o.Witness = n })
		return m, m.Bring(t.Context(), tank)
	}
	if _, err := boot(); err != nil {
		t.Fatal(err)
	}
	if len(n.newest) != 0 {
		t.Errorf("a whole pool, and the witness knows %v", n.newest)
	}
	w.unplug("b")
	if _, err := boot(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string][]string{"uuid-0": {"pv-a"}}, n.newest); diff != "" {
		t.Errorf("the witness knows (-want +got):\n%s", diff)
	}
	w.plug("b")
	w.unplug("a")
	m, err := boot()
	if err == nil || !strings.Contains(err.Error(), "the newest state is on disk A") {
		t.Errorf("the disk that is out of date is used: %v", err)
	}
	if c := w.commands(); len(c) != 0 {
		t.Errorf("%v", c)
	}
	if pools, _, _ := m.Status(t.Context()); pools[0].Health != status.Failed {
		t.Errorf("%+v", pools)
	}
	w.plug("a")
	if m, err = boot(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"pv-a"}, n.newest["uuid-0"]); diff != "" {
		t.Errorf("while B is filled the witness knows (-want +got):\n%s", diff)
	}
	w.sync()
	if err := m.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(n.newest["uuid-0"]) != 0 {
		t.Errorf("whole again, and the witness knows %v", n.newest)
	}
	w.unplug("a")
	if _, err := boot(); err != nil {
		t.Errorf("both were the same: %v", err)
	}
}

// Without a witness that can be written the pool is served all the same, and
// says so.
func TestNoWitness(t *testing.T) {
	w := newWorld(t, "ab")
	n := &notes{newest: map[string][]string{}, err: errors.New("the stick is read-only")}
	m, _ := w.manager(func(o *Options) { o.Witness = n })
	if err := m.Bring(t.Context(), tank); err != nil {
		t.Fatal(err)
	}
	w.restart()
	w.unplug("b")
	m, _ = w.manager(func(o *Options) { o.Witness = n })
	if err := m.Bring(t.Context(), tank); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := m.Volume("tank", "golden"); err != nil {
		t.Error(err)
	}
	if _, _, problems := m.Status(t.Context()); !strings.Contains(problems[0].What+problems[1].What, "the stick is read-only") {
		t.Errorf("%+v", problems)
	}
}

// A pool is used without disk B, and the witness couldn't keep that: the status says
// so until it could.
func TestWitnessKeepsLater(t *testing.T) {
	w := newWorld(t, "ab")
	n := &notes{newest: map[string][]string{}}
	m, _ := w.manager(func(o *Options) { o.Witness = n })
	if err := m.Bring(t.Context(), tank); err != nil {
		t.Fatal(err)
	}
	n.err = errors.New("the stick isn't here")
	w.unplug("b")
	told := func(words string) bool {
		t.Helper()
		if err := m.refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, _, problems := m.Status(t.Context())
		return slices.ContainsFunc(problems, func(p status.Problem) bool { return strings.Contains(p.What, words) })
	}
	for range 2 {
		if !told("the stick isn't here") {
			t.Error("nothing is said of the witness")
		}
	}
	if err := m.Bring(t.Context(), tank); err != nil {
		t.Fatal(err)
	}
	if !told("is out of date") {
		t.Error("nothing is said any more of what isn't kept")
	}
	n.err = nil
	if told("is out of date") || told("the stick isn't here") {
		t.Error("it is kept, and still complained of")
	}
}

// TestNotAllOfTheNewest: a newest disk is here, but a volume would be used from one
// that is out of date.
func TestNotAllOfTheNewest(t *testing.T) {
	// kinds makes the data of another kind, and the metadata a mirror of fewer disks.
	kinds := func(g lvm.Group, kind string, copies int) lvm.Group {
		var all []lvm.LogicalVolume
		for _, v := range g.Logical {
			var leg int
			if n, _ := fmt.Sscanf(v.Name, "thinpool_tmeta_rimage_%d", &leg); n == 1 && leg >= copies {
				continue
			}
			if n, _ := fmt.Sscanf(v.Name, "thinpool_tmeta_rmeta_%d", &leg); n == 1 && leg >= copies {
				continue
			}
			switch v.Name {
			case "thinpool_tdata":
				v.Type = kind
			case "thinpool_tmeta":
				v.Devices = v.Devices[:copies]
			}
			all = append(all, v)
		}
		g.Logical = all
		return g
	}
	tests := []struct {
		kind, disks string // capitals are missing
		copies      int
		newest      string
		want        string // disks that it is refused without
	}{
		{"raid10", "abcd", 2, "bcd", ""},
		{"raid10", "aBcd", 2, "bcd", "B"},
		{"raid10", "abCd", 2, "bcd", ""},
		{"raid10", "abCd", 2, "abc", "C"},
		{"raid10", "Abcd", 2, "bcd", ""},
		{"raid5", "aBc", 2, "bc", "B"},
		{"raid5", "Abc", 2, "bc", ""},
		{"raid5", "abc", 2, "bc", ""},
		{"raid6", "abCde", 3, "bcde", ""},
		{"raid6", "abCDe", 3, "bcde", "C, D"},
		{"raid6", "aBCde", 3, "bcde", "B, C"},
		{"raid1", "aBc", 3, "bc", ""},
		{"raid1", "aBC", 3, "bc", "B, C"},
		{"raid1", "ab", 2, "xy", "with LVM UUID pv-x, with LVM UUID pv-y"}, // the pool has given up both
	}
	for _, tt := range tests {
		t.Run(tt.kind+" "+tt.disks+" "+tt.newest, func(t *testing.T) {
			here := ""
			for _, l := range tt.disks {
				if l >= 'a' {
					here += string(l)
				}
			}
			f := newest(facts(here, kinds(group("tank", tt.disks), tt.kind, tt.copies)), strings.Split(tt.newest, "")...)
			p, is := stale(f.LVM.Groups[0], f)
			if is != (tt.want != "") {
				t.Fatalf("refused: %v, %+v", is, p)
			}
			if is && (p.Wait != "disk "+tt.want || p.Problems[0].Health != status.Failed) {
				t.Errorf("plan %+v, want disk %s", p, tt.want)
			}
		})
	}
}

// A disk was filled, and the others were lost before the witness heard of it: the
// pool is in use on the one that is here, so that one holds all.
func TestInUseIsNotOutOfDate(t *testing.T) {
	f := newest(facts("a", active(group("tank", "aB"))), "b")
	if _, is := stale(f.LVM.Groups[0], f); !is {
		t.Error("a pool that isn't in use isn't refused")
	}
	leg := lvm.Device{Raid: &lvm.Raid{Legs: "AD", Action: "idle"}}
	f.Devices = map[string]lvm.Device{"tank-thinpool-tpool": {ThinPool: &lvm.ThinPool{}}, "tank-thinpool_tdata": leg, "tank-thinpool_tmeta": leg}
	p := Make(Spec{Name: "tank", Layout: Mirror, Disks: []string{"A", "B"}}, f, nil)
	if diff := cmp.Diff([]Step{usedWithout("B", "a")}, p.Steps); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Filled in part it holds nothing that could be used.
	leg.Raid = &lvm.Raid{Legs: "aA", Action: "recover"}
	f.Devices["tank-thinpool_tdata"] = leg
	if _, is := stale(f.LVM.Groups[0], f); !is {
		t.Error("a pool in use on a disk that isn't filled isn't refused")
	}
}

// The newest disk is here again, and LVM has gone on without it: it is taken back.
func TestNewestIsTakenBack(t *testing.T) {
	f := newest(facts("ab", group("tank", "ab")), "b")
	f.LVM.Groups[0].Physical[1].Missing = true
	p := Make(Spec{Name: "tank", Layout: Mirror, Disks: []string{"A", "B"}}, f, nil)
	if len(p.Steps) != 1 || p.Wait != "" {
		t.Fatalf("plan %+v", p)
	}
	if s, ok := p.Steps[0].(RestoreDisk); !ok || s.PV != "pv-b" {
		t.Errorf("steps %+v", p.Steps)
	}
}
