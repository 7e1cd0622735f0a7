package pool

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/status"
)

var monday = time.Date(2026, 11, 30, 17, 5, 9, 0, time.UTC)

// stocked is a world with pool tank: golden, its snapshot golden@monday, and
// clone, each of which holds its own name.
func stocked(t *testing.T) (*world, *Manager) {
	t.Helper()
	w := newWorld(t, "ab")
	m, _ := w.manager(func(o *Options) { o.Now = func() time.Time { return monday } })
	if err := m.Bring(t.Context(), tank); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Snapshot(t.Context(), "golden", "monday"); err != nil {
		t.Fatal(err)
	}
	if err := m.Clone(t.Context(), "golden@monday", "clone"); err != nil {
		t.Fatal(err)
	}
	if err := m.KeepLUNs(t.Context(), []LUN{{"tank", "golden", "vm", 3}}); err != nil {
		t.Fatal(err)
	}
	for _, v := range w.groups[0].Logical {
		w.holds[v.UUID] = v.Name
	}
	w.commands()
	return w, m
}

// again gives a world as stocked makes it, without making it anew.
func again(t *testing.T, old *world) (*world, *Manager) {
	t.Helper()
	w := newWorld(t, "ab")
	g := *old.groups[0]
	g.Logical = slices.Clone(g.Logical)
	w.groups, w.active, w.holds, w.made = []*lvm.Group{&g}, maps.Clone(old.active), maps.Clone(old.holds), old.made
	w.legs, w.numbers = maps.Clone(old.legs), maps.Clone(old.numbers)
	m, _ := w.manager(func(o *Options) { o.Now = func() time.Time { return monday } })
	if err := m.Bring(t.Context(), tank); err != nil {
		t.Fatal(err)
	}
	w.commands()
	return w, m
}

// content lists volumes, snapshots and trash by what people call them, with
// what they hold.
func (w *world) content(m *Manager) map[string]string {
	all := map[string]string{}
	for _, v := range w.groups[0].Logical {
		switch kindOf(v) {
		case volume, snapshot:
			all[shown(v.Name)] = w.holds[v.UUID]
		case trash:
			was, _ := tagValue(v, wasTag)
			all["trash:"+shown(was)] = w.holds[v.UUID]
		default:
			if !strings.HasPrefix(v.Name, "thin") {
				all["other:"+v.Name] = w.holds[v.UUID]
			}
		}
	}
	return all
}

type volumeCommand struct {
	name   string
	before func(context.Context, *Manager) error // may be nil
	specs  []Spec                                // nil: tank
	do     func(context.Context, *Manager) error
	want   map[string]string
}

func volumeCommands() []volumeCommand {
	const kept = "golden@before-2026-11-30T17-05"
	unnamed := []Spec{{Name: "tank", Layout: Mirror, Disks: []string{"A", "B"}}}
	renamed := []Spec{{Name: "tank", Layout: Mirror, Disks: []string{"A", "B"}, Volumes: []VolumeSpec{{Name: "base", Size: 64 << 20}}}}
	remove := func(ctx context.Context, m *Manager) error {
		if err := m.Bring(ctx, unnamed); err != nil {
			return err
		}
		return m.Delete(ctx, "golden", true)
	}
	return []volumeCommand{
		{name: "snapshot", do: func(ctx context.Context, m *Manager) error { _, err := m.Snapshot(ctx, "golden", ""); return err },
			want: map[string]string{"golden": "golden", "golden@monday": "golden+monday", "clone": "clone", "golden@2026-11-30T17-05": "golden"}},
		{name: "clone", do: func(ctx context.Context, m *Manager) error { return m.Clone(ctx, "tank/golden", "second") },
			want: map[string]string{"golden": "golden", "golden@monday": "golden+monday", "clone": "clone", "second": "golden"}},
		{name: "revert", do: func(ctx context.Context, m *Manager) error { _, err := m.Revert(ctx, "golden@monday"); return err },
			want: map[string]string{"golden": "golden+monday", "golden@monday": "golden+monday", "clone": "clone", kept: "golden"}},
		{name: "promote", do: func(ctx context.Context, m *Manager) error { _, err := m.Promote(ctx, "clone", "golden"); return err },
			want: map[string]string{"golden": "clone", "golden@monday": "golden+monday", "clone": "clone", kept: "golden"}},
		{name: "rename", specs: renamed, do: func(ctx context.Context, m *Manager) error { return m.Rename(ctx, "golden", "base") },
			want: map[string]string{"base": "golden", "base@monday": "golden+monday", "clone": "clone"}},
		{name: "delete", specs: unnamed, before: func(ctx context.Context, m *Manager) error { return m.Bring(ctx, unnamed) },
			do:   func(ctx context.Context, m *Manager) error { return m.Delete(ctx, "golden", true) },
			want: map[string]string{"trash:golden": "golden", "trash:golden@monday": "golden+monday", "clone": "clone"}},
		{name: "restore", specs: unnamed, before: remove,
			do:   func(ctx context.Context, m *Manager) error { _, err := m.Restore(ctx, "golden", ""); return err },
			want: map[string]string{"golden": "golden", "trash:golden@monday": "golden+monday", "clone": "clone"}},
		{name: "restore as another", specs: unnamed, before: remove,
			do:   func(ctx context.Context, m *Manager) error { _, err := m.Restore(ctx, "golden", "back"); return err },
			want: map[string]string{"back": "golden", "trash:golden@monday": "golden+monday", "clone": "clone"}},
		{name: "purge", specs: unnamed, before: remove,
			do:   func(ctx context.Context, m *Manager) error { return m.Purge(ctx, "golden@monday") },
			want: map[string]string{"trash:golden": "golden", "clone": "clone"}},
	}
}

// TestVolumeCommands does each command, and then again with the power cut at
// each of its changes: what is there after the next start must be what was
// there before, or what the command was to make, with nothing in between; a
// command that is given again then leads to the same.
func TestVolumeCommands(t *testing.T) {
	first, _ := stocked(t)
	for _, c := range volumeCommands() {
		t.Run(c.name, func(t *testing.T) {
			specs := c.specs
			if specs == nil {
				specs = tank
			}
			for at := -1; ; at++ {
				w, m := again(t, first)
				if c.before != nil {
					if err := c.before(t.Context(), m); err != nil {
						t.Fatal(err)
					}
				}
				before, id := w.content(m), identityOf(m, "golden")
				kept, _ := m.Identities("tank")
				w.left = at
				err := c.do(t.Context(), m)
				if at < 0 && err != nil {
					t.Fatal(err)
				}
				whole := err == nil
				w.restart()
				m, _ = w.manager(func(o *Options) { o.Now = func() time.Time { return monday } })
				if err := m.Bring(t.Context(), specs); err != nil {
					t.Fatalf("power cut at change %d: %v", at, err)
				}
				after := w.content(m)
				if c.name == "delete" && !whole { // of several things, one by one
					for k := range after {
						after[strings.TrimPrefix(k, "trash:")] = after[k]
						if strings.HasPrefix(k, "trash:") {
							delete(after, k)
						}
					}
				}
				if c.name == "rename" && cmp.Equal(after, before) {
					// The configuration has the new name already; nothing is made in its place.
					t.Errorf("power cut at change %d: neither %v nor a new volume", at, after)
				}
				fresh := map[string]string{"base": "", "golden": "golden", "golden@monday": "golden+monday", "clone": "clone"}
				asBefore := cmp.Equal(after, before) || c.name == "rename" && cmp.Equal(after, fresh)
				if diff := cmp.Diff(c.want, after); diff != "" && (whole || !asBefore) {
					t.Errorf("power cut at change %d: (-want +got):\n%s\nbefore it was %v", at, diff, before)
				}
				name := map[bool]string{true: "base", false: "golden"}[c.name == "rename" && !asBefore]
				if now := identityOf(m, name); id != "" && now != id && now != "" {
					t.Errorf("power cut at change %d: the identity was %s and is %s", at, id, now)
				}
				keeps, known := m.Identities("tank")
				for _, x := range kept {
					if c.name != "purge" && !strings.HasPrefix(x, "snapshot ") && (!known || !slices.Contains(keeps, x)) {
						t.Errorf("power cut at change %d: nothing has the identity %s any more", at, x)
					}
				}
				if c.name == "clone" && whole && (identityOf(m, "second") == id || !slices.Contains(keeps, identityOf(m, "second"))) {
					t.Errorf("the clone's identity is %s, among %v", identityOf(m, "second"), keeps)
				}
				if (c.name == "revert" || c.name == "promote") && !slices.Contains(m.LUNs(), LUN{"tank", "golden", "vm", 3}) {
					t.Errorf("power cut at change %d: LUNs %v", at, m.LUNs())
				}
				if _, _, problems := m.Status(t.Context()); len(problems) > 0 {
					t.Errorf("power cut at change %d: problems %v", at, problems)
				}
				if left := unfinished(*w.groups[0]); len(left) > 0 {
					t.Errorf("power cut at change %d: left to do: %v", at, left)
				}
				if at >= 0 && whole {
					break
				}
			}
		})
	}
}

func identityOf(m *Manager, name string) string {
	_, id, _, _ := m.Volume("tank", name)
	return id
}

func TestRefusedVolumeCommands(t *testing.T) {
	first, _ := stocked(t)
	tests := []struct {
		name string
		do   func(context.Context, *Manager) error
		want string
	}{
		{"no such volume", func(ctx context.Context, m *Manager) error { _, err := m.Snapshot(ctx, "gold", ""); return err }, "there is no gold"},
		{"snapshot of the thin pool", func(ctx context.Context, m *Manager) error { _, err := m.Snapshot(ctx, "thinpool", ""); return err }, "there is no thinpool"},
		{"taken", func(ctx context.Context, m *Manager) error { _, err := m.Snapshot(ctx, "golden", "monday"); return err }, "choose another name"},
		{"clone over something", func(ctx context.Context, m *Manager) error { return m.Clone(ctx, "golden", "clone") }, "choose another name"},
		{"clone over the thin pool", func(ctx context.Context, m *Manager) error { return m.Clone(ctx, "golden", "thinpool") }, "choose another name"},
		{"delete what is configured", func(ctx context.Context, m *Manager) error { return m.Delete(ctx, "golden", true) }, "is in the configuration"},
		{"revert while in use", func(ctx context.Context, m *Manager) error { _, err := m.Revert(ctx, "golden@monday"); return err }, "in use"},
		{"promote over itself", func(ctx context.Context, m *Manager) error { _, err := m.Promote(ctx, "clone", "clone"); return err }, "is one volume"},
		{"promote over one of another pool", func(ctx context.Context, m *Manager) error {
			_, err := m.Promote(ctx, "clone", "other/golden")
			return err
		}, "in another"},
		{"purge what isn't deleted", func(ctx context.Context, m *Manager) error { return m.Purge(ctx, "golden") }, "there is no golden"},
		{"restore what isn't deleted", func(ctx context.Context, m *Manager) error { _, err := m.Restore(ctx, "golden", "x"); return err }, "there is no golden"},
		{"rename over something", func(ctx context.Context, m *Manager) error { return m.Rename(ctx, "golden", "clone") }, "choose another name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, m := again(t, first)
			w.inUse = "golden"
			before := w.content(m)
			if err := tt.do(t.Context(), m); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if diff := cmp.Diff(before, w.content(m)); diff != "" {
				t.Errorf("changed (-before +after):\n%s", diff)
			}
			if _, _, _, err := m.Volume("tank", "golden"); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestVolumeCommandsWithoutADisk: LVM changes nothing while a disk is missing,
// and the error names it.
func TestVolumeCommandsWithoutADisk(t *testing.T) {
	first, _ := stocked(t)
	for _, c := range volumeCommands() {
		t.Run(c.name, func(t *testing.T) {
			w, m := again(t, first)
			if c.before != nil {
				if err := c.before(t.Context(), m); err != nil {
					t.Fatal(err)
				}
			}
			w.unplug("b")
			before := w.content(m)
			w.commands()
			if err := c.do(t.Context(), m); err == nil || !strings.Contains(err.Error(), "disk B is missing from pool tank") {
				t.Errorf("error %v", err)
			}
			if diff := cmp.Diff(before, w.content(m)); diff != "" {
				t.Errorf("changed (-before +after):\n%s", diff)
			}
			if all := w.commands(); len(all) > 0 {
				t.Errorf("commands %v", all)
			}
		})
	}
}

// TestRenamed: a volume that was renamed isn't made anew because the
// configuration still has its old name.
func TestRenamed(t *testing.T) {
	w, m := stocked(t)
	if err := m.Rename(t.Context(), "golden", "base"); err != nil {
		t.Fatal(err)
	}
	if err := m.Bring(t.Context(), tank); err != nil {
		t.Fatal(err)
	}
	if _, there := w.content(m)["golden"]; there {
		t.Error("an empty volume was made under the old name")
	}
	_, _, problems := m.Status(t.Context())
	if len(problems) != 1 || problems[0].What != "volume golden was renamed to base, but the configuration has the old name" {
		t.Errorf("problems %+v", problems)
	}
	both := slices.Clone(tank)
	both[0].Volumes = []VolumeSpec{{Name: "golden", Size: 64 << 20}, {Name: "base", Size: 64 << 20}}
	if err := m.Bring(t.Context(), both); err != nil {
		t.Fatal(err)
	}
	if _, there := w.content(m)["golden"]; !there {
		t.Error("a volume of a name that is free wasn't made")
	}
}

// TestUnfinishedIsNotServed: between the changes of a revert nobody gets at
// either of the two.
func TestUnfinishedIsNotServed(t *testing.T) {
	w, m := stocked(t)
	w.left = 2 // closed, and the next one made
	if _, err := m.Revert(t.Context(), "golden@monday"); err == nil {
		t.Fatal("no error")
	}
	w.left = -1
	w.active = map[string]bool{}
	w.unplug("b") // so that it can't be finished
	m, _ = w.manager(nil)
	if err := m.Bring(t.Context(), tank); err != nil {
		t.Fatal(err)
	}
	if path, _, _, err := m.Volume("tank", "golden"); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("path %q, error %v", path, err)
	}
	w.plug("b")
	if err := m.Bring(t.Context(), tank); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := m.Volume("tank", "golden"); err != nil {
		t.Error(err)
	}
	if got := w.content(m)["golden"]; got != "golden+monday" {
		t.Errorf("golden holds %s", got)
	}
}

// TestUnfinishedIsTriedAgain: what LVM refuses in the middle of a command is
// done when Watch looks the next time, without another command.
func TestUnfinishedIsTriedAgain(t *testing.T) {
	w, m := stocked(t)
	w.refuse = "lvrename"
	if _, err := m.Revert(t.Context(), "golden@monday"); err == nil {
		t.Fatal("no error")
	}
	if path, _, _, err := m.Volume("tank", "golden"); err == nil {
		t.Errorf("%s is given out in the middle", path)
	}
	w.refuse = ""
	if err := m.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := m.Volume("tank", "golden"); err != nil || w.content(m)["golden"] != "golden+monday" {
		t.Errorf("%v, content %v", err, w.content(m))
	}
}

// TestDiskComesUnderACommand: a command that sees a disk first doesn't hide it
// from Watch.
func TestDiskComesUnderACommand(t *testing.T) {
	w, m := stocked(t)
	w.unplug("b")
	if err := m.Bring(t.Context(), tank); err != nil {
		t.Fatal(err)
	}
	w.plug("b")
	if _, err := m.Snapshot(t.Context(), "golden", "x"); err != nil {
		t.Fatal(err)
	}
	if !m.again {
		t.Error("Watch won't look at the disk")
	}
}

func TestTrashName(t *testing.T) {
	long := strings.Repeat("x", 48)
	for _, name := range []string{"golden", "golden+monday", long, long + "+before-2026-11-30T17-05", "a+b-"} {
		v := lvm.LogicalVolume{Tags: []string{timeTag(lvm.TrashTag, monday), wasTag + name}}
		got := trashName("tank-of-"+long[:40], v)
		if err := checkDeviceName("tank-of-"+long[:40], got); err != nil {
			t.Error(err)
		}
		if !strings.HasPrefix(got, "trash+") || !strings.HasPrefix("trash+tpbrgl+"+name, got) {
			t.Errorf("%s becomes %s", name, got)
		}
	}
}

func asking(v ...VolumeSpec) Spec {
	return Spec{Name: "tank", Layout: Mirror, Disks: []string{"A", "B"}, Volumes: v}
}

// TestPlanVolumes is about the keys of a volume.
func TestPlanVolumes(t *testing.T) {
	tagged := func(name string, tags ...string) lvm.LogicalVolume {
		v := thin(name, 64<<20)
		v.Tags = tags
		return v
	}
	g := active(group("tank", "ab", tagged("golden", blockTag+"4096"), tagged("golden+monday", timeTag(createdTag, monday), blockTag+"4096"), tagged("plain")))
	for i := range g.Physical {
		g.Physical[i].Extents = 1000
	}
	g.Logical = append(g.Logical, lvm.LogicalVolume{Name: "fat", Type: "raid1", Size: 64 << 20, Tags: []string{thickTag}, Active: true})
	fromMonday := []string{fromTag + "golden+monday", blockTag + "4096"}
	tests := []struct {
		name    string
		want    VolumeSpec
		steps   []Step
		problem string
	}{
		{"clone of a snapshot", VolumeSpec{Name: "vm", From: "golden@monday"}, []Step{CloneVolume{"tank", "golden+monday", "vm", fromMonday}}, ""},
		{"larger clone is made, then grown", VolumeSpec{Name: "vm", From: "golden@monday", Size: 1 << 30}, []Step{CloneVolume{"tank", "golden+monday", "vm", fromMonday}}, ""},
		{"smaller clone", VolumeSpec{Name: "vm", From: "golden", Size: 4 << 20}, nil, "a clone isn't smaller"},
		{"clone with other blocks", VolumeSpec{Name: "vm", From: "golden", Block: 512}, nil, "can't be created with blocks of 512"},
		{"clone of nothing", VolumeSpec{Name: "vm", From: "golden@sunday"}, nil, "there is no golden@sunday"},
		{"clone of a thick one", VolumeSpec{Name: "vm", From: "fat"}, nil, "only thin volumes can be cloned"},
		{"clone that exists", VolumeSpec{Name: "plain", From: "golden@sunday"}, nil, ""},
		{"new with blocks", VolumeSpec{Name: "vm", Size: 4 << 20, Block: 4096}, []Step{CreateVolume{"tank", "vm", 4 << 20, []string{blockTag + "4096"}}}, ""},
		{"same blocks", VolumeSpec{Name: "golden", Size: 64 << 20, Block: 4096}, nil, ""},
		{"no word of blocks", VolumeSpec{Name: "golden", Size: 64 << 20}, nil, ""},
		{"other blocks", VolumeSpec{Name: "golden", Size: 64 << 20, Block: 512}, nil, "has blocks of 4096 bytes, and the configuration wants 512"},
		{"4096 on one that has none", VolumeSpec{Name: "plain", Size: 64 << 20, Block: 4096}, nil, "has blocks of 512 bytes"},
		{"512 on one that has none", VolumeSpec{Name: "plain", Size: 64 << 20, Block: 512}, nil, ""},
		{"thick", VolumeSpec{Name: "vm", Size: 1 << 30, Thick: true}, []Step{CreateThick{"tank", "vm", lvm.Raid1, 2, 1 << 30, []string{thickTag, "sanstick.clearing.0.0"}, paths("ab")}}, ""},
		{"thick without room", VolumeSpec{Name: "vm", Size: 4 << 30, Thick: true}, nil, "outside of the thin pool there are"},
		{"thick that is thin", VolumeSpec{Name: "plain", Size: 64 << 20, Thick: true}, nil, "is thin, and the configuration wants it thick"},
		{"thin that is thick", VolumeSpec{Name: "fat", Size: 64 << 20}, nil, "is thick, and the configuration wants it thin"},
		{"thick that is", VolumeSpec{Name: "fat", Size: 64 << 20, Thick: true}, nil, ""},
		{"thick grows", VolumeSpec{Name: "fat", Size: 128 << 20, Thick: true}, []Step{TagVolume{Pool: "tank", Volume: "fat", Add: []string{"sanstick.clearing.67108864.67108864"}}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := Make(asking(tt.want), facts("ab", g), nil)
			if diff := cmp.Diff(tt.steps, p.Steps); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if tt.problem == "" && len(p.Problems) > 0 || tt.problem != "" && (len(p.Problems) != 1 || p.Problems[0].Health != status.Degraded || !strings.Contains(p.Problems[0].What, tt.problem)) {
				t.Errorf("problems %+v, want %q", p.Problems, tt.problem)
			}
		})
	}
	// What is cloned may be made in the same run.
	two := asking(VolumeSpec{Name: "base", Size: 4 << 20}, VolumeSpec{Name: "vm", From: "base"})
	if p := Make(two, facts("ab", g), nil); fmt.Sprint(p.Steps) != "[create volume base in pool tank with 4194304 bytes]" || len(p.Problems) > 0 {
		t.Errorf("steps %v, problems %v", p.Steps, p.Problems)
	}
}

// What a command has done is on stable storage before anybody can make use of it.
func TestFlushedBeforeKnown(t *testing.T) {
	w, m := stocked(t)
	there := func() bool { _, err := m.Export("tank", "golden@friday"); return err == nil }
	flushes := 0
	w.flush = func() error {
		if flushes++; there() {
			t.Error("the snapshot is known, and not on stable storage")
		}
		return nil
	}
	if _, err := m.Snapshot(t.Context(), "golden", "friday"); err != nil {
		t.Fatal(err)
	}
	if flushes == 0 || !there() {
		t.Errorf("%d flushes; the snapshot is known: %v", flushes, there())
	}
}
