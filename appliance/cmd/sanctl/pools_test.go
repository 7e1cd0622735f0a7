package main

import (
	"testing"
	"time"

	"sanstick/appliance/status"
)

func TestRenderPools(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	end := now.Add(50 * time.Hour)
	pools := []status.Pool{
		healthy().Pools[0],
		{
			Name: "small", Layout: "single", Health: status.Failed, Detail: "writes to volume vm1 are refused",
			Size: 100 << 30, Used: 98 << 30, Free: 2 << 30, Promised: 300 << 30, BySnapshots: 5 << 30, ByTrash: 7 << 30, Metadata: 12.5,
			Rate: float64(1<<30) / 3600, FullAt: &end,
			Unused:  []status.Unused{{Disk: "B", Bytes: 3 << 30, Why: "disk A is smaller"}},
			Volumes: []status.Volume{{Name: "vm1", Size: 300 << 30, Used: 98 << 30, Refused: true}},
		},
		{Name: "shrinking", Layout: "single", Health: status.OK, Size: 1 << 30, Free: 1 << 30, Rate: -10},
		{Name: "slow", Layout: "single", Health: status.OK, Size: 1 << 30, Free: 1 << 30, Rate: 10},
		{Name: "down", Layout: "mirror", Health: status.Failed, Detail: "isn't up yet"},
	}
	golden(t, "pools", renderPools(pools, now))
	golden(t, "nopools", renderPools(nil, now))
}

func TestChoosePools(t *testing.T) {
	all := []status.Pool{{Name: "a"}, {Name: "b"}}
	if got, err := choosePools(all, nil); len(got) != 2 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := choosePools(all, []string{"b"}); len(got) != 1 || got[0].Name != "b" || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := choosePools(all, []string{"c"}); err == nil {
		t.Error("a pool that isn't there was found")
	}
}
