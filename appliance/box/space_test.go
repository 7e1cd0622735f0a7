package box

import (
	"testing"

	"sanstick/target/block/memdev"
	"sanstick/target/scsi"
)

// writes tells whether a unit takes a write now.
func writes(t *testing.T, u *scsi.Unit) bool {
	t.Helper()
	d := scsi.NewDevice("iqn.2006-12.test:x")
	if err := d.Attach(0, u); err != nil {
		t.Fatal(err)
	}
	n := d.NewNexus("iqn.2006-12.test:i,i,0x1", scsi.Port{RelativeID: 1, GroupID: 1, Name: "p"}, nil)
	defer n.Close()
	for n.NewTask([8]byte{}, make([]byte, 6)).Run(nil, nil).Status != scsi.Good { // unit attentions
	}
	return n.NewTask([8]byte{}, []byte{0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0}).Run(make([]byte, 512), nil).Status == scsi.Good
}

// What is said of a volume holds for units that are opened later, too.
func TestSpaceUnits(t *testing.T) {
	unit := func() *scsi.Unit {
		mem, err := memdev.New(1<<20, memdev.Options{})
		if err != nil {
			t.Fatal(err)
		}
		u, err := scsi.NewUnit(mem, scsi.UnitOptions{Identity: scsi.Identity{Serial: "1", NAA: scsi.NAAFromUUID("x")}, Thin: true})
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	s := newSpaceUnits()
	first, second, other := unit(), unit(), unit()
	s.add(volumeID{"tank", "vm1"}, first)
	s.add(volumeID{"tank", "vm2"}, other)
	s.SpaceLow("tank", "vm1")
	s.SpaceLow("tank", "nobody")
	if !writes(t, first) {
		t.Error("refused from the start")
	}
	s.Refuse("tank", "vm1", true)
	s.Refuse("slow", "vm1", false) // which isn't served
	s.SpaceEnough("slow", "vm1")
	s.remove(volumeID{"tank", "vm1"})
	s.add(volumeID{"tank", "vm1"}, second)
	for _, u := range []*scsi.Unit{second, other} {
		if got := writes(t, u); got != (u == other) {
			t.Errorf("takes writes: %v", got)
		}
	}
	s.rename(volumeID{"tank", "vm1"}, volumeID{"tank", "old"})
	s.rename(volumeID{"tank", "old"}, volumeID{"tank", "vm1"})
	if writes(t, second) {
		t.Error("takes writes under another name")
	}
	warned := func(u *scsi.Unit) bool {
		d := scsi.NewDevice("iqn.2006-12.test:x")
		if err := d.Attach(0, u); err != nil {
			t.Fatal(err)
		}
		n := d.NewNexus("iqn.2006-12.test:i,i,0x1", scsi.Port{RelativeID: 1, GroupID: 1, Name: "p"}, nil)
		defer n.Close()
		n.NewTask([8]byte{}, make([]byte, 6)).Run(nil, nil) // power on
		r := n.NewTask([8]byte{}, make([]byte, 6)).Run(nil, nil)
		return r.Status == scsi.CheckCondition && r.Sense[12] == 0x38 && r.Sense[13] == 7
	}
	if !warned(second) || warned(other) {
		t.Error("of low space not those hear who come later to the volume")
	}
	s.SpaceEnough("tank", "vm1")
	if warned(second) {
		t.Error("warned although there is enough")
	}
	s.Refuse("tank", "vm1", false)
	s.add(volumeID{"tank", "vm1"}, first)
	if !writes(t, first) {
		t.Error("refused at the end")
	}
}
