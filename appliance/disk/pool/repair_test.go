package pool

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk/lvm"
)

// TestPlanMetadata says when metadata that a repair has made is mirrored.
func TestPlanMetadata(t *testing.T) {
	const meta = dataVolume + "_tmeta"
	linear := lvm.LogicalVolume{Name: meta, Hidden: true, Type: "linear", Devices: []string{"/dev/sda"}}
	mirrored := lvm.LogicalVolume{Name: meta, Hidden: true, Type: "raid1"}
	data := func(kind string, legs int) lvm.LogicalVolume {
		return lvm.LogicalVolume{Name: dataVolume + "_tdata", Hidden: true, Type: kind, Devices: make([]string, legs)}
	}
	kept := func(kind string, n ...int) (all []lvm.LogicalVolume) {
		for _, i := range n {
			all = append(all, lvm.LogicalVolume{Name: fmt.Sprint(keptMetadata, i), Type: kind})
		}
		return all
	}
	for _, tt := range []struct {
		name    string
		disks   int // here, of five
		volumes []lvm.LogicalVolume
		want    int // copies
		bare    bool
	}{
		{"never repaired", 5, []lvm.LogicalVolume{mirrored, data("raid1", 3)}, 0, false},
		{"single, never repaired", 5, []lvm.LogicalVolume{linear, data("linear", 1)}, 0, false},
		{"single, repaired", 5, append(kept("linear", 0), linear, data("linear", 1)), 0, false},
		{"repaired", 5, append(kept("raid1", 0), linear, data("raid1", 3)), 3, true},
		{"repaired twice", 5, append(kept("raid1", 0), append(kept("linear", 1), linear, data("raid1", 2))...), 2, true},
		{"what was kept is gone", 5, []lvm.LogicalVolume{linear, data("raid10", 4)}, 2, true},
		{"raid6", 5, []lvm.LogicalVolume{linear, data("raid6_zr", 5)}, 3, true},
		{"too few disks", 1, append(kept("raid1", 0), linear, data("raid1", 2)), 0, true},
		{"mirrored since", 5, append(kept("raid1", 0), mirrored, data("raid1", 2)), 0, false},
	} {
		g := lvm.Group{Name: "tank", Logical: tt.volumes}
		for i := range 5 {
			g.Physical = append(g.Physical, lvm.PhysicalVolume{Path: fmt.Sprint("/dev/sd", i), Missing: i >= tt.disks})
		}
		var want []Step
		if tt.want > 0 {
			want = []Step{MirrorMetadata{Pool: "tank", Copies: tt.want}}
		}
		var p Plan
		p.planMetadata(g)
		if diff := cmp.Diff(want, p.Steps); diff != "" {
			t.Errorf("%s (-want +got)\n%s", tt.name, diff)
		}
		if got := diagnose(g, Facts{}).Bare; got != tt.bare {
			t.Errorf("%s: bare %v", tt.name, got)
		}
	}
}
