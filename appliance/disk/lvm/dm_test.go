package lvm_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk/lvm"
)

func TestParseStatus(t *testing.T) {
	tests := []struct {
		name, out string
		want      []lvm.Device
		fails     bool
	}{
		{name: "none", out: "No devices found\n"},
		{name: "a degraded mirror under a thin pool", out: `tank-golden: 0 204800 thin 40960 40959
tank-thinpool: 0 327680 linear 
tank-thinpool-tpool: 0 327680 thin-pool 1 216/2048 320/2560 - rw no_discard_passdown queue_if_no_space - 512 
tank-thinpool_tdata: 0 327680 raid raid1 2 AD 327680/327680 idle 0 0 -
tank-thinpool_tdata_rimage_1-missing_0_0: 0 327680 error 
`, want: []lvm.Device{
			{Name: "tank-golden", Size: 100 << 20, Type: "thin", Thin: &lvm.Thin{Mapped: 20 << 20}},
			{Name: "tank-thinpool", Size: 160 << 20, Type: "linear"},
			{Name: "tank-thinpool-tpool", Size: 160 << 20, Type: "thin-pool", ThinPool: &lvm.ThinPool{UsedMetadata: 216, TotalMetadata: 2048, UsedChunks: 320, TotalChunks: 2560}},
			{Name: "tank-thinpool_tdata", Size: 160 << 20, Type: "raid", Raid: &lvm.Raid{Legs: "AD", Synced: 327680, Total: 327680, Action: "idle"}},
			{Name: "tank-thinpool_tdata_rimage_1-missing_0_0", Size: 160 << 20, Type: "error"},
		}},
		{name: "resync", out: "t-m: 0 8 raid raid1 2 Aa 4/8 recover 0 0 -", want: []lvm.Device{{Name: "t-m", Size: 4096, Type: "raid", Raid: &lvm.Raid{Legs: "Aa", Synced: 4, Total: 8, Action: "recover"}}}},
		{name: "out of space", out: "t-p: 0 8 thin-pool 1 2/3 4/4 - out_of_data_space discard_passdown queue_if_no_space - 1024", want: []lvm.Device{{Name: "t-p", Size: 4096, Type: "thin-pool", ThinPool: &lvm.ThinPool{UsedMetadata: 2, TotalMetadata: 3, UsedChunks: 4, TotalChunks: 4, OutOfSpace: true}}}},
		{name: "metadata reserved", out: "t-p: 0 8 thin-pool 1 2/3 4/4 17 rw discard_passdown queue_if_no_space - 1024", want: []lvm.Device{{Name: "t-p", Size: 4096, Type: "thin-pool", ThinPool: &lvm.ThinPool{UsedMetadata: 2, TotalMetadata: 3, UsedChunks: 4, TotalChunks: 4, Reserved: true}}}},
		{name: "needs check", out: "t-p: 0 8 thin-pool 1 2/3 4/4 - ro discard_passdown queue_if_no_space needs_check 1024", want: []lvm.Device{{Name: "t-p", Size: 4096, Type: "thin-pool", ThinPool: &lvm.ThinPool{UsedMetadata: 2, TotalMetadata: 3, UsedChunks: 4, TotalChunks: 4, ReadOnly: true, NeedsCheck: true}}}},
		{name: "failed", out: "t-p: 0 8 thin-pool Fail\nt-v: 0 8 thin Fail\n", want: []lvm.Device{
			{Name: "t-p", Size: 4096, Type: "thin-pool", ThinPool: &lvm.ThinPool{Failed: true}},
			{Name: "t-v", Size: 4096, Type: "thin", Thin: &lvm.Thin{Failed: true}},
		}},
		{name: "two targets", out: "t-p: 0 8 linear \nt-p: 8 8 linear \n", want: []lvm.Device{{Name: "t-p", Size: 8192, Type: "linear"}}},
		{name: "no table", out: "t-p: \n"},
		{name: "cut short", out: "t-p: 0 8", fails: true},
		{name: "no number", out: "t-p: 0 x linear", fails: true},
		{name: "raid cut short", out: "t-p: 0 8 raid raid1 2 AA", fails: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := lvm.ParseStatus(tt.out)
			if (err != nil) != tt.fails {
				t.Fatalf("error = %v, want one: %v", err, tt.fails)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("devices (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRedundant(t *testing.T) {
	for legs, want := range map[string]bool{"AA": true, "AAA": true, "AD": false, "aA": false, "": false} {
		if got := (lvm.Raid{Legs: legs}).Redundant(); got != want {
			t.Errorf("legs %q: redundant = %v, want %v", legs, got, want)
		}
	}
}

func TestDeviceName(t *testing.T) {
	if diff := cmp.Diff("my--tank-vm--1", lvm.DeviceName("my-tank", "vm-1")); diff != "" {
		t.Errorf("name (-want +got):\n%s", diff)
	}
}

func FuzzParseStatus(f *testing.F) {
	f.Add("tank-golden: 0 204800 thin 40960 40959\n")
	f.Add("t-m: 0 8 raid raid1 2 Aa 4/8 recover 0 0 -\n")
	f.Add("t-p: 0 8 thin-pool 1 2/3 4/4 - ro discard_passdown queue_if_no_space needs_check 1024\n")
	f.Fuzz(func(t *testing.T, out string) { lvm.ParseStatus(out) })
}
