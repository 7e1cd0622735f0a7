package pool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"sanstick/appliance/disk/lvm"
	"sanstick/appliance/sys"
)

// world plays the machine: disks in memory and as much of LVM as pools need.
// It can lose power at any change.
type world struct {
	t     *testing.T
	sysfs string

	mu     sync.Mutex
	disks  map[string]*memDisk // by path
	groups []*lvm.Group
	empty  map[string]bool   // thin volumes that take no space, by device-mapper's name
	delta  string            // what thin_delta finds
	active map[string]bool   // device-mapper names
	log    []string          // LVM's commands that change something
	left   int               // changes until power fails; -1: never
	stuck  bool              // pools say that they are full, until they have to commit
	cutLVM bool              // power fails in the middle of LVM's command instead of after it
	holds  map[string]string // what volumes hold, by UUID
	made   int               // volumes, for UUIDs
	inUse  string            // a volume that someone has open
	refuse string            // a command of LVM that fails
	used   map[string]int64  // bytes of a pool that are taken; half of it for pools that aren't here
	limit  int64             // extents that a pool may grow by at once; 0: any
	flush  func() error      // of a disk

	legs    map[string][]*worldLeg // of raid volumes
	numbers map[string]string      // of devices
	plugged int
	seq     int             // of LVM's metadata: how often it was changed
	writes  int             // of clients
	broken  map[string]bool // disks that give errors
	unread  map[string]bool // disks that can't be read
	sealed  map[string]bool // disks to which LVM can't write
	blind   map[string]bool // disks that LVM can't read, just now
	scrubs  int
	clings  bool                     // lvm doesn't forget missing disks, and says that all went well
	compare bool                     // copies are being compared
	differ  int                      // sectors that the kernel says to differ
	hidden  map[string]bool          // from LVM, for the command that it runs
	mute    map[string]chan struct{} // disks that don't answer until it is closed
	asked   map[string]int           // how often each was opened
	size    map[string]int64         // of disks, if it isn't memSize

	suspended map[string]bool // device-mapper names
	standIns  map[string]bool // devices that LVM left, which stood in for missing disks; by name
}

var errPower = errors.New("power cut")

func newWorld(t *testing.T, letters string) *world {
	w := &world{t: t, sysfs: t.TempDir(), disks: map[string]*memDisk{}, active: map[string]bool{}, left: -1, holds: map[string]string{},
		legs: map[string][]*worldLeg{}, numbers: map[string]string{}, broken: map[string]bool{}, unread: map[string]bool{}, blind: map[string]bool{}, size: map[string]int64{}, asked: map[string]int{},
		flush: func() error { return nil }}
	for _, l := range letters {
		w.plug(string(l))
	}
	return w
}

func (w *world) plug(letter string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	path := "/dev/vd" + letter
	if w.disks[path] == nil {
		w.disks[path] = &memDisk{w: w, blocks: map[int64][]byte{}}
	}
	dir := filepath.Join(w.sysfs, "block", "vd"+letter)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	size := w.size[path]
	if size == 0 {
		size = memSize
	}
	w.numberDisk(letter)
	for name, content := range map[string]string{"size": strconv.FormatInt(size/512, 10), "serial": strings.ToUpper(letter), "diskseq": strconv.Itoa(w.plugged)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) unplug(letter string) {
	if err := os.RemoveAll(filepath.Join(w.sysfs, "block", "vd"+letter)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) here(path string) bool {
	_, err := os.Stat(filepath.Join(w.sysfs, "block", strings.TrimPrefix(path, "/dev/")))
	return err == nil && !w.hidden[path] && !w.unread[path] && !w.blind[path]
}

// spend uses up one change. It must hold mu.
func (w *world) spend() error {
	if w.left == 0 {
		return errPower
	}
	if w.left > 0 {
		w.left--
	}
	return nil
}

// restart is what a reboot leaves: nothing is active.
func (w *world) restart() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left, w.active, w.suspended, w.standIns, w.log, w.compare, w.differ = -1, map[string]bool{}, nil, nil, nil, false, 0
}

const memSize = 256 << 20

var zeroBlock = make([]byte, 4096)

// handle plays lvm and dmsetup.
func (w *world) handle(c sys.Command) (sys.Output, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if out, ok := w.thinTools(c); ok {
		return sys.Output{Stdout: []byte(out)}, nil
	}
	if c.Name == "/sbin/dmsetup" {
		switch c.Args[0] {
		case "info":
			if slices.Contains(c.Args, "name,open") {
				var b strings.Builder
				for name := range w.standIns {
					fmt.Fprintf(&b, "%s 0\n", name)
				}
				return sys.Output{Stdout: []byte(b.String())}, nil
			}
			var b strings.Builder
			for name := range w.active {
				fmt.Fprintf(&b, "%s %s\n", name, map[bool]string{true: "Suspended", false: "Active"}[w.suspended[name]])
			}
			return sys.Output{Stdout: []byte(b.String())}, nil
		case "remove":
			delete(w.standIns, c.Args[1])
			return sys.Output{}, nil
		case "clear", "resume":
			w.log = append(w.log, c.String())
			if c.Args[0] == "resume" {
				delete(w.suspended, c.Args[1])
			}
			return sys.Output{}, nil
		case "table":
			return sys.Output{Stdout: []byte(w.below())}, nil
		}
		out := w.dmStatus()
		if w.stuck {
			out = strings.ReplaceAll(out, "- rw discard_passdown", "- out_of_data_space discard_passdown")
			w.stuck = slices.Contains(c.Args, "--noflush")
		}
		return sys.Output{Stdout: []byte(out)}, nil
	}
	verb, args := c.Args[0], c.Args[1:]
	if len(args) > 1 && args[0] == "--config" {
		w.hidden = map[string]bool{}
		for path := range w.disks {
			w.hidden[path] = strings.Contains(args[1], path+"$")
		}
		defer func() { w.hidden = nil }()
		args = args[2:]
	}
	if verb == "fullreport" {
		return sys.Output{Stdout: w.report()}, nil
	}
	w.log = append(w.log, c.String())
	if w.cutLVM && w.left == 1 && verb == "vgcreate" {
		// The labels are written, the group isn't.
		w.left = 0
		for _, a := range args {
			if d := w.disks[a]; d != nil {
				d.label()
			}
		}
		return sys.Output{}, errPower
	}
	if err := w.spend(); err != nil {
		return sys.Output{}, err
	}
	if verb == w.refuse {
		return sys.Output{}, &sys.ExitError{Command: c.String(), Code: 5, Stderr: "refused"}
	}
	if err := w.do(verb, args); err != nil {
		return sys.Output{}, &sys.ExitError{Command: c.String(), Code: 5, Stderr: err.Error()}
	}
	if w.left == 0 {
		return sys.Output{}, errPower // done, but nobody hears of it
	}
	return sys.Output{}, nil
}

// opt returns the values of an option.
func opt(args []string, name string) (v []string) {
	for i := range args[:len(args)-1] {
		if args[i] == name {
			v = append(v, args[i+1])
		}
	}
	return v
}

// inGroup tells whether a disk is a physical volume of a group.
func (w *world) inGroup(path string) bool {
	return slices.ContainsFunc(w.groups, func(g *lvm.Group) bool {
		return slices.ContainsFunc(g.Physical, func(pv lvm.PhysicalVolume) bool { return pv.Path == path && !pv.Missing })
	})
}

func (w *world) group(name string) (*lvm.Group, error) {
	for _, g := range w.groups {
		if g.Name == name {
			return g, nil
		}
	}
	return nil, fmt.Errorf("volume group %q not found", name)
}

func (w *world) do(verb string, args []string) error {
	last := len(args) - 1
	for last > 0 && strings.HasPrefix(args[last], "/dev/") { // behind the volume or the group
		last--
	}
	name, volume, _ := strings.Cut(args[last], "/")
	if verb == "lvrename" {
		name = args[0]
	}
	if verb == "pvcreate" {
		for _, a := range args {
			if w.inGroup(a) {
				return fmt.Errorf("%s is in a group", a)
			}
			if d := w.disks[a]; d != nil {
				d.label()
			}
		}
		return nil
	}
	if verb == "vgcreate" {
		g := &lvm.Group{UUID: fmt.Sprintf("uuid-%d", len(w.groups)), SystemID: lvm.SystemID, Tags: opt(args, "--addtag"), ExtentSize: 4 << 20}
		for _, a := range args {
			if d := w.disks[a]; d != nil {
				if w.inGroup(a) {
					return fmt.Errorf("%s is in a group already", a)
				}
				d.label()
				g.Physical = append(g.Physical, lvm.PhysicalVolume{Path: a, UUID: "pv-" + a[len(a)-1:], Extents: 63, AreaStart: 1 << 20, AreaSize: 2 << 20})
			} else if strings.HasPrefix(a, "/") {
				return fmt.Errorf("no device %s", a)
			} else if g.Name == "" && !strings.HasPrefix(a, "-") && !slices.Contains(g.Tags, a) {
				g.Name = a
			}
		}
		w.groups = append(w.groups, g)
		return nil
	}
	if verb == "vgchange" && args[0] == "-an" {
		w.active = map[string]bool{}
		return nil
	}
	g, err := w.group(name)
	if err != nil {
		return err
	}
	if known, err := w.mend(g, verb, volume, args); known {
		return err
	}
	for _, pv := range g.Physical {
		if (!w.here(pv.Path) || pv.Missing) && verb != "vgchange" {
			return errors.New("cannot change VG while PVs are missing")
		}
	}
	switch {
	case verb == "vgchange" && args[0] == "--refresh":
		for _, pv := range g.Physical {
			if !w.here(pv.Path) {
				return errors.New("refusing refresh of partial LV")
			}
		}
		clear(w.suspended)
	case verb == "vgchange" && args[0] == "-ay":
		for _, v := range g.Logical {
			if !w.active[lvm.DeviceName(g.Name, v.Name)] {
				w.load(g, v.Name)
			}
			w.active[lvm.DeviceName(g.Name, v.Name)] = true
		}
	case verb == "vgchange":
		w.flag(g)
		g.Tags = slices.DeleteFunc(append(g.Tags, opt(args, "--addtag")...), func(t string) bool { return slices.Contains(opt(args, "--deltag"), t) })
	case verb == "lvcreate":
		w.made++
		v := lvm.LogicalVolume{Name: opt(args, "-n")[0], UUID: fmt.Sprintf("%06d-aaaa-aaaa-aaaa-aaaa-aaaa-aaaaaa", w.made), Tags: opt(args, "--addtag"), Size: 4 << 20}
		if args[0] == "--snapshot" {
			origin, ok := g.Volume(volume)
			if !ok || origin.Type != "thin" {
				return errors.New("no such origin")
			}
			v.Type, v.Size, v.Pool, w.holds[v.UUID] = "thin", origin.Size, origin.Pool, w.holds[origin.UUID]
		} else {
			v.Type = opt(args, "--type")[0]
		}
		if s := opt(args, "-V"); s != nil {
			v.Size, v.Pool = number(s[0]), "thinpool"
		}
		if s := opt(args, "-l"); s != nil {
			v.Size = number(s[0]) * g.ExtentSize
		}
		if _, exists := g.Volume(v.Name); exists {
			return errors.New("already exists")
		}
		g.Logical = append(g.Logical, v)
		w.active[lvm.DeviceName(g.Name, v.Name)] = true
		if v.Type == "raid1" {
			n, _ := strconv.Atoi(opt(args, "-m")[0])
			w.lay(g, v.Name, n+1)
		}
	case verb == "lvconvert":
		data, _ := g.Volume(volume)
		meta, _ := g.Volume("thinmeta")
		inner := data
		data.Type = "thin-pool"
		inner.Name, inner.UUID, inner.Hidden, meta.Name, meta.Hidden = "thinpool_tdata", "", true, "thinpool_tmeta", true
		g.Logical = []lvm.LogicalVolume{data, inner, meta}
		for old, v := range map[string]string{"thinpool": inner.Name, "thinmeta": meta.Name} {
			w.active[lvm.DeviceName(g.Name, v)] = true
			if legs := w.legsOf(g.Name, old); legs != nil {
				w.legs[g.Name+"/"+v] = legs
				delete(w.legs, g.Name+"/"+old)
			}
		}
	case verb == "lvextend":
		for i := range g.Logical {
			if g.Logical[i].Name != volume && (volume != "thinpool" || g.Logical[i].Name != "thinpool_tdata") {
				continue
			}
			if more, ok := strings.CutPrefix(opt(args, "-L")[0], "+"); ok {
				if n := number(more) / g.ExtentSize; allocated(g)+n > g.Physical[0].Extents || w.limit > 0 && n > w.limit {
					return errors.New("Insufficient free space: more extents needed")
				}
				g.Logical[i].Size += number(more)
				continue
			}
			g.Logical[i].Size = number(opt(args, "-L")[0])
		}
	case verb == "lvremove":
		selection := opt(args, "--select")[0]
		if uuid, tag, ok := strings.Cut(selection, " && "); ok {
			tag = strings.TrimSuffix(strings.TrimPrefix(tag, "lv_tags={"), "}")
			g.Logical = slices.DeleteFunc(g.Logical, func(v lvm.LogicalVolume) bool {
				return uuid == "lv_uuid="+v.UUID && slices.Contains(v.Tags, tag)
			})
			return nil
		}
		if tag := strings.Trim(strings.TrimPrefix(selection, "vg_tags="), "{}"); g.Tagged(tag) {
			g.Logical = nil
		}
	case verb == "lvrename":
		from, to := args[1], args[2]
		i := slices.IndexFunc(g.Logical, func(v lvm.LogicalVolume) bool { return v.Name == from })
		if _, taken := g.Volume(to); taken || i < 0 {
			return fmt.Errorf("can't rename %s to %s", from, to)
		}
		g.Logical[i].Name = to
		if old := lvm.DeviceName(g.Name, from); w.active[old] {
			delete(w.active, old)
			w.active[lvm.DeviceName(g.Name, to)] = true
		}
	case verb == "lvchange":
		i := slices.IndexFunc(g.Logical, func(v lvm.LogicalVolume) bool { return v.Name == volume })
		if i < 0 {
			return fmt.Errorf("no volume %s", volume)
		}
		switch v := &g.Logical[i]; args[0] {
		case "-ay":
			w.active[lvm.DeviceName(g.Name, volume)] = true
		case "-an":
			if w.inUse == volume {
				return errors.New("in use")
			}
			delete(w.active, lvm.DeviceName(g.Name, volume))
		default:
			v.Tags = slices.DeleteFunc(append(slices.Clone(v.Tags), opt(args, "--addtag")...), func(t string) bool { return slices.Contains(opt(args, "--deltag"), t) })
		}
	default:
		return fmt.Errorf("unknown command %s", verb)
	}
	return nil
}

func number(s string) int64 {
	n, err := strconv.ParseInt(strings.TrimSuffix(s, "b"), 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}
