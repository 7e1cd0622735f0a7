package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/status"
	"sanstick/appliance/sys"
)

// thinTools plays what looks into a thin pool's metadata.
func (w *world) thinTools(c sys.Command) (string, bool) {
	switch {
	case c.Name == "/usr/sbin/thin_delta":
		return `<superblock data_block_size="128"><diff left="1" right="2">` + w.delta + `</diff></superblock>`, true
	case c.Args[0] == "message":
		w.log = append(w.log, c.String())
		return "", true
	case c.Args[0] == "table" && len(c.Args) > 1:
		return "0 1 thin 253:4 1\n", true
	}
	return "", false
}

const (
	sourceA = "00000000000000aa"
	sourceB = "00000000000000bb"
)

func wantFailure(t *testing.T, what string, err error, words string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("%s: error %v, want one with %q", what, err, words)
	}
}

// served tells whether the volume is given out.
func served(m *Manager, name string) bool {
	_, err := m.Export("tank", name)
	return err == nil
}

// TestImport follows an import into a new volume, with the daemon's death in
// between.
func TestImport(t *testing.T) {
	w, m := stocked(t)
	ctx := t.Context()
	i, err := m.BeginImport(ctx, ImportRequest{Name: "new", Size: 5 << 20, Source: sourceA})
	if err != nil {
		t.Fatal(err)
	}
	want := Import{Pool: "tank", Name: "new", Path: "/dev/mapper/tank-new", Size: 8 << 20, Source: sourceA, Blank: true}
	if diff := cmp.Diff(want, i); diff != "" {
		t.Errorf("import (-want +got)\n%s", diff)
	}
	// The tag is there from the first moment: there is no time at which the
	// volume looks finished.
	if c := w.commands(); len(c) != 1 || !strings.Contains(c[0], "--addtag sanstick.importing."+sourceA+".blank.0") {
		t.Errorf("commands %q", c)
	}
	if err := m.SaveImport(ctx, i, 4<<20); err != nil {
		t.Fatal(err)
	}
	_, _, problems := m.Status(ctx)
	if served(m, "new") || !slices.ContainsFunc(problems, func(p status.Problem) bool { return strings.Contains(p.What, "volume new is being imported into") }) {
		t.Errorf("served %v, problems %+v", served(m, "new"), problems)
	}
	_, err = m.Snapshot(ctx, "new", "x")
	wantFailure(t, "snapshot", err, "isn't finished")
	wantFailure(t, "clone", m.Clone(ctx, "new", "other"), "isn't finished")
	_, err = m.Take(ctx, "new")
	wantFailure(t, "export", err, "isn't finished")

	w, m = again(t, w)
	if served(m, "new") {
		t.Error("served after a restart")
	}
	i, err = m.BeginImport(ctx, ImportRequest{Name: "new", Size: 5 << 20, Source: sourceA})
	if err != nil || !i.Resumed || i.Start != 4<<20 || !i.Blank {
		t.Errorf("%+v, error %v", i, err)
	}
	if _, err := m.FinishImport(ctx, i, &Point{"sunday", "remote-uuid"}); err != nil {
		t.Fatal(err)
	}
	if !served(m, "new") || !served(m, "new@sunday") {
		t.Error("not served after the end")
	}
	_, err = m.FinishImport(ctx, i, nil)
	wantFailure(t, "finished twice", err, "isn't being imported into")
	wantFailure(t, "saved after the end", m.SaveImport(ctx, i, 0), "isn't being imported into")
	w.commands()
}

func TestBeginImport(t *testing.T) {
	old, _ := stocked(t)
	for _, tt := range []struct {
		name  string
		empty bool
		r     ImportRequest
		want  Import // without Pool, Path, Source
		fails string
	}{
		{name: "not empty", r: ImportRequest{Name: "golden", Size: 1 << 20}, fails: "isn't empty"},
		{name: "not empty, overwritten", r: ImportRequest{Name: "golden", Size: 1 << 20, Overwrite: true}, want: Import{Name: "golden", Size: 64 << 20}},
		{name: "empty", empty: true, r: ImportRequest{Name: "golden", Size: -1}, want: Import{Name: "golden", Size: 64 << 20, Blank: true}},
		{name: "qualified", empty: true, r: ImportRequest{Name: "tank/golden", Size: -1}, want: Import{Name: "golden", Size: 64 << 20, Blank: true}},
		{name: "too small", empty: true, r: ImportRequest{Name: "golden", Size: 65 << 20}, fails: "make it larger"},
		{name: "new, size unknown", r: ImportRequest{Name: "new", Size: -1}, fails: "give the size"},
		{name: "bad name", r: ImportRequest{Name: "thinpool", Size: 1}, fails: "thinpool"},
		{name: "bad letters", r: ImportRequest{Name: "New one", Size: 1}, fails: "New one"},
		{name: "snapshot", r: ImportRequest{Name: "golden@monday", Size: 1}, fails: "golden@monday"},
		{name: "no such pool", r: ImportRequest{Name: "lake/new", Size: 1}, fails: "there is no lake/new"},
		{name: "changes of nothing", r: ImportRequest{Name: "new", Size: 1, From: "x"}, fails: "import the full export first"},
		{name: "changes without a base", r: ImportRequest{Name: "golden", Size: 1, From: "x"}, fails: "no snapshot of what these changes build on"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, m := again(t, old)
			w.empty = map[string]bool{"tank-golden": tt.empty}
			tt.r.Source = sourceA
			i, err := m.BeginImport(t.Context(), tt.r)
			if tt.fails != "" {
				wantFailure(t, "import", err, tt.fails)
				if c := w.commands(); len(c) > 0 || !served(m, "golden") {
					t.Errorf("something was changed: %q", c)
				}
				return
			}
			tt.want.Pool, tt.want.Path, tt.want.Source = "tank", "/dev/mapper/tank-golden", sourceA
			if diff := cmp.Diff(tt.want, i); diff != "" || err != nil {
				t.Errorf("error %v (-want +got)\n%s", err, diff)
			}
			if served(m, "golden") {
				t.Error("served while it is imported into")
			}
		})
	}
}

// TestOtherImport begins another import where one was interrupted.
func TestOtherImport(t *testing.T) {
	_, m := stocked(t)
	ctx := t.Context()
	i, err := m.BeginImport(ctx, ImportRequest{Name: "golden", Size: 1 << 20, Source: sourceA, Overwrite: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.SaveImport(ctx, i, 8<<20); err != nil {
		t.Fatal(err)
	}
	for _, r := range []ImportRequest{{Source: sourceB}, {Source: sourceA, Restart: true}} {
		r.Name, r.Size = "golden", 1<<20
		again, err := m.BeginImport(ctx, r)
		if err != nil || again.Start != 0 || again.Resumed || again.Blank {
			t.Errorf("%+v: %+v, error %v", r, again, err)
		}
		if r.Source != sourceA {
			wantFailure(t, "the first one goes on", m.SaveImport(ctx, i, 12<<20), "any more")
		}
	}
}

// TestImportWithoutADisk sees that progress is merely not noted, but the end
// isn't declared.
func TestImportWithoutADisk(t *testing.T) {
	w, m := stocked(t)
	ctx := t.Context()
	i, err := m.BeginImport(ctx, ImportRequest{Name: "golden", Size: 1 << 20, Source: sourceA, Overwrite: true})
	if err != nil {
		t.Fatal(err)
	}
	w.unplug("b")
	if err := m.SaveImport(ctx, i, 8<<20); err != nil {
		t.Error(err)
	}
	_, err = m.FinishImport(ctx, i, nil)
	wantFailure(t, "end", err, "disk B is missing")
	if served(m, "golden") {
		t.Error("it is served")
	}
}

// TestImportChanges wants changes to find their base, or to be refused.
func TestImportChanges(t *testing.T) {
	w, m := stocked(t)
	ctx := t.Context()
	i, err := m.BeginImport(ctx, ImportRequest{Name: "copy", Size: 8 << 20, Source: sourceA})
	if err != nil {
		t.Fatal(err)
	}
	kept, err := m.FinishImport(ctx, i, &Point{"monday", "uuid-monday"})
	if err != nil || kept != "copy@monday" {
		t.Fatalf("kept %q, error %v", kept, err)
	}
	w.commands()
	begin := func(from string) (Import, error) {
		return m.BeginImport(ctx, ImportRequest{Name: "copy", Size: 8 << 20, Source: sourceB, From: from})
	}
	_, err = begin("uuid-sunday")
	wantFailure(t, "wrong base", err, "no snapshot of what these changes build on")
	w.delta = `<different begin="3" length="1"/>`
	_, err = begin("uuid-monday")
	wantFailure(t, "changed since", err, "was changed since its snapshot copy@monday")
	if c := w.commands(); len(c) != 3 || !strings.Contains(c[2], "release_metadata_snap") {
		t.Errorf("commands %q", c)
	}
	w.delta = `<same begin="0" length="9"/>`
	if i, err = begin("uuid-monday"); err != nil || !i.Increment || served(m, "copy") {
		t.Fatalf("%+v, served %v, error %v", i, served(m, "copy"), err)
	}
	// Interrupted halfway it differs from its base, and is done again.
	w.delta = `<different begin="3" length="1"/>`
	if i, err = begin("uuid-monday"); err != nil || !i.Resumed {
		t.Fatalf("%+v, error %v", i, err)
	}
	if kept, err = m.FinishImport(ctx, i, &Point{"monday", "uuid-tuesday"}); err != nil || kept != "copy@2026-11-30T17-05" {
		t.Errorf("kept %q, error %v", kept, err)
	}
}

func TestTake(t *testing.T) {
	w, m := stocked(t)
	ctx := t.Context()
	got, err := m.Take(ctx, "golden@monday")
	if err != nil || got.Name != "tank/golden@monday" || got.Volume != "golden" || got.Temporary || got.Point.Name != "monday" || len(w.commands()) != 0 {
		t.Errorf("%+v, error %v", got, err)
	}
	got, err = m.Take(ctx, "golden")
	if err != nil || !got.Temporary || got.Path != "/dev/mapper/"+lvm.DeviceName("tank", inLVM(strings.TrimPrefix(got.Name, "tank/"))) {
		t.Errorf("%+v, error %v", got, err)
	}
	w.delta = `<same begin="2" length="3"/>`
	mapped, ok, err := m.Mapped(ctx, got)
	if diff := cmp.Diff([]lvm.Range{{Off: 2 << 16, Len: 3 << 16}}, mapped); diff != "" || !ok || err != nil {
		t.Errorf("mapped: %v, error %v (-want +got)\n%s", ok, err, diff)
	}
	if _, ok, err := m.Mapped(ctx, Taken{Pool: "tank", Name: "tank/thick"}); ok || err != nil { // it may change
		t.Errorf("of what may change: %v, error %v", ok, err)
	}
	w.delta = ""
	_, monday, err := m.Point("golden@monday")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.RemoveTemporary(ctx, monday.UUID); err != nil { // it isn't one
		t.Error(err)
	}
	if err := m.Rename(ctx, "golden", "silver"); err != nil { // its snapshots get the new name
		t.Fatal(err)
	}
	before := fmt.Sprint(w.content(m))
	if err := m.RemoveTemporary(context.WithoutCancel(ctx), got.Point.UUID); err != nil {
		t.Fatal(err)
	}
	if err := m.Rename(ctx, "silver", "golden"); err != nil {
		t.Fatal(err)
	}
	after := fmt.Sprint(w.content(m))
	if before == after || strings.Contains(after, "export-") || !strings.Contains(after, "golden@monday") {
		t.Errorf("before %s, after %s", before, after)
	}
	// If it can't be taken, nothing stays.
	w.flush = func() error { return errors.New("a disk doesn't flush") }
	_, err = m.Take(ctx, "golden")
	wantFailure(t, "taken", err, "a disk doesn't flush")
	w.flush = func() error { return nil }
	if left := fmt.Sprint(w.content(m)); strings.Contains(left, "export-") || len(w.commands()) == 0 {
		t.Errorf("%s is left", left)
	}
	if _, err = m.Take(ctx, "golden"); err != nil {
		t.Fatal(err)
	}
	_, m = again(t, w) // the daemon was killed
	if err := m.RemoveTemporary(ctx, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Changes(ctx, "tank/golden@monday", "tank/golden"); err != nil {
		t.Error(err)
	}
}

// An import knows its volume by the name: while it goes on, no other may get that name.
func TestRenameWhileImporting(t *testing.T) {
	_, m := stocked(t)
	ctx := t.Context()
	i, err := m.BeginImport(ctx, ImportRequest{Name: "vm1", Size: 8 << 20, Source: sourceA})
	if err != nil {
		t.Fatal(err)
	}
	wantFailure(t, "renamed", m.Rename(ctx, "vm1", "vm2"), "an import into volume vm1 isn't finished")
	if _, err := m.FinishImport(ctx, i, nil); err != nil || !served(m, "vm1") {
		t.Fatal(err)
	}
	if err := m.Rename(ctx, "vm1", "vm2"); err != nil {
		t.Error(err)
	}
}

// Changes were applied in part, and can't be finished: the volume can be taken back to
// what they build on.
func TestRevertHalfApplied(t *testing.T) {
	w, m := stocked(t)
	ctx := t.Context()
	i, err := m.BeginImport(ctx, ImportRequest{Name: "copy", Size: 8 << 20, Source: sourceA})
	if err != nil {
		t.Fatal(err)
	}
	base, err := m.FinishImport(ctx, i, &Point{"monday", "uuid-monday"})
	if err != nil {
		t.Fatal(err)
	}
	w.delta = `<same begin="0" length="9"/>`
	begin := func(source string) (Import, error) {
		return m.BeginImport(ctx, ImportRequest{Name: "copy", Size: 8 << 20, Source: source, From: "uuid-monday"})
	}
	half, err := begin(sourceB)
	if err != nil {
		t.Fatal(err)
	}
	_, err = begin("00000000000000cc")
	wantFailure(t, "other changes", err, "revert the volume to the snapshot")
	if served(m, "copy") {
		t.Error("half of it is served")
	}
	if err := m.CheckImport(ctx, half); err != nil {
		t.Error(err)
	}
	kept, err := m.Revert(ctx, base)
	if err != nil || !served(m, "copy") {
		t.Fatal(err)
	}
	wantFailure(t, "the import opens what it is now", m.CheckImport(ctx, half), "isn't being imported into any more")
	wantFailure(t, "what was half applied is cloned", m.Clone(ctx, kept, "half"), "holds a part of an import only")
	if i, err := begin("00000000000000cc"); err != nil || i.Resumed {
		t.Errorf("%+v, error %v", i, err)
	}
}
