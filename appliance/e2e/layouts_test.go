//go:build e2e

package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sanstick/imagebuild/qemu"
)

// A layoutRow is a pool of one layout, and a LUN on it.
type layoutRow struct {
	pool   string // its name
	layout string
	disks  []string // serial numbers
	more   []string // that are added
	fresh  []string // that take the place of the first one
	spare  string   // that takes another one's place by itself; empty: none
	// away are disks without which, together, the pool must go on afterwards: so what
	// is on the fresh ones is needed.
	away []string

	promised int // MiB of another thin volume, in which nothing is; so the pool grows to all its disks

	brief bool   // the pool goes on without a disk after 5 s
	thin  bool   // it has no thick volume
	ids   string // of LUN 0
	wrote []byte // the pattern of each block that was acknowledged and flushed
	next  int
}

func layoutRows() []*layoutRow {
	return []*layoutRow{
		{pool: "raid10", layout: "raid10", disks: []string{"T-A", "T-B", "T-C", "T-D"}, more: []string{"T-E", "T-F", "T-G", "T-H"}, fresh: []string{"T-N"}, away: []string{"T-B", "T-D"}},
		{pool: "raid5", layout: "raid5", disks: []string{"V-A", "V-B", "V-C"}, fresh: []string{"V-N"}, away: []string{"V-B"}},
		{pool: "raid6", layout: "raid6", disks: []string{"X-A", "X-B", "X-C", "X-D", "X-E"}, fresh: []string{"X-N"}, away: []string{"X-B", "X-C"}},
		{pool: "mirror", layout: "mirror", disks: []string{"M-A", "M-B"}, more: []string{"M-C"}, fresh: []string{"M-N"}, away: []string{"M-B", "M-C"}},
		{pool: "pairs", layout: "mirror", disks: []string{"P-A", "P-B", "P-C", "P-D"}, more: []string{"P-E", "P-F"}, fresh: []string{"P-N"}, away: []string{"P-B"}, promised: 180},
	}
}

const (
	layoutPatience = 5 * time.Minute // with a machine that has much to do, and others beside it
	layoutBlocks   = 24              // of a MiB, of each LUN 0
	thickPattern   = 0xee            // that fills each LUN 1
)

func (r *layoutRow) iqn() string { return "iqn.2006-12.test.sanstick:" + r.pool }

// fat is the row's thick volume.
func (r *layoutRow) fat() string { return "fat-" + r.pool }

// toml is the configuration of the row, with more in its [[pool]].
func (r *layoutRow) toml(more string) string {
	thick, also := "", ""
	if !r.thin {
		also = fmt.Sprintf(", %q", r.fat())
		thick = fmt.Sprintf("[[volume]]\nname = %q\npool = %q\nsize = \"8MiB\"\nthick = true", r.fat(), r.pool)
	}
	if r.promised > 0 {
		thick += fmt.Sprintf("\n[[volume]]\nname = \"promised\"\npool = %q\nsize = \"%dMiB\"", r.pool, r.promised)
	}
	return fmt.Sprintf(`
[[pool]]
name   = %[1]q
disks  = ["%[2]s"]
layout = %[8]q
%[4]s

[[volume]]
name = "on-%[1]s"
pool = %[1]q
size = "%[5]dMiB"
%[6]s

[[target]]
name       = %[1]q
iqn        = %[3]q
volumes    = ["on-%[1]s"%[7]s]
initiators = ["*"]
`, r.pool, strings.Join(r.disks, `", "`), r.iqn(), more, layoutBlocks, thick, also, r.layout)
}

// TestLayouts has a pool of each layout that bears a loss, two in a machine at most. Each
// loses a disk under I/O, fills a blank one, and then needs what is on that one.
func TestLayouts(t *testing.T) {
	t.Parallel()
	for pair := range slices.Chunk(layoutRows(), 2) {
		name := pair[0].pool
		for _, r := range pair[1:] {
			name += " and " + r.pool
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			layouts(t, pair)
		})
	}
}

func layouts(t *testing.T, rows []*layoutRow) {
	s := &site{dir: t.TempDir()}
	s.stick = filepath.Join(s.dir, "stick.img")
	k := &rack{dir: s.dir}
	var disks []qemu.Disk
	for _, r := range rows {
		r.wrote = make([]byte, layoutBlocks)
		for _, d := range r.disks {
			disks = append(disks, k.disk(t, d))
		}
	}
	s.configure(t, layoutsTOML(rows))
	k.machine = s.boot(t, disks...)
	// Making pools takes its time, and nothing is served before.
	for end := time.Now().Add(3 * bootTime); k.tryLogin(t.Context(), rows[0].iqn()) != nil && time.Now().Before(end); {
		time.Sleep(time.Second)
	}
	for _, r := range rows {
		k.awaitLUN(t, r.iqn())
		k.write(t, r, layoutBlocks)
		r.ids = k.ids(t, r.iqn(), 0)
		k.awaitThick(t, r)
		run(t, "qemu-io", "-f", "raw", "-c", fmt.Sprintf("write -P %#x 0 8M", thickPattern), "-c", "flush", k.lun(r.iqn(), 1))
	}
	t.Logf("%.0f s until the pools were there and written", time.Since(k.started).Seconds())
	for _, r := range rows {
		k.reaches(t, r, "healthy")
		for _, step := range []struct {
			name string
			only string // in this pool
			do   func(*testing.T)
		}{
			{"adding disks", "raid10", func(t *testing.T) { k.grows(t, rows, r) }},
			{"adding two disks", "pairs", func(t *testing.T) { k.grows(t, rows, r) }},
			{"adding a disk", "mirror", func(t *testing.T) { k.grows(t, rows, r) }},
			{"a disk whose reads fail", "", func(t *testing.T) { k.failsToRead(t, r) }},
			{"losing a disk", "", func(t *testing.T) { k.loses(t, r) }},
			{"a thick volume", "raid5", func(t *testing.T) { k.clears(t, rows, r) }},
			{"replacing a disk", "raid5", func(t *testing.T) { k.replaces(t, r) }},
			{"comparing", "raid6", func(t *testing.T) { k.scrubs(t, r) }},
			{"a spare", "mirror", func(t *testing.T) { k.spares(t, rows, r) }},
			{"giving up a disk", "", func(t *testing.T) { k.givesUp(t, rows, r) }},
		} {
			if step.only != "" && step.only != r.pool {
				continue
			}
			if !t.Run(r.pool+", "+step.name, func(t *testing.T) {
				start := time.Now()
				step.do(t)
				k.check(t, r)
				if now := k.ids(t, r.iqn(), 0); now != r.ids {
					t.Errorf("the LUN changed its identity from\n%s\nto\n%s", r.ids, now)
				}
				t.Logf("%.0f s", time.Since(start).Seconds())
			}) {
				return
			}
		}
	}
}

func layoutsTOML(rows []*layoutRow) string {
	text := "hostname = \"attic\"\n"
	for _, r := range rows {
		more := `spare_after = "20m"`
		if r.spare != "" {
			more = fmt.Sprintf("spare_after = \"5s\"\nspares = [%q]", r.spare)
		}
		if r.brief {
			more = `spare_after = "5s"`
		}
		text += r.toml(more)
	}
	return text
}
