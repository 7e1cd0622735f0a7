package pool

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sanstick/appliance/config"
	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/status"
)

// Tags of volumes that content is brought into or taken out of.
const (
	// importTag + source + "." + what + "." + bytes: content is being brought
	// into the volume, or that was interrupted. It isn't served until this tag
	// is gone. The bytes are on stable storage; what is importBlank if the
	// volume held nothing before, importDirty if it did, and importIncrement if
	// changes are applied to it.
	importTag = "sanstick.importing."
	// baseTag + UUID of a snapshot, often on another appliance: this snapshot
	// holds the same.
	baseTag = "sanstick.base."
	// temporaryTag marks snapshots that are made for an export only.
	temporaryTag = "sanstick.temporary"

	importBlank, importDirty, importIncrement = "blank", "dirty", "increment"
)

// An ImportRequest asks for a volume to bring content into.
type ImportRequest struct {
	Name   string // "vm1", or "tank/vm1"; it need not exist
	Pool   string // for a new one; empty if there is only one pool
	Size   int64  // of the content, in bytes; -1 if nobody knows yet
	Source string // 16 hexadecimal digits that stand for the content and where it comes from
	// Overwrite allows to lose what is in the volume.
	Overwrite bool
	// Restart goes back to the beginning, even if the same import was
	// interrupted.
	Restart bool
	// From asks to change the volume from what this snapshot held; empty: all
	// of its content is brought.
	From string
}

// An Import is a volume that content is being brought into.
type Import struct {
	Pool, Name string
	Path       string // of its device
	Size       int64
	Source     string
	Start      int64 // where to go on
	Resumed    bool  // an earlier run was interrupted
	// Blank says that the volume is zeros, save for what earlier runs have
	// brought.
	Blank     bool
	Increment bool
}

// A Point is a snapshot: its name without that of the volume, and its UUID.
type Point struct{ Name, UUID string }

var validSource = regexp.MustCompile(`^[0-9a-f]{16}$`)

func (i Import) tag(done int64) string {
	what := importDirty
	switch {
	case i.Increment:
		what = importIncrement
	case i.Blank:
		what = importBlank
	}
	return fmt.Sprintf("%s%s.%s.%d", importTag, i.Source, what, done)
}

// importing tells how far an import into a volume is, if there is one.
func importing(v lvm.LogicalVolume) (source, what string, done int64, ok bool) {
	text, ok := tagValue(v, importTag)
	if !ok {
		return "", "", 0, false
	}
	f := strings.Split(text, ".")
	if len(f) == 3 {
		done, _ = strconv.ParseInt(f[2], 10, 64)
		return f[0], f[1], max(done, 0), true
	}
	return "", importDirty, 0, true // not a tag of ours as it should be: start again
}

// BeginImport finds or makes the volume for an import, and marks it: from now
// on it isn't served, whatever happens, until FinishImport. Nobody may use it.
// Only the import that was interrupted goes on where it was.
func (m *Manager) BeginImport(ctx context.Context, r ImportRequest) (i Import, err error) {
	if !validSource.MatchString(r.Source) {
		return i, fmt.Errorf("%q stands for no content", r.Source)
	}
	pool, err := m.ImportPool(r)
	if err != nil {
		return i, err
	}
	name := unqualified(r.Name)
	err = m.change(ctx, pool+"/"+name, func(lvm.Group, string) bool { return true }, func(ctx context.Context, g lvm.Group) error {
		i = Import{Pool: g.Name, Name: name, Path: devicePath(g.Name, name), Source: r.Source, Increment: r.From != ""}
		v, ok := g.Volume(name)
		switch {
		case !ok && r.From != "":
			return fmt.Errorf("there is no volume %s to apply changes to; import the full export first", name)
		case !ok:
			return m.newForImport(ctx, g, r, &i)
		case kindOf(v) != volume:
			return fmt.Errorf("%s is no volume", name)
		case r.Size > v.Size:
			return fmt.Errorf("volume %s has %s, and the disk to import %s: make it larger first", name, status.FormatBytes(v.Size), status.FormatBytes(r.Size))
		}
		i.Size = v.Size
		return m.markForImport(ctx, g, v, r, &i)
	})
	return i, err
}

// ImportPool tells in which pool the volume is, or is to be.
func (m *Manager) ImportPool(r ImportRequest) (string, error) {
	if pool, _, qualified := strings.Cut(r.Name, "/"); qualified {
		return pool, nil
	}
	if r.Pool != "" {
		return r.Pool, nil
	}
	var all, have []string
	for _, g := range m.known().LVM.Groups {
		if !ours(g) || g.Tagged(creatingTag) {
			continue
		}
		all = append(all, g.Name)
		if v, ok := g.Volume(r.Name); ok && kindOf(v) == volume {
			have = append(have, g.Name)
		}
	}
	switch {
	case len(have) == 1:
		return have[0], nil
	case len(have) == 0 && len(all) == 1:
		return all[0], nil
	case len(all) == 0:
		return "", errors.New("there is no pool")
	}
	return "", fmt.Errorf("there are the pools %s: say which", strings.Join(all, ", "))
}

func (m *Manager) newForImport(ctx context.Context, g lvm.Group, r ImportRequest, i *Import) error {
	if err := config.CheckVolumeName(i.Name); err != nil {
		return fmt.Errorf("the name %q %w", i.Name, err)
	}
	if r.Size <= 0 {
		return fmt.Errorf("there is no volume %s, and how large it has to be shows only when the image is read: give the size, or make the volume first", i.Name)
	}
	if err := free(g, i.Name); err != nil {
		return err
	}
	i.Blank, i.Size = true, roundUp(r.Size, g)
	return m.apply(ctx, CreateVolume{Pool: g.Name, Volume: i.Name, Size: i.Size, Tags: []string{i.tag(0)}})
}

func (m *Manager) markForImport(ctx context.Context, g lvm.Group, v lvm.LogicalVolume, r ImportRequest, i *Import) error {
	if _, is := clearingOf(v); is {
		return fmt.Errorf("volume %s: %w", v.Name, ErrClearing)
	}
	source, what, done, under := importing(v)
	same := under && source == r.Source && !r.Restart && (what == importIncrement) == i.Increment
	switch {
	case same:
		i.Start, i.Blank, i.Resumed = done, what == importBlank, true
		return nil // as it is
	case i.Increment && under:
		return fmt.Errorf("an import into volume %s isn't finished; finish that first, or revert the volume to the snapshot on which these changes build", v.Name)
	case i.Increment:
		if err := m.checkBase(ctx, g, v, r.From); err != nil {
			return err
		}
	case under: // what was there is lost already, or there was nothing
	default:
		used, err := m.takesSpace(ctx, g, v)
		if err != nil {
			return err
		}
		if i.Blank = !used; used && !r.Overwrite {
			return fmt.Errorf("volume %s isn't empty, and everything in it would be lost: choose another name, or say that it is to be overwritten", v.Name)
		}
	}
	// A thick volume may hold what was on the disks before it.
	i.Blank = i.Blank && isThin(v)
	return m.lvm.ChangeVolumeTags(ctx, g.Name, v.Name, []string{i.tag(0)}, tagsWith(v, importTag))
}

// takesSpace tells whether anything was ever written to a volume and not
// discarded. Of a thick one that isn't known.
func (m *Manager) takesSpace(ctx context.Context, g lvm.Group, v lvm.LogicalVolume) (bool, error) {
	if !isThin(v) {
		return true, nil
	}
	devices, err := m.lvm.Devices(ctx)
	if err != nil {
		return true, err
	}
	for _, d := range devices {
		if d.Name == lvm.DeviceName(g.Name, v.Name) && d.Thin != nil && !d.Thin.Failed {
			return d.Thin.Mapped > 0, nil
		}
	}
	return true, fmt.Errorf("volume %s of pool %s isn't active", v.Name, g.Name)
}

// Emptied notes that what was in the volume is discarded: if nothing takes space
// any more, it reads as zeros from now on.
func (m *Manager) Emptied(ctx context.Context, i *Import) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	g, err := m.pick(i.Pool+"/"+i.Name, hasKind(volume))
	if err != nil {
		m.unlock()
		return err
	}
	v, _ := g.Volume(i.Name)
	used, err := m.takesSpace(ctx, g, v)
	m.unlock()
	if err != nil || used {
		return err
	}
	i.Blank = true
	return m.SaveImport(ctx, *i, 0)
}

// CheckImport tells whether the volume still is one that this import brings content
// into. To ask once nobody can put another in its place: it is open.
func (m *Manager) CheckImport(ctx context.Context, i Import) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.unlock()
	if err := m.readLVM(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	g, err := m.pick(i.Pool+"/"+i.Name, hasKind(volume))
	if err != nil {
		return err
	}
	v, _ := g.Volume(i.Name)
	if source, _, _, ok := importing(v); !ok || source != i.Source {
		return fmt.Errorf("volume %s isn't being imported into any more", i.Name)
	}
	return nil
}

// saveWait is how long SaveImport waits for others who change a pool.
const saveWait = 2 * time.Second

// SaveImport notes how far an import is: that much must be on stable storage.
// If that can't be noted just now, because LVM is busy or a disk is missing, it
// is no error: after an interruption more is done again, that is all.
func (m *Manager) SaveImport(ctx context.Context, i Import, done int64) error {
	short, cancel := context.WithTimeout(ctx, saveWait)
	defer cancel()
	if err := m.lock(short); err != nil {
		return ctx.Err()
	}
	defer m.unlock()
	ctx = context.WithoutCancel(ctx)
	if err := m.readLVM(ctx); err != nil {
		return err
	}
	g, err := m.pick(i.Pool+"/"+i.Name, hasKind(volume))
	if err != nil {
		return err
	}
	if whole(g, m.known()) != nil {
		return nil
	}
	v, _ := g.Volume(i.Name)
	old := tagsWith(v, importTag)
	if source, _, _, ok := importing(v); !ok || source != i.Source {
		return fmt.Errorf("volume %s isn't being imported into any more", i.Name)
	}
	if slices.Equal(old, []string{i.tag(done)}) {
		return nil
	}
	return errors.Join(m.lvm.ChangeVolumeTags(ctx, g.Name, v.Name, []string{i.tag(done)}, old), m.readLVM(ctx))
}

// FinishImport makes the volume one like all others. Everything must be on
// stable storage. If the content is that of a snapshot somewhere, to names it:
// it is kept as a snapshot here, too, so that changes can be applied later. It
// may be called again.
func (m *Manager) FinishImport(ctx context.Context, i Import, to *Point) (kept string, err error) {
	err = m.change(ctx, i.Pool+"/"+i.Name, hasKind(volume), func(ctx context.Context, g lvm.Group) error {
		v, _ := g.Volume(i.Name)
		source, _, _, ok := importing(v)
		if !ok || source != i.Source {
			return fmt.Errorf("volume %s isn't being imported into", i.Name)
		}
		if to != nil && isThin(v) {
			if kept, err = m.keepBase(ctx, g, v, *to); err != nil {
				return err
			}
		}
		return m.lvm.ChangeVolumeTags(ctx, g.Name, v.Name, nil, tagsWith(v, importTag))
	})
	if err != nil {
		err = fmt.Errorf("everything is copied, but volume %s can't be made usable: %w", i.Name, err)
	}
	return kept, err
}

// keepBase makes the snapshot that changes are to build on, unless there is one.
func (m *Manager) keepBase(ctx context.Context, g lvm.Group, v lvm.LogicalVolume, to Point) (string, error) {
	for _, s := range snapshotsOf(g, v.Name) {
		if id, ok := tagValue(s, baseTag); ok && id == to.UUID {
			return shown(s.Name), nil
		}
	}
	now := m.o.Now()
	name := v.Name + joint + to.Name
	if _, taken := g.Volume(name); taken || !validSnapshot.MatchString(to.Name) || checkDeviceName(g.Name, name) != nil {
		name = v.Name + joint + freeSnapshotName(g, v.Name, "", now)
	}
	tags := append(tagsWith(v, blockTag), timeTag(createdTag, now), baseTag+to.UUID)
	return shown(name), m.lvm.SnapshotThin(ctx, g.Name, v.Name, name, true, tags)
}

var validSnapshot = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9.-]{0,62}$`)

// imports tells which volumes aren't served, because content is being brought
// into them.
func (v view) imports(g lvm.Group, note func(status.Health, string, string)) {
	for _, lv := range g.Logical {
		if _, _, done, ok := importing(lv); ok && kindOf(lv) == volume {
			note(status.Degraded, fmt.Sprintf("volume %s is being imported into, or that was interrupted (%s of %s are safe): it isn't served until that is done",
				lv.Name, status.FormatBytes(done), status.FormatBytes(lv.Size)), "wait; if no import is running, run the same `sanctl volume import` again: it goes on where it was")
		}
	}
}
