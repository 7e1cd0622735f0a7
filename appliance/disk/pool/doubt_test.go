package pool

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk"
	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/disk/probe"
	"sanstick/appliance/sys"
	"sanstick/appliance/sys/systest"
)

// labelled is a mirror on A and B, as it is known from labels: by each disk's serial
// number, which physical volume it says it is, and how often the metadata on it was
// changed. The first one of a letter is what LVM sees.
func labelled(tags []string, newest []string, disks ...carrier) Facts {
	g := group("tank", "ab")
	g.Tags = append(g.Tags, tags...)
	f := Facts{Labels: map[string]probe.Finding{}, Copies: map[string]string{}, Marked: map[string]bool{g.UUID: true}, Now: time.Unix(1e9, 0)}
	paths := map[string]string{}
	for _, c := range disks {
		c.disk.Path = "/dev/" + c.disk.Name
		f.Disks = append(f.Disks, c.disk)
		f.Labels[c.disk.Name] = probe.Finding{UUID: c.pv, Set: probe.Set{Events: c.events}}
		if paths[c.pv] == "" {
			paths[c.pv] = c.disk.Path
		}
	}
	if newest != nil {
		f.Newest = map[string][]string{g.UUID: newest}
	}
	f.LVM.Groups = []lvm.Group{g}
	f.see(paths)
	return f
}

// see has LVM see the group on paths only, by physical volume.
func (f *Facts) see(paths map[string]string) {
	g := f.LVM.Groups[0]
	g.Physical, g.Logical, g.Missing = slices.Clone(g.Physical), slices.Clone(g.Logical), 0
	for i := range g.Physical {
		old, now := g.Physical[i].Path, paths[g.Physical[i].UUID]
		g.Physical[i].Path, g.Physical[i].Missing = now, now == ""
		if now == "" {
			g.Missing++
		}
		for j, v := range g.Logical {
			if slices.Contains(v.Devices, old) {
				g.Logical[j].Devices, g.Logical[j].Partial = []string{now}, now == ""
			}
		}
	}
	f.LVM.Groups = []lvm.Group{g}
}

// without is what LVM sees once the disks in doubt are hidden.
func (f Facts) hide(doubts map[string]Doubt) Facts {
	f.Doubts = doubts
	paths := map[string]string{}
	for _, pv := range f.LVM.Groups[0].Physical {
		if _, doubted := doubts[strings.TrimPrefix(pv.Path, "/dev/")]; !doubted {
			paths[pv.UUID] = pv.Path
		}
	}
	f.see(paths)
	return f
}

func on(name, serial, pv string, events uint64) carrier {
	return carrier{disk: disk.Disk{Name: name, Serial: serial}, pv: "pv-" + pv, events: events}
}

func TestDoubts(t *testing.T) {
	a, b := on("sda", "A", "a", 9), on("sdb", "B", "b", 9)
	wasCopy := []string{tagOf(copyTag, "pv-a", "COPY")}
	tests := []struct {
		name  string
		facts Facts
		want  string // disk in doubt; empty: none
		why   string
	}{
		{"the pool's own disks", labelled(nil, nil, a, b), "", ""},
		{"on other ports", labelled(nil, nil, on("sdb", "A", "a", 9), on("sda", "B", "b", 9)), "", ""},
		{"one in another enclosure", labelled(nil, nil, on("sdc", "USB", "a", 9), b), "", ""},
		{"all in other enclosures", labelled(nil, nil, on("sdc", "USB1", "a", 9), on("sdd", "USB2", "b", 9)), "", ""},
		{"returning, behind the others", labelled(nil, []string{"pv-b"}, on("sdc", "A", "a", 7), b), "", ""},
		{"returning in another enclosure, nothing was changed", labelled(nil, []string{"pv-b"}, on("sdc", "USB", "a", 9), b), "", ""},
		{"the newest is in another enclosure, and the other is behind", labelled(nil, []string{"pv-a"}, on("sdc", "USB", "a", 12), b), "", ""},
		{"it tells no serial number, and never did", labelled([]string{}, nil, on("sdc", "", "a", 9), b), "", ""},
		{"a copy that is behind", labelled(nil, nil, on("sdc", "COPY", "a", 7), b), "sdc", "is older than the pool's other disks: its metadata was changed 7 times, theirs 9 times"},
		{"a copy that is behind, and tells no serial number", labelled(nil, nil, on("sdc", "", "a", 7), b), "sdc", "is older"},
		{"a copy in the place of the newest", labelled(nil, []string{"pv-b"}, on("sdc", "COPY", "a", 7), b), "sdc", "is older"},
		{"a copy that was changed elsewhere", labelled(nil, nil, on("sdc", "COPY", "a", 12), b), "sdc", "was changed apart"},
		{"one that was here as a copy", labelled(wasCopy, nil, on("sdc", "COPY", "a", 9), b), "sdc", "was here as a copy"},
		{"one that was here as a copy, and is all there is", labelled(wasCopy, nil, on("sdc", "COPY", "a", 9)), "", ""},
		{"one that was a copy of the other", labelled(wasCopy, nil, a, on("sdc", "COPY", "b", 9)), "", ""},
		{"unreadable metadata", labelled(nil, nil, on("sdc", "COPY", "a", 0), b), "sdc", "has metadata that can't be read"},
		{"copies of both, of different age", labelled(nil, nil, on("sdc", "X", "a", 7), on("sdd", "Y", "b", 9)), "sdc", "is older"},
		{"two copies, between which there is no choice", labelled(nil, nil, on("sdc", "X", "a", 7), b, on("sdd", "Y", "a", 7)), "", ""},
	}
	spec := Spec{Name: "tank", Layout: Mirror, Disks: []string{"A", "B"}, Spares: []string{"Y"}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.facts.doubts()
			if tt.want == "" {
				if len(got) > 0 {
					t.Errorf("doubts %+v, want none", got)
				}
				return
			}
			x, ok := got[tt.want]
			if len(got) != 1 || !ok || !strings.HasPrefix(x.Why, tt.why) {
				t.Fatalf("doubts %+v, want one about %s that it %s", got, tt.want, tt.why)
			}
			// It counts as missing, and the recorded one is waited for.
			f := tt.facts.hide(got)
			if diff := cmp.Diff(got, f.doubts()); diff != "" {
				t.Errorf("doubts once it is hidden (-want +got):\n%s", diff)
			}
			plan := Make(spec, f, nil)
			if plan.Wait != "disk A" || slices.ContainsFunc(plan.Steps, func(s Step) bool { _, is := s.(RecordDisks); return is }) {
				t.Errorf("plan %+v", plan)
			}
			if p := f.doubtProblems(); len(p) != 1 || !strings.Contains(p[0].What, "disk A of pool tank") || !strings.Contains(p[0].Do, "sanctl disk wipe") {
				t.Errorf("problems %+v", p)
			}
		})
	}
}

// TestElsewhere: a disk in another enclosure is used without a person, but only when
// the one that the tags name hasn't come, and the copies are compared then.
func TestElsewhere(t *testing.T) {
	spec := Spec{Name: "tank", Layout: Mirror, Disks: []string{"A", "B"}}
	f := labelled(nil, nil, on("sdc", "USB", "a", 9), on("sdb", "B", "b", 9))
	plan := Make(spec, f, nil)
	want := []Step{
		RecordDisks{Pool: "tank", UUID: "uuid-tank", Paths: []string{"/dev/sdc", "/dev/sdb"}, Add: []string{memberTag("pv-a", "USB")}, Remove: []string{memberTag("pv-a", "A")}, Compare: true},
		Activate{Pool: "tank", Mode: lvm.Degraded},
	}
	if diff := cmp.Diff(want, plan.Steps); diff != "" || plan.Wait != "disk A" {
		t.Errorf("it waits for %q; steps (-want +got):\n%s", plan.Wait, diff)
	}
	// A was late: now it is the copy that is hidden.
	f = labelled(nil, nil, on("sda", "A", "a", 9), on("sdb", "B", "b", 9), on("sdc", "USB", "a", 9))
	f.Copies = chooseCopies(f, sameLabels(f), func(disk.Disk) bool { return false })
	if diff := cmp.Diff(map[string]string{"sdc": "A"}, f.Copies); diff != "" {
		t.Fatalf("copies (-want +got):\n%s", diff)
	}
	if x := f.doubts(); len(x) > 0 {
		t.Errorf("doubts %+v", x)
	}
	plan = Make(spec, f, nil)
	want = []Step{
		MarkUse{Pool: "tank", UUID: "uuid-tank", Paths: []string{"/dev/sda", "/dev/sdb"}, Add: []string{tagOf(copyTag, "pv-a", "USB"), usedTag + "1"}},
		Activate{Pool: "tank", Mode: lvm.Degraded},
	}
	if diff := cmp.Diff(want, plan.Steps); diff != "" || plan.Wait != "" {
		t.Errorf("it waits for %q; steps (-want +got):\n%s", plan.Wait, diff)
	}
}

// marks are the tags of a use that a group has.
func (b *bench) marksNow() (tags []string) {
	for _, t := range b.groups[0].Tags {
		if strings.HasPrefix(t, usedTag) {
			tags = append(tags, strings.TrimPrefix(t, usedTag))
		}
	}
	return tags
}

// TestMarkUse: whenever a disk was away, and may have been copied, LVM's metadata is
// changed before the pool is used with it again, or at once.
func TestMarkUse(t *testing.T) {
	b := newBench(t, "ab", nil)
	marked := func(n string) {
		t.Helper()
		if diff := cmp.Diff([]string{n}, b.marksNow()); diff != "" {
			t.Errorf("marks (-want +got):\n%s", diff)
		}
	}
	marked("1")
	b.look()
	marked("1")
	b.restart()
	b.start()
	b.world.mu.Lock()
	log := slices.Clone(b.log)
	b.world.mu.Unlock()
	if i := slices.IndexFunc(log, func(c string) bool { return strings.Contains(c, usedTag+"2") }); i != 0 || !strings.Contains(log[1], "vgchange -ay") {
		t.Errorf("commands %q", log)
	}
	marked("2")
	b.unplug("b")
	b.write()
	b.look()
	marked("2") // LVM's metadata stays as it is
	b.plug("b")
	b.look()
	b.world.sync()
	b.look()
	b.wants(Healthy)
	marked("3")
	// If it can't be done, the pool is used nevertheless.
	b.restart()
	m, _ := b.manager(func(o *Options) {
		o.Now, o.Runner = b.clock.now, &systest.Runner{Handle: func(c sys.Command) (sys.Output, error) {
			if strings.Contains(c.String(), usedTag) {
				return sys.Output{}, &sys.ExitError{Command: c.String(), Code: 5, Stderr: "refused"}
			}
			return b.handle(c)
		}}
	})
	if err := m.Bring(t.Context(), b.specs); err != nil {
		t.Error(err)
	}
	if pools, _, problems := m.Status(t.Context()); pools[0].State != string(Healthy) || !says(problems, "refused") {
		t.Errorf("pool %+v, problems %+v", pools[0], problems)
	}
}

// carry writes LVM's label to a disk, and the beginning of metadata that was changed
// so many times.
func (w *world) carry(path, uuid string, changes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	label, meta := make([]byte, 4096), make([]byte, 4096)
	copy(label[512:], "LABELONE")
	binary.LittleEndian.PutUint32(label[512+20:], 32)
	copy(label[512+24:], "LVM2 001")
	copy(label[512+32:], strings.ReplaceAll(uuid, "-", ""))
	binary.LittleEndian.PutUint64(label[512+32+40:], 1<<20)
	binary.LittleEndian.PutUint64(label[512+32+40+32:], 4096)
	copy(meta[4:], " LVM2 x[5A%r0N*>")
	text := fmt.Sprintf("tank {\nid = \"x\"\nseqno = %d\n", changes)
	binary.LittleEndian.PutUint64(meta[40:], 512)
	binary.LittleEndian.PutUint64(meta[48:], uint64(len(text)))
	copy(meta[512:], text)
	w.disks[path].put(label, 0)
	w.disks[path].put(meta, 4096)
}

// TestDoubtfulDisk: while the pool is used a disk is pulled, and what may be a copy
// of it is plugged in.
func TestDoubtfulDisk(t *testing.T) {
	for _, old := range []bool{true, false} {
		b := newBench(t, "ab", nil)
		uuids := map[string]string{"/dev/vda": "aaaaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aaaaaa", "/dev/vdb": "bbbbbb-bbbb-bbbb-bbbb-bbbb-bbbb-bbbbbb"}
		g := b.groups[0]
		for i, pv := range g.Physical {
			u := uuids[pv.Path]
			for j := range g.Tags {
				g.Tags[j] = strings.ReplaceAll(g.Tags[j], pv.UUID, u)
			}
			for _, v := range []string{"thinpool_tdata", "thinpool_tmeta"} {
				b.legsOf("tank", v)[i].pv = u
			}
			g.Physical[i].UUID = u
			b.carry(pv.Path, u, 9)
		}
		b.look()
		b.unplug("a")
		b.write()
		b.look()
		b.wants(Absent, "disk A is missing")
		b.commands()
		b.plug("c")
		b.carry("/dev/vdc", uuids["/dev/vda"], 9)
		if old {
			b.carry("/dev/vdc", uuids["/dev/vda"], 7)
		}
		g.Physical[0].Path = "/dev/vdc"
		b.look()
		_, disks, problems := b.Status(t.Context())
		if !old {
			b.wants(Rebuilding)
			b.ran("vgchange --addtag sanstick.disk."+uuids["/dev/vda"]+".C --deltag sanstick.disk."+uuids["/dev/vda"]+".A tank", refreshed)
			b.world.sync()
			b.look()
			b.wants(Checking)
			continue
		}
		b.wants(Absent, "disk A is missing")
		b.ran()
		if disks[1].Use != "says that it is disk A of pool tank" || !says(problems, "is older than the pool's other disks") {
			t.Errorf("disks %+v, problems %+v", disks, problems)
		}
		b.clock.t = b.clock.t.Add(11 * time.Minute)
		b.look()
		if c := b.commands(); len(c) == 0 || !strings.Contains(c[0], "--removemissing") || !strings.Contains(c[0], `r|^/dev/vdc$|`) {
			t.Errorf("LVM sees the disk before it is given up: %q", c)
		}
		b.wants(Cut)
	}
}
