package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/sys"
)

// A mendStep does something about a pool's redundancy. If it fails, the pool goes
// on as it is.
type mendStep interface {
	Step
	do(ctx context.Context, m *Manager) error
}

// RestoreDisk takes back a disk that is here again and that LVM goes on without.
type RestoreDisk struct{ Pool, Disk, Path, PV string }

// Refresh has the kernel use disks under the names that they have now, and try
// again legs that have failed. Disk, if set, is one that failed although it is
// here, with LVM's UUID of it; it is read first, so that one that doesn't answer
// isn't tried.
type Refresh struct {
	Pool           string
	Volumes        []string
	Disk, Path, PV string
}

// AddDisk makes a stamped disk part of a pool that exists; with Instead, to take the
// place of one that is lost.
type AddDisk struct {
	Pool, Disk, Path string
	Instead          bool
}

// AdmitDisks finishes that: their stamps are cleared, and the pool records which
// disks they are. Members are UUIDs of LVM and disks.
type AdmitDisks struct {
	Pool  string
	Paths []string
	Tags  []string
}

// RepairVolume puts the legs of a raid volume that are lost on other disks: one,
// unless legs lie on several.
type RepairVolume struct {
	Pool, Volume, Disk string
	Paths              []string
}

// ReplaceLeg moves the legs of a raid volume away from a disk that is here.
type ReplaceLeg struct {
	Pool, Volume, From, Disk string
	To                       []string
}

// AddCopy gives a mirror one more copy.
type AddCopy struct {
	Pool, Volume string
	Copies       int
	Disk         string
	Paths        []string
}

// DropMissing forgets missing disks on which nothing lies any more.
type DropMissing struct{ Pool, Disks string }

// CutMissing goes on without disks on which copies lie: the pool lacks them from
// then on, and what is on them is out of date for good.
type CutMissing struct {
	Pool, Disks string
	PVs         []string // UUIDs, sorted; if others are missing by then, nothing is given up
}

// RemoveDisk takes a disk on which nothing lies any more out of a pool.
type RemoveDisk struct{ Pool, Disk, Path string }

// Record changes what a pool records about its disks.
type Record struct {
	Pool        string
	Add, Remove []string // tags
}

// Scrub starts to compare the copies of a pool.
type Scrub struct {
	Pool        string
	Volumes     []string
	Add, Remove []string // tags with the time
}

func (RestoreDisk) Risk() Risk  { return Safe }
func (Refresh) Risk() Risk      { return Safe }
func (AddDisk) Risk() Risk      { return Destructive }
func (AdmitDisks) Risk() Risk   { return Safe }
func (RepairVolume) Risk() Risk { return Safe }
func (ReplaceLeg) Risk() Risk   { return Safe }
func (AddCopy) Risk() Risk      { return Safe }
func (DropMissing) Risk() Risk  { return Safe }
func (CutMissing) Risk() Risk   { return Safe }
func (RemoveDisk) Risk() Risk   { return Safe }
func (Record) Risk() Risk       { return Safe }
func (Scrub) Risk() Risk        { return Safe }

func (s RestoreDisk) String() string {
	return fmt.Sprintf("take back disk %s (%s) into pool %s", s.Disk, s.Path, s.Pool)
}

func (s Refresh) String() string {
	if s.Disk != "" {
		return fmt.Sprintf("try disk %s of pool %s again", s.Disk, s.Pool)
	}
	return fmt.Sprintf("bring returned disks of pool %s up to date", s.Pool)
}

func (s AddDisk) String() string {
	return fmt.Sprintf("add disk %s (%s) to pool %s", s.Disk, s.Path, s.Pool)
}

func (s AdmitDisks) String() string {
	return fmt.Sprintf("record that %s is in pool %s", strings.Join(s.Paths, ", "), s.Pool)
}

func (s RepairVolume) String() string {
	return fmt.Sprintf("rebuild %s of pool %s on disk %s (%s)", s.Volume, s.Pool, s.Disk, strings.Join(s.Paths, ", "))
}

func (s ReplaceLeg) String() string {
	return fmt.Sprintf("rebuild %s of pool %s on disk %s (%s) instead of %s", s.Volume, s.Pool, s.Disk, strings.Join(s.To, ", "), s.From)
}

func (s AddCopy) String() string {
	return fmt.Sprintf("make %d copies of %s of pool %s, one of them on disk %s (%s)", s.Copies, s.Volume, s.Pool, s.Disk, strings.Join(s.Paths, ", "))
}

func (s DropMissing) String() string {
	return fmt.Sprintf("forget missing disk %s of pool %s, on which nothing lies any more", s.Disks, s.Pool)
}

func (s CutMissing) String() string {
	return fmt.Sprintf("go on without disk %s in pool %s; what is on it is out of date for good", s.Disks, s.Pool)
}

func (s RemoveDisk) String() string {
	return fmt.Sprintf("take disk %s (%s) out of pool %s", s.Disk, s.Path, s.Pool)
}

func (s Record) String() string { return fmt.Sprintf("record the disks of pool %s", s.Pool) }

func (s Scrub) String() string { return fmt.Sprintf("compare the copies of pool %s", s.Pool) }

// do notes it if LVM fails, so that the pool goes on without the disk.
func (s RestoreDisk) do(ctx context.Context, m *Manager) error {
	err := m.lvm.RestoreDisk(ctx, s.Pool, s.Path)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.facts.Unrestored = without(m.facts.Unrestored, s.PV)
	if err != nil && ctx.Err() == nil {
		m.facts.Unrestored = with(m.facts.Unrestored, s.PV, m.o.Now())
	}
	return err
}

func (s Refresh) do(ctx context.Context, m *Manager) error {
	if s.PV != "" {
		m.tried(s.PV)
		if err := m.answers(ctx, s.Path); err != nil {
			return fmt.Errorf("disk %s doesn't answer: %w", s.Disk, err)
		}
	}
	var errs []error
	for _, v := range s.Volumes {
		errs = append(errs, m.lvm.Refresh(ctx, s.Pool, v))
	}
	return errors.Join(errs...)
}

// answers reads a disk at its beginning and at a distance.
func (m *Manager) answers(ctx context.Context, path string) error {
	at, ok := m.known().diskAt(path)
	if !ok {
		return errors.New("it has gone")
	}
	failed, err := ask(ctx, m, at, m.o.AskLimit, func() error {
		d, err := m.o.Open(path, false)
		if err != nil {
			return err
		}
		defer d.Close()
		b := sys.AlignedBuffer(stampBlock)
		for off := int64(0); off < 64<<20; off += 16 << 20 {
			if _, err := d.ReadAt(b, off); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
		}
		return nil
	})
	return errors.Join(err, failed)
}

// tried counts an attempt to use a disk again.
func (m *Manager) tried(pv string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, now := m.facts.Tried[pv], m.o.Now()
	if !t.left(now) || now.Sub(t.Last) > triesForget {
		t.N = 0
	}
	m.facts.Tried = with(m.facts.Tried, pv, Tries{t.N + 1, now})
}

func (s AddDisk) do(ctx context.Context, m *Manager) error {
	if err := m.checkStamps(CreateGroup{Pool: s.Pool, Paths: []string{s.Path}}); err != nil {
		return err
	}
	if s.Instead {
		m.instead(s.Pool, s.Disk)
	}
	if err := m.lvm.AddDisk(ctx, s.Pool, s.Path); err != nil {
		return err
	}
	return m.flush([]string{s.Path})
}

// instead notes what a disk joins a pool for, for good.
func (m *Manager) instead(pool, disk string) {
	m.mu.Lock()
	for _, g := range m.facts.LVM.Groups {
		if g.Name == pool && ours(g) && m.facts.Instead[disk].Group != g.UUID {
			m.facts.Instead = with(m.facts.Instead, disk, Joined{g.UUID, m.o.Now()})
		}
	}
	m.mu.Unlock()
	m.keep(true)
}

func (s AdmitDisks) do(ctx context.Context, m *Manager) error {
	for _, path := range s.Paths {
		if err := m.withDevice(path, clearStamp); err != nil {
			return err
		}
	}
	return m.lvm.ChangeTags(ctx, s.Pool, s.Tags, nil)
}

func (s RepairVolume) do(ctx context.Context, m *Manager) error {
	if err := m.lvm.RemoveStandIns(ctx, s.Pool); err != nil {
		return err
	}
	return m.lvm.RepairRaid(ctx, s.Pool, s.Volume, s.Paths...)
}

func (s ReplaceLeg) do(ctx context.Context, m *Manager) error {
	return m.lvm.ReplaceLeg(ctx, s.Pool, s.Volume, s.From, s.To...)
}

func (s AddCopy) do(ctx context.Context, m *Manager) error {
	return m.lvm.AddCopy(ctx, s.Pool, s.Volume, s.Copies, s.Paths...)
}

// do notes it if LVM ends well and forgets nothing, so that the pool isn't kept from
// what else would mend it.
func (s DropMissing) do(ctx context.Context, m *Manager) error {
	if err := m.lvm.DropMissing(ctx, s.Pool); err != nil {
		return err
	}
	if err := m.readLVM(ctx); err != nil {
		return err
	}
	still := ""
	for _, g := range m.known().LVM.Groups {
		if g.Name == s.Pool && ours(g) && slices.ContainsFunc(g.Physical, func(pv lvm.PhysicalVolume) bool { return pv.Missing && pv.Allocated == 0 }) {
			still = s.Disks
			m.o.Log.Warn("LVM didn't forget disks that are missing", "pool", s.Pool, "disks", s.Disks)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.facts.Undropped = with(m.facts.Undropped, s.Pool, still)
	return nil
}

// do looks at the disks again: should another one go, LVM would give that up, too, and
// with it the last copy.
func (s CutMissing) do(ctx context.Context, m *Manager) error {
	if _, err := m.readDisks(); err != nil {
		return err
	}
	if err := errors.Join(m.readLVM(ctx), m.readKernel(ctx)); err != nil {
		return err
	}
	f := m.known()
	for _, g := range f.LVM.Groups {
		if g.Name != s.Pool || !ours(g) {
			continue
		}
		if !slices.Equal(missing(f, g), s.PVs) || !f.expendable(g) {
			return fmt.Errorf("cannot give up disk %s: the pool's disks have changed just now", s.Disks)
		}
		if err := m.lvm.RemoveStandIns(ctx, s.Pool); err != nil {
			return err
		}
		return m.lvm.CutMissing(ctx, s.Pool)
	}
	return fmt.Errorf("cannot give up disk %s: pool %s has gone", s.Disks, s.Pool)
}

// missing are the UUIDs of a pool's members that aren't here, sorted.
func missing(f Facts, g lvm.Group) (pvs []string) {
	for _, m := range f.membersOf(g) {
		if !m.here {
			pvs = append(pvs, m.pv.UUID)
		}
	}
	slices.Sort(pvs)
	return pvs
}

func (s RemoveDisk) do(ctx context.Context, m *Manager) error {
	return m.lvm.RemoveDisk(ctx, s.Pool, s.Path)
}

func (s Record) do(ctx context.Context, m *Manager) error {
	return m.lvm.ChangeTags(ctx, s.Pool, s.Add, s.Remove)
}

func (s Scrub) do(ctx context.Context, m *Manager) error {
	m.mu.Lock()
	m.facts.ScrubNow = with(m.facts.ScrubNow, s.Pool, true)
	m.mu.Unlock()
	m.keep(true) // if it is broken off, it is begun again
	if err := m.lvm.ChangeTags(ctx, s.Pool, s.Add, s.Remove); err != nil {
		return err
	}
	m.mu.Lock()
	m.facts.ScrubNow = without(m.facts.ScrubNow, s.Pool)
	m.mu.Unlock()
	var errs []error
	for _, v := range s.Volumes {
		errs = append(errs, m.lvm.Scrub(ctx, s.Pool, v))
	}
	return errors.Join(errs...)
}

// scrubTags are the tag that says when copies were compared last, and the older
// ones to remove.
func scrubTags(tags []string, now time.Time) (add, remove []string) {
	for _, t := range tags {
		if strings.HasPrefix(t, scrubTag) {
			remove = append(remove, t)
		}
	}
	return []string{fmt.Sprintf("%s%d", scrubTag, now.Unix())}, remove
}
