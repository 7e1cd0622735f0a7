package update

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// files is all that is on the boot volume.
func (d *medium) files(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	root := os.DirFS(d.dir)
	err := fs.WalkDir(root, ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := fs.ReadFile(root, path)
		out[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestAnotherStick puts another stick in the place of the one that was booted,
// before each step of an update: nothing is written to it that it could miss.
func TestAnotherStick(t *testing.T) {
	b := bundle(t, release("v3", day), keyA)
	// runsB is a machine that runs v2 from slot b, which is kept.
	runsB := func(t *testing.T) (*medium, *Manager) {
		d := newMedium(t)
		if err := install(t, d.boot(t), bundle(t, release("v2", day), keyA), Wanted{}); err != nil {
			t.Fatal(err)
		}
		if err := d.boot(t).Confirm(t.Context()); err != nil {
			t.Fatal(err)
		}
		return d, d.boot(t)
	}
	install := func(t *testing.T, m *Manager) error {
		_, err := m.Install(t.Context(), bytes.NewReader(b), Wanted{Schema: 1}, quiet)
		return err
	}
	for _, tt := range []struct {
		name   string
		before func(t *testing.T, m *Manager) // on the stick that was booted
		after  int                            // uses of the volume after which the other stick is there
		do     func(t *testing.T, m *Manager) error
	}{
		{"before an update", nil, 0, install},
		{"when the slot was emptied", nil, 1, install},
		{"when the slot was written", nil, 2, install},
		{"when the slot was compared", nil, 3, install},
		{"before going back", nil, 0, func(t *testing.T, m *Manager) error {
			_, err := m.Reuse(t.Context(), Wanted{Schema: 1}, quiet)
			return err
		}},
		{"before the restart", func(t *testing.T, m *Manager) {
			if err := install(t, m); err != nil {
				t.Fatal(err)
			}
		}, 0, func(t *testing.T, m *Manager) error { return m.Arm(t.Context(), nil) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, m := runsB(t)
			if tt.before != nil {
				tt.before(t, m)
			}
			fresh := newMedium(t) // slot a only, with v1
			want, uses := fresh.files(t), 0
			d.moments = func() {
				if uses == tt.after {
					d.dir = fresh.dir
				}
				uses++
			}
			d.moment()
			m.o.Save = func([]byte) error { return nil } // no use of the volume
			if err := tt.do(t, m); !errors.Is(err, ErrRefused) {
				t.Errorf("error %v, want a refusal", err)
			}
			if diff := cmp.Diff(want, fresh.files(t)); diff != "" {
				t.Errorf("on the other stick (-want +got)\n%s", diff)
			}
		})
	}
}

// A trial is confirmed on the stick that it was begun on, and only there.
func TestAnotherStickOnTrial(t *testing.T) {
	b := bundle(t, release("v2", day), keyA)
	d := newMedium(t)
	if err := install(t, d.boot(t), b, Wanted{}); err != nil {
		t.Fatal(err)
	}
	m := d.boot(t)
	wantStatus(t, m, SlotB, Try, Trying, "v1")
	own := d.dir

	same := newMedium(t) // holds the same in both slots, and nothing is on trial
	if _, err := same.boot(t).Install(t.Context(), bytes.NewReader(b), Wanted{Schema: 1}, quiet); err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string]*medium{"slot a only": newMedium(t), "nothing on trial": same} {
		want := other.files(t)
		d.dir = other.dir
		if err := m.Confirm(t.Context()); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: error %v, want a refusal", name, err)
		}
		if diff := cmp.Diff(want, other.files(t)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
	d.dir = own // it is back
	if err := m.Confirm(t.Context()); err != nil {
		t.Error(err)
	}
	wantStatus(t, d.boot(t), SlotB, Normal, Confirmed, "v1")
}
