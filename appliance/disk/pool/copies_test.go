package pool

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk"
	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/disk/probe"
)

// twice is a pool of two disks, of which the first one was copied. LVM took
// whichever is at path.
func twice(path string, recorded string, seqno, copySeqno uint64) Facts {
	label := func(id string, n uint64) probe.Finding {
		return probe.Finding{What: "LVM physical volume", UUID: id, Set: probe.Set{Events: n}}
	}
	return Facts{
		Disks: []disk.Disk{
			{Name: "sda", Path: "/dev/sda", Serial: "A", Model: "Old", Port: "port 1"},
			{Name: "sdb", Path: "/dev/sdb", Serial: "B"},
			{Name: "sdc", Path: "/dev/sdc", Serial: "COPY", Model: "New", Port: "port 3"},
		},
		Labels: map[string]probe.Finding{"sda": label("pv-a", seqno), "sdb": label("pv-b", max(seqno, copySeqno)), "sdc": label("pv-a", copySeqno)},
		LVM: lvm.State{Groups: []lvm.Group{{
			Name: "tank", UUID: "vg", Tags: []string{Tag, memberTag("pv-a", recorded), memberTag("pv-b", "B")},
			Physical: []lvm.PhysicalVolume{{Path: path, UUID: "pv-a"}, {Path: "/dev/sdb", UUID: "pv-b"}},
			Logical:  []lvm.LogicalVolume{{Name: dataVolume, Type: "thin-pool"}, {Name: "vm1", Type: "thin"}},
		}}},
	}
}

func TestCopies(t *testing.T) {
	tests := []struct {
		name  string
		facts Facts
		held  string // the disk that the pool is active on
		want  map[string]string
	}{
		{"the recorded one, whichever LVM took", twice("/dev/sdc", "A", 7, 7), "", map[string]string{"sdc": "A"}},
		{"the copy is older", twice("/dev/sda", "A", 9, 7), "", map[string]string{"sdc": "A"}},
		{"the copy was used since", twice("/dev/sdc", "COPY", 7, 9), "", map[string]string{"sda": "COPY"}},
		{"the copy was changed, and nothing says by whom", twice("/dev/sda", "A", 7, 9), "", map[string]string{}},
		{"both are other disks than recorded", twice("/dev/sda", "X", 7, 7), "", map[string]string{}},
		{"metadata can't be read", twice("/dev/sda", "A", 0, 0), "", map[string]string{}},
		{"the one in use stays", twice("/dev/sda", "A", 7, 7), "sdc", map[string]string{"sda": "COPY"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := chooseCopies(tt.facts, sameLabels(tt.facts), func(d disk.Disk) bool { return d.Name == tt.held })
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Fatalf("copies (-want +got):\n%s", diff)
			}
			tt.facts.Copies = got
			plan := Make(Spec{Name: "tank", Layout: Mirror, Disks: []string{"A", "B"}}, tt.facts, nil)
			refused := len(plan.Steps) == 0
			if refused != (len(tt.want) == 0) {
				t.Errorf("plan %+v", plan)
			}
			if text := plan.Problems; refused && (len(text) == 0 || !strings.Contains(text[0].What, "disk A (sda, Old, port 1) and disk COPY (sdc, New, port 3)")) {
				t.Errorf("problems %+v", text)
			}
		})
	}
}

// TestRecordDisks: before a pool is used on another disk than recorded, its
// tags say so.
func TestRecordDisks(t *testing.T) {
	f := twice("/dev/sdc", "A", 7, 7)
	f.Disks = f.Disks[1:] // the copy took the place of A
	delete(f.Labels, "sda")
	plan := Make(Spec{Name: "tank", Layout: Mirror, Disks: []string{"COPY", "B"}}, f, nil)
	want := []Step{
		RecordDisks{Pool: "tank", UUID: "vg", Paths: []string{"/dev/sdc", "/dev/sdb"}, Add: []string{memberTag("pv-a", "COPY")}, Remove: []string{memberTag("pv-a", "A")}},
		Activate{Pool: "tank", Mode: lvm.Degraded},
	}
	if diff := cmp.Diff(want, plan.Steps[:min(2, len(plan.Steps))]); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	f.LVM.Groups[0].Physical[1].Missing, f.LVM.Groups[0].Physical[1].Path, f.LVM.Groups[0].Missing = true, "", 1
	if add, _ := unrecorded(f.LVM.Groups[0], f); len(add) != 1 {
		t.Errorf("to record: %v", add)
	}
	// LVM's metadata stays as it is while a disk is missing.
	var p Plan
	p.planRecord(f.LVM.Groups[0], f, "disk B")
	if len(p.Steps) != 0 || len(p.Problems) != 1 {
		t.Errorf("plan %+v", p)
	}
}

func TestTwins(t *testing.T) {
	v := view{now: []disk.Disk{
		{Name: "sda", Serial: "0123", Model: "Bridge", Port: "USB port 1-1"}, {Name: "sdb", Serial: "0123", Model: "Bridge", Port: "USB port 1-2"},
		{Name: "sdc", Serial: "C", WWN: "wwn-0x1"}, {Name: "sdd", Serial: "C", WWN: "wwn-0x2"}, {Name: "sde"}, {Name: "sdf"},
	}}
	got := v.twins()
	if len(got) != 1 || got[0].What != "2 disks call themselves 0123: disk 0123 (sda, Bridge, USB port 1-1) and disk 0123 (sdb, Bridge, USB port 1-2)" {
		t.Errorf("problems %+v", got)
	}
}
