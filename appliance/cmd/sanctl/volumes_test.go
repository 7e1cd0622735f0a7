package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/status"
)

func TestRenderVolumes(t *testing.T) {
	made := time.Date(2026, 11, 30, 17, 5, 9, 0, time.UTC)
	third := 33.0
	pools := []status.Pool{{
		Name: "tank",
		Volumes: []status.Volume{
			{Name: "golden", Size: 64 << 30, Used: 10 << 30, Active: true, Block: 4096},
			{Name: "vm1", Size: 64 << 30, Used: 11 << 30, Active: true, From: "golden@monday", Unreferenced: true},
			{Name: "db", Size: 1 << 30, Used: 1 << 30, Thick: true, Cleared: &third},
		},
		Snapshots: []status.VolumeSnapshot{
			{Name: "golden@monday", Pool: "tank", Volume: "golden", Size: 64 << 30, Used: 9 << 30, Created: made},
			{Name: "golden@2026-11-30T18-05", Volume: "golden", Size: 64 << 30, Used: 9 << 30, Created: made.Add(time.Hour), Scheduled: true},
		},
		Trash: []status.Trashed{{Name: "vm0", ID: "trash+tpbrgl+vm0", Used: 2 << 30, Deleted: made, Until: made.Add(7 * 24 * time.Hour)}},
	}}
	targets := []status.Target{{Name: "t", Serving: true, LUNs: []status.LUN{{Number: 9, Pool: "other", Volume: "golden"}, {Number: 3, Pool: "tank", Volume: "golden"}, {Number: 4, Pool: "tank", Volume: "golden@monday"}}}}
	for _, tt := range []struct{ got, want string }{
		{renderVolumes(pools, targets), `Pool tank
  volume  size    used    snapshots  served as
  golden  64 GiB  10 GiB  2          LUN 3 of t, blocks of 4096
  vm1     64 GiB  11 GiB  0          not served, clone of golden@monday, not in the configuration
  db      1 GiB   1 GiB   0          not served, thick, being cleared 33 %, NOT ACTIVE
  in the trash: 1, 2 GiB; sanctl volume trash lists it
`},
		{renderSnapshots(pools[0].Snapshots, targets), `snapshot                 made (UTC)           size    used
golden@monday            2026-11-30 17:05:09  64 GiB  9 GiB  LUN 4 of t
golden@2026-11-30T18-05  2026-11-30 18:05:09  64 GiB  9 GiB  by schedule
`},
		{renderTrash(pools[0].Trash), `name  used   deleted (UTC)        kept until (UTC)     ID
vm0   2 GiB  2026-11-30 17:05:09  2026-12-07 17:05:09  trash+tpbrgl+vm0
`},
		{renderVolumes(nil, nil), "no pools\n"},
		{renderSnapshots(nil, nil), "no snapshots\n"},
		{renderTrash(nil), "the trash is empty\n"},
	} {
		if diff := cmp.Diff(tt.want, tt.got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestVolumeOf(t *testing.T) {
	for in, want := range map[string]string{"golden@monday": "golden", "tank/golden@x": "tank/golden", "golden": "", "golden@": "", "@x": ""} {
		got, err := volumeOf(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", in, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), "no snapshot") {
			t.Error(err)
		}
	}
}
