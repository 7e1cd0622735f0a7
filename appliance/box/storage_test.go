package box

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/config"
	"sanstick/appliance/disk/pool"
)

func TestTargetMemory(t *testing.T) {
	const mib = 1 << 20
	for total, want := range map[uint64]int{0: 64 * mib, 256 * mib: 64 * mib, 500 * mib: 100 * mib, 64 << 30: 1024 * mib} {
		if got := targetMemory(total); got != want {
			t.Errorf("targetMemory(%d MiB) = %d MiB, want %d", total/mib, got/mib, want/mib)
		}
	}
}

// A configuration becomes one spec a pool, with its own volumes; one that
// isn't the user's own may only activate.
func TestSpecs(t *testing.T) {
	c := &config.Config{
		Pools: []config.Pool{
			{Name: "tank", Layout: config.LayoutMirror, Disks: []string{"A", "B"}},
			{Name: "scratch", Layout: config.LayoutSingle, Disks: []string{"C"}},
		},
		Volumes: []config.Volume{
			{Name: "vm1", Pool: "tank", Size: 1 << 30},
			{Name: "tmp", Pool: "scratch", Size: 2 << 30},
			{Name: "vm2", Pool: "tank", Size: 3 << 30},
		},
		Targets: []config.Target{{Volumes: []string{"vm1", "vm1@monday", "vm10@monday"}}},
	}
	for _, trusted := range []bool{true, false} {
		want := []pool.Spec{
			{Name: "tank", Layout: pool.Mirror, Disks: []string{"A", "B"}, ActivateOnly: !trusted, Volumes: []pool.VolumeSpec{{Name: "vm1", Size: 1 << 30, Served: []string{"vm1@monday"}}, {Name: "vm2", Size: 3 << 30}}},
			{Name: "scratch", Layout: pool.Single, Disks: []string{"C"}, ActivateOnly: !trusted, Volumes: []pool.VolumeSpec{{Name: "tmp", Size: 2 << 30}}},
		}
		if diff := cmp.Diff(want, specs(settings{config: c, trusted: trusted})); diff != "" {
			t.Errorf("trusted %v (-want +got)\n%s", trusted, diff)
		}
	}
}
