package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestText(t *testing.T) {
	p := Pool{Name: "tank", Disks: []string{`A"1\`, "wwn-0x5000c500a1b2c3d4"}, Layout: LayoutMirror}
	volumes := []Volume{{Name: "vm1", Pool: "tank", Size: 3 << 40}, {Name: "vm2", Pool: "tank", Size: 68 << 20, Thick: true, Block: 4096}}
	c, err := Parse("x", []byte(Text(p, volumes)))
	if err != nil {
		t.Fatalf("%v\n%s", err, Text(p, volumes))
	}
	for i, v := range volumes {
		got := c.Volumes[i]
		if got.Name != v.Name || got.Pool != v.Pool || got.Size != v.Size || got.Thick != v.Thick || got.Block != v.Block {
			t.Errorf("volume %+v, want %+v", got, v)
		}
	}
	got := c.Pools[0]
	if diff := cmp.Diff(p.Disks, got.Disks); diff != "" || got.Name != p.Name || got.Layout != p.Layout {
		t.Errorf("pool %+v, want %+v; disks (-want +got)\n%s", got, p, diff)
	}
}
