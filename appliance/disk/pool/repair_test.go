package pool

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk/lvm"
)

// TestPlanMetadata says when metadata that a repair has made is mirrored.
func TestPlanMetadata(t *testing.T) {
	const meta = dataVolume + "_tmeta"
	old := lvm.LogicalVolume{Name: dataVolume + "_meta0", Type: "raid1", Devices: []string{"x_rimage_0", "x_rimage_1", "x_rimage_2"}}
	for name, tt := range map[string]struct {
		volumes []lvm.LogicalVolume
		want    []Step
	}{
		"never repaired":         {volumes: []lvm.LogicalVolume{{Name: meta, Type: "raid1"}}},
		"single, never repaired": {volumes: []lvm.LogicalVolume{{Name: meta, Type: "linear"}}},
		"single, repaired":       {volumes: []lvm.LogicalVolume{{Name: meta, Type: "linear"}, {Name: old.Name, Type: "linear", Devices: []string{"/dev/sda"}}}},
		"repaired":               {volumes: []lvm.LogicalVolume{{Name: meta, Type: "linear"}, old}, want: []Step{MirrorMetadata{Pool: "tank", Copies: 3}}},
		"mirrored since":         {volumes: []lvm.LogicalVolume{{Name: meta, Type: "raid1"}, old}},
	} {
		var p Plan
		p.planMetadata(lvm.Group{Name: "tank", Logical: tt.volumes})
		if diff := cmp.Diff(tt.want, p.Steps); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}
