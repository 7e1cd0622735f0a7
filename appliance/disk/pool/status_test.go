package pool

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk"
	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/status"
)

// TestHealth reads health from device-mapper's words, with all disks here.
func TestHealth(t *testing.T) {
	const (
		pool = "tank-thinpool-tpool: 0 524288 thin-pool 1 10/2048 %USED% - rw discard_passdown queue_if_no_space - 512\n"
		data = "tank-thinpool_tdata: 0 524288 raid raid1 2 AA 524288/524288 idle 0 0 -\n"
		meta = "tank-thinpool_tmeta: 0 16384 raid raid1 2 AA 16384/16384 idle 0 0 -\n"
	)
	half := strings.Replace(pool, "%USED%", "1024/2048", 1)
	tests := []struct {
		name, dm string
		gone     bool // disk B isn't here any more, which LVM hasn't noticed yet
		health   status.Health
		detail   string
		sync     float64
	}{
		{name: "fine", dm: half + data + meta, health: status.OK, sync: 100},
		{name: "inactive", dm: "", health: status.Failed, detail: "isn't active", sync: 100},
		{name: "synchronising", dm: half + strings.Replace(strings.Replace(data, "AA", "Aa", 1), "524288/524288 idle", "131072/524288 resync", 1) + meta, health: status.Degraded, detail: "being synchronised, 25.0 % done", sync: 25},
		{name: "a leg of the data is dead", dm: half + strings.Replace(data, "AA", "AD", 1) + meta, health: status.Degraded, detail: "disk B has failed", sync: 0},
		{name: "a leg of the metadata is dead", dm: half + data + strings.Replace(meta, "AA", "DA", 1), health: status.Degraded, detail: "disk A has failed", sync: 0},
		{name: "disk pulled", dm: half + strings.Replace(data, "AA", "AD", 1) + meta, gone: true, health: status.Degraded, detail: "disk B is missing", sync: 0},
		{name: "pulled, nobody has noticed", dm: half + data + meta, gone: true, health: status.Degraded, detail: "disk B is missing", sync: 100},
		{name: "nearly full", dm: strings.Replace(pool, "%USED%", "1700/2048", 1) + data + meta, health: status.Degraded, detail: "83 % of its space", sync: 100},
		{name: "full", dm: strings.Replace(strings.Replace(pool, "%USED%", "2048/2048", 1), " rw ", " out_of_data_space ", 1) + data + meta, health: status.Failed, detail: "is full", sync: 100},
		{name: "read-only", dm: strings.Replace(half, " rw ", " ro ", 1) + data + meta, health: status.Failed, detail: "read-only", sync: 100},
		{name: "failed", dm: "tank-thinpool-tpool: 0 524288 thin-pool Fail\n" + data + meta, health: status.Failed, detail: "has failed", sync: 100},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			devices, err := lvm.ParseStatus(tt.dm)
			if err != nil {
				t.Fatal(err)
			}
			g := group("tank", "ab", thin("v", 512<<20))
			for i := range g.Physical {
				g.Physical[i].Allocated = g.Physical[i].Extents
			}
			v := view{facts: facts("ab", g), devices: map[string]lvm.Device{}}
			v.now = v.facts.Disks
			if tt.gone {
				v.now = []disk.Disk{d("a")}
			}
			for _, x := range devices {
				v.devices[x.Name] = x
			}
			p, problems := v.pool(Spec{Name: "tank", Layout: Mirror})
			if p.Health != tt.health || !strings.Contains(p.Detail, tt.detail) || p.Sync != tt.sync {
				t.Errorf("health %s, %q, %v %% in sync; want %s, %q, %v %%", p.Health, p.Detail, p.Sync, tt.health, tt.detail, tt.sync)
			}
			if (len(problems) == 0) != (tt.health == status.OK) {
				t.Errorf("problems %+v", problems)
			}
			v.doing = map[string]string{"tank": "create volume v"}
			if p, _ := v.pool(Spec{Name: "tank", Layout: Mirror}); strings.Contains(p.Detail, "isn't active yet: create volume v") != (tt.name == "inactive") {
				t.Errorf("while something is being done: %q", p.Detail)
			}
			if len(p.Volumes) != 1 || !p.Volumes[0].Unreferenced || p.Promised != 512<<20 {
				t.Errorf("volumes %+v", p.Volumes)
			}
		})
	}
}

func TestUse(t *testing.T) {
	f := holding(facts("abcdefg", group("tank", "a"), creating(group("half", "b")), foreign(group("vg0", "c"))), "d", "NTFS filesystem")
	f.Boot = []string{"sde"}
	delete(f.Found, "sdf")
	v := view{facts: f, now: append(f.Disks, d("h"))}
	var got []string
	for _, x := range v.disks() {
		got = append(got, x.Use)
	}
	want := []string{"pool tank", "half-made pool half", "LVM volume group vg0", "NTFS filesystem", "boot stick", "not looked at yet", "blank", "not looked at yet"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("uses (-want +got):\n%s", diff)
	}
}

func TestInSync(t *testing.T) {
	tests := []struct {
		raid lvm.Raid
		want float64
	}{
		{lvm.Raid{Legs: "AA", Synced: 8, Total: 8}, 100},
		{lvm.Raid{Legs: "AA", Synced: 4, Total: 8, Action: "check"}, 100},
		{lvm.Raid{Legs: "Aa", Synced: 4, Total: 8}, 50},
		{lvm.Raid{Legs: "AD", Synced: 8, Total: 8}, 0},
		{lvm.Raid{Legs: "AAD", Synced: 8, Total: 8}, 50},
	}
	for _, tt := range tests {
		if got := inSync(tt.raid); got != tt.want {
			t.Errorf("%+v: %v %% in sync, want %v %%", tt.raid, got, tt.want)
		}
	}
}
