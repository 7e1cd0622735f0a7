package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sanstick/appliance/disk"
	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/disk/probe"
	"sanstick/appliance/sys"
)

// A Wipe is what is to be done to a disk.
type Wipe struct {
	Disk string // serial number or WWN
	// Confirmed is what a person has agreed to lose: what Holds was. If that is
	// something else by now, nothing is done; with nil nothing is done either.
	Confirmed []string
	// Zero overwrites all of the disk. Otherwise what makes it blank is
	// overwritten, and most of the data stays on it, out of reach.
	Zero bool
	// Progress is told how many bytes are done; nil is nobody.
	Progress func(done, total int64)
}

// Wiped says what a Wipe has found and done.
type Wiped struct {
	Disk  disk.Disk
	Holds []string // what is on it, in a person's words; empty if it is blank
	Done  bool
}

// Wipe makes a disk blank that isn't in use, so that pools can take it. It
// refuses the boot stick, disks of pools that are configured or active, and
// what the kernel uses. Others can work on their pools meanwhile.
func (m *Manager) Wipe(ctx context.Context, w Wipe) (Wiped, error) {
	done, found, err := m.beforeWipe(ctx, w)
	if err != nil {
		return done, fmt.Errorf("cannot wipe disk %s: %w", w.Disk, err)
	}
	if w.Confirmed == nil {
		return done, nil
	}
	d := done.Disk
	err = m.withDevice(d.Path, func(dev Device) error { return m.blankOut(ctx, d, dev, found, w) })
	done.Done = err == nil
	if done.Done {
		m.o.Log.Info("disk was wiped", "disk", d.ID(), "held", done.Holds, "zeroed", w.Zero)
	}
	return done, errors.Join(err, m.afterWipe(d))
}

// beforeWipe looks at the disk, and reserves it if it is to be wiped.
func (m *Manager) beforeWipe(ctx context.Context, w Wipe) (done Wiped, found []probe.Finding, err error) {
	if err := m.lock(ctx); err != nil {
		return done, nil, err
	}
	defer m.unlock()
	if _, err := m.readDisks(); err != nil {
		return done, nil, err
	}
	if err := m.readLVM(ctx); err != nil {
		return done, nil, err
	}
	if done.Disk, err = m.wipeable(w.Disk); err != nil {
		return done, nil, err
	}
	if found, err = m.list(ctx, done.Disk); err != nil {
		return done, nil, err
	}
	done.Holds = m.known().losses(done.Disk, found)
	if w.Confirmed == nil {
		return done, found, nil
	}
	if !slices.Equal(w.Confirmed, done.Holds) {
		return done, nil, fmt.Errorf("what is on it isn't what was agreed to any more; it holds %s", strings.Join(done.Holds, "; "))
	}
	m.forget(done.Disk.Path)
	m.mu.Lock()
	m.facts.Busy = with(m.facts.Busy, done.Disk.Name, "is being wiped")
	m.mu.Unlock()
	return done, found, nil
}

// afterWipe lets pools take the disk. It happens even if nobody waits for it.
func (m *Manager) afterWipe(d disk.Disk) error {
	ctx := context.Background()
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.unlock()
	m.forget(d.Path)
	m.labelsOf = "" // it may have been a copy, and isn't any more
	m.mu.Lock()
	m.facts.Busy = without(m.facts.Busy, d.Name)
	m.facts.Seen = with(m.facts.Seen, d.ID(), m.o.Now()) // like one that was connected just now
	m.mu.Unlock()
	err := m.readLVM(ctx)
	m.lookAgain()
	return err
}

// wipeable finds the disk, or says why it must not be wiped.
func (m *Manager) wipeable(name string) (disk.Disk, error) {
	f := m.known()
	found := disk.Find(f.Disks, name)
	switch {
	case len(found) == 0:
		return disk.Disk{}, errors.New("it isn't here; `sanctl disks` lists those that are, by serial number")
	case len(found) > 1:
		return disk.Disk{}, fmt.Errorf("%d disks call themselves that (%s); name it by its WWN, or unplug the others", len(found), names(found))
	}
	d := found[0]
	if busy := f.Busy[d.Name]; busy != "" {
		return d, errors.New("it " + busy)
	}
	if slices.Contains(f.Boot, d.Name) {
		return d, errors.New("it is the boot stick")
	}
	if d.ReadOnly {
		return d, errors.New("it is read-only")
	}
	if g, ok := f.groupOf(d); ok {
		m.mu.Lock()
		configured := slices.ContainsFunc(m.specs, func(s Spec) bool { return s.Name == g.Name })
		m.mu.Unlock()
		active := slices.ContainsFunc(g.Logical, func(v lvm.LogicalVolume) bool { return v.Active })
		switch {
		case ours(g) && configured && !g.Tagged(creatingTag):
			return d, fmt.Errorf("it belongs to pool %s, which the configuration names; take it out of the configuration first, or replace the disk", g.Name)
		case active:
			return d, fmt.Errorf("it belongs to volume group %s, which is active", g.Name)
		}
	}
	return d, nil
}

// list finds everything that is on a disk.
func (m *Manager) list(ctx context.Context, d disk.Disk) ([]probe.Finding, error) {
	type answer struct {
		found []probe.Finding
		err   error
	}
	a, err := ask(ctx, m, d, 3*m.o.AskLimit, func() (a answer) {
		f, err := m.o.Open(d.Path, false)
		if err != nil {
			return answer{err: err}
		}
		defer f.Close()
		a.found, a.err = probe.List(f, d.Size)
		return a
	})
	return a.found, errors.Join(err, a.err)
}

// losses says what a person would lose with a disk: everything that was found,
// and what LVM knows of it.
func (f Facts) losses(d disk.Disk, found []probe.Finding) []string {
	lost := []string{}
	for _, x := range found {
		if x.Blank {
			continue
		}
		text := x.Text()
		if x.Partition > 0 {
			text = fmt.Sprintf("partition %d: %s", x.Partition, text)
		}
		lost = append(lost, text)
	}
	if g, ok := f.groupOf(d); ok {
		var volumes []string
		for _, v := range g.Logical {
			if !v.Hidden && v.Type != "thin-pool" {
				volumes = append(volumes, v.Name)
			}
		}
		slices.Sort(volumes)
		what := "volume group " + g.Name
		if ours(g) {
			what = "pool " + g.Name
		}
		if len(volumes) > 0 {
			what += " with volumes " + strings.Join(volumes, ", ")
		}
		lost = append(lost, "a part of "+what)
	}
	return lost
}

// wipeStep is how much is overwritten between two reports.
const wipeStep = 16 << 20

// blankOut overwrites a disk that is open for writing, alone, and makes sure
// that it is blank then.
func (m *Manager) blankOut(ctx context.Context, d disk.Disk, dev Device, found []probe.Finding, w Wipe) error {
	if now, err := m.diskNow(d.Path); err != nil || now.ID() != d.ID() {
		return errors.Join(errors.New("it is another disk now"), err)
	}
	// What makes it blank comes last: a disk that is half overwritten doesn't
	// pass for a blank one.
	ranges := probe.Ranges(d.Size, found)
	slices.Reverse(ranges)
	if w.Zero {
		ranges = [][2]int64{{min(wipeStep, d.Size), d.Size}, {0, min(wipeStep, d.Size)}}
	}
	var total, sofar int64
	for _, r := range ranges {
		total += r[1] - r[0]
	}
	zeros := sys.AlignedBuffer(wipeStep)
	for _, r := range ranges {
		for at := r[0]; at < r[1]; {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(int64(len(zeros)), r[1]-at)
			if _, err := dev.WriteAt(zeros[:n], at); err != nil {
				return err
			}
			at, sofar = at+n, sofar+n
			if w.Progress != nil {
				w.Progress(sofar, total)
			}
		}
	}
	if err := dev.Sync(); err != nil {
		return err
	}
	f, err := probe.Probe(&direct{dev: dev, size: d.Size}, d.Size)
	switch {
	case err != nil:
		return err
	case !f.Blank:
		return fmt.Errorf("it still holds %s", f)
	}
	return nil
}
