package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/status"
)

func TestRenderDisks(t *testing.T) {
	warm := 34
	array := func(member string, events uint64) *status.Set {
		return &status.Set{Kind: "md array", ID: "1:2:3:4", Name: "nas:0", Level: "raid5", Member: member, Members: 3, Events: events}
	}
	disks := []status.Disk{
		{Name: "sda", Serial: "WD-A", WWN: "wwn-0x5000", Model: "WDC WD40", Size: 4 << 40, Rotational: true, Transport: "sata",
			Port: "SATA port 2 (ata2, PCI 00:1f.2)", SMART: true, Temperature: &warm, Use: "pool tank"},
		{Name: "sdb", Size: 1 << 40, Use: "GPT partition table", Holds: []status.Content{
			{Text: "GPT partition table"},
			{Text: "Microsoft data partition of 1 TiB", Partition: 2},
			{Text: `NTFS filesystem "Windows" of 1 TiB`, Partition: 2},
		}},
		{Name: "sdc", Serial: "M-0", Size: 1 << 40, Use: "md RAID member (1.2)", Holds: []status.Content{{Text: "md RAID member (1.2)", Set: array("0", 9)}}},
		{Name: "sdd", Serial: "M-2", Size: 1 << 40, Use: "md RAID member (1.2)", Holds: []status.Content{{Text: "md RAID member (1.2)", Partition: 1, Set: array("2", 7)}}},
	}
	want := `WD-A: pool tank
  4 TiB, WDC WD40, sata, sda
  at SATA port 2 (ata2, PCI 00:1f.2), rotating, 34 °C, SMART, wwn-0x5000

sdb (no serial number): GPT partition table
  1 TiB, sdb
  holds GPT partition table
    2: Microsoft data partition of 1 TiB
       holds NTFS filesystem "Windows" of 1 TiB

M-0: md RAID member (1.2)
  1 TiB, sdc
  holds md RAID member (1.2)

M-2: md RAID member (1.2)
  1 TiB, sdd
    1: md RAID member (1.2)

Found on disks that belong to no pool
  md array nas:0 (raid5, 3 members), ID 1:2:3:4
    member 0 is disk M-0
    member 2 is disk M-2, partition 1, OUT OF DATE (7 events of 9)
    member 1 isn't here
`
	if diff := cmp.Diff(want, renderDisks(disks)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
