package pool

import (
	"context"
	"fmt"
	"hash/fnv"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/sys"
)

// Asking LVM for its state takes as long as changing it, so it is asked only if
// the state can have changed: LVM's metadata on a disk begins with where its
// newest version lies, how long it is, and a checksum, which differ after each
// change, whoever made it. Those few blocks are what a mark is made of.
//
// What a command of ours adds is noted instead of being asked for. Some seconds
// later, when nobody waits any more, it is asked for after all.

// labelArea is what a mark has of each disk: LVM's label and the header of its
// metadata, which is at 4096 on all disks that became ours whole.
const labelArea = 8192

// verifyAfter is how long what was noted counts before LVM is asked.
const verifyAfter = 10 * time.Second

// mark tells one state of LVM's metadata from another; empty if a disk can't be
// read. One that doesn't answer is hidden from LVM, so it isn't asked. It must hold
// op.
func (m *Manager) mark() string {
	type answer struct {
		label []byte
		err   error
	}
	f, mute := m.known(), m.mutePaths()
	h := fnv.New128a()
	for _, d := range f.Disks {
		switch {
		case slices.Contains(f.Boot, d.Name):
			continue
		case slices.Contains(mute, d.Path):
			fmt.Fprintf(h, "%s %s is hidden\n", d.Name, d.ID())
			continue
		}
		a, err := ask(context.Background(), m, d, m.o.AskLimit, func() answer {
			dev, err := m.o.Open(d.Path, false)
			if err != nil {
				return answer{err: err}
			}
			defer dev.Close()
			dropCache(dev, labelArea)
			buf := sys.AlignedBuffer(labelArea)
			_, err = dev.ReadAt(buf, 0)
			return answer{buf, err}
		})
		if err != nil || a.err != nil {
			return ""
		}
		fmt.Fprintf(h, "%s %s\n", d.Name, d.ID())
		h.Write(a.label)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// dropCache makes the next read of a disk's first bytes come from the disk: LVM
// writes past the page cache.
func dropCache(d Device, bytes int64) {
	if f, ok := d.(*os.File); ok {
		_ = unix.Fadvise(int(f.Fd()), 0, bytes, unix.FADV_DONTNEED) // LVM's writes drop it, too
	}
}

// current tells whether the facts tell what LVM's metadata says now. It must hold
// op.
func (m *Manager) current() bool { return m.marked != "" && m.marked == m.mark() }

// checkLVM reads LVM's state if it has changed since, or if anyway is set. It
// must hold op, and the disks must have been read.
func (m *Manager) checkLVM(ctx context.Context, anyway bool) error {
	if anyway || !m.current() {
		return m.readLVM(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.facts.Unread = nil // the mark is of the disks that are here
	m.readWitness()
	return nil
}

// noted declares that the facts tell of all that has been changed. It must hold
// op, and the facts must have been current before that change.
func (m *Manager) noted() {
	m.marked = m.mark()
	m.verifyLater()
}

func (m *Manager) verifyLater() { m.verify = time.Now().Add(verifyAfter) }

// A newVolumeStep makes a thin volume or a snapshot.
type newVolumeStep interface {
	volumeStep
	// made is what there is afterwards. Its size and UUID are the kernel's to tell.
	made() (pool string, v lvm.LogicalVolume)
	// with is the step with further tags.
	with(tags []string) newVolumeStep
}

func (s CreateVolume) made() (string, lvm.LogicalVolume) { return s.Pool, thinVolume(s.Volume, s.Tags) }
func (s CloneVolume) made() (string, lvm.LogicalVolume)  { return s.Pool, thinVolume(s.Volume, s.Tags) }
func (s MakeSnapshot) made() (string, lvm.LogicalVolume) { return s.Pool, thinVolume(s.Name, s.Tags) }

func (s CreateVolume) with(tags []string) newVolumeStep {
	s.Tags = slices.Concat(s.Tags, tags)
	return s
}

func (s CloneVolume) with(tags []string) newVolumeStep {
	s.Tags = slices.Concat(s.Tags, tags)
	return s
}

func (s MakeSnapshot) with(tags []string) newVolumeStep {
	s.Tags = slices.Concat(s.Tags, tags)
	return s
}

func thinVolume(name string, tags []string) lvm.LogicalVolume {
	return lvm.LogicalVolume{Name: name, Type: "thin", Tags: tags, Pool: dataVolume, Active: true}
}

// makeVolume makes a volume with the LUN numbers that it will have, and notes it.
// It must hold op.
func (m *Manager) makeVolume(ctx context.Context, s newVolumeStep) error {
	pool, v := s.made()
	if m.o.Numbers != nil {
		s = s.with(lunTags(m.o.Numbers(pool, shown(v.Name))))
		_, v = s.made()
	}
	current := m.current()
	if err := s.do(ctx, m.lvm); err != nil {
		return err
	}
	if current {
		m.noteVolume(ctx, pool, v)
	}
	return nil
}

// noteVolume adds a new volume to the facts. If the kernel doesn't tell all
// about it, it doesn't; then LVM is asked.
func (m *Manager) noteVolume(ctx context.Context, pool string, v lvm.LogicalVolume) {
	if m.o.Mapper == nil {
		return
	}
	name := lvm.DeviceName(pool, v.Name)
	uuid, err := m.o.Mapper.UUID(ctx, name)
	if err != nil {
		return
	}
	if err := m.readKernel(ctx); err != nil {
		return
	}
	m.mu.Lock()
	groups := slices.Clone(m.facts.LVM.Groups) // Status may be reading the old ones
	i := slices.IndexFunc(groups, func(g lvm.Group) bool {
		return g.Name == pool && strings.HasPrefix(uuid, "LVM-"+strings.ReplaceAll(g.UUID, "-", ""))
	})
	d, active := m.facts.Devices[name]
	v.UUID, v.Size = lvm.VolumeUUID(uuid), d.Size
	complete := i >= 0 && active && v.UUID != ""
	if complete {
		groups[i].Logical = append(slices.Clone(groups[i].Logical), v)
		m.facts.LVM.Groups = groups
	}
	m.mu.Unlock()
	if complete {
		m.noted()
	}
}
