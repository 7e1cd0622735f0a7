package pool

import (
	"bytes"
	"encoding/json"
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

	legs    map[string][]*worldLeg // of raid volumes
	numbers map[string]string      // of devices
	plugged int
	seq     int             // of LVM's metadata: how often it was changed
	writes  int             // of clients
	broken  map[string]bool // disks that give errors
	scrubs  int
	clings  bool                     // lvm doesn't forget missing disks, and says that all went well
	compare bool                     // copies are being compared
	differ  int                      // sectors that the kernel says to differ
	hidden  map[string]bool          // from LVM, for the command that it runs
	mute    map[string]chan struct{} // disks that don't answer until it is closed
	asked   map[string]int           // how often each was opened
	size    map[string]int64         // of disks, if it isn't memSize
}

var errPower = errors.New("power cut")

func newWorld(t *testing.T, letters string) *world {
	w := &world{t: t, sysfs: t.TempDir(), disks: map[string]*memDisk{}, active: map[string]bool{}, left: -1, holds: map[string]string{},
		legs: map[string][]*worldLeg{}, numbers: map[string]string{}, broken: map[string]bool{}, size: map[string]int64{}, asked: map[string]int{}}
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
	for name, content := range map[string]string{"size": strconv.FormatInt(size/512, 10), "serial": strings.ToUpper(letter)} {
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
	return err == nil && !w.hidden[path]
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
	w.left, w.active, w.log, w.compare, w.differ = -1, map[string]bool{}, nil, false, 0
}

const memSize = 256 << 20

// memDisk is a sparse disk in blocks of 4 KiB, which is also what it takes.
type memDisk struct {
	w      *world
	blocks map[int64][]byte
}

func (d *memDisk) ReadAt(p []byte, off int64) (int, error) {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	for path, c := range d.w.mute {
		if d.w.disks[path] == d {
			d.w.mu.Unlock()
			<-c
			d.w.mu.Lock()
		}
	}
	zero(p) // most of it is blank
	if n := len(p)/4096 + 2; n < len(d.blocks) {
		for i := range int64(n) {
			if b := d.blocks[off/4096+i]; b != nil {
				d.part(p, off, off/4096+i, b)
			}
		}
		return len(p), nil
	}
	for n, b := range d.blocks {
		d.part(p, off, n, b)
	}
	return len(p), nil
}

// part copies into p, which is at off, what a block has of it.
func (d *memDisk) part(p []byte, off, n int64, b []byte) {
	if at := n*4096 - off; at > -4096 && at < int64(len(p)) {
		copy(p[max(at, 0):], b[max(-at, 0):])
	}
}

// zero is clear, but for the race detector, which takes a second for each 100 MiB.
//
//go:norace
func zero(p []byte) { clear(p) }

var zeroBlock = make([]byte, 4096)

func (d *memDisk) WriteAt(p []byte, off int64) (int, error) {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	if err := d.w.spend(); err != nil {
		return 0, err
	}
	d.put(p, off)
	return len(p), nil
}

func (d *memDisk) put(p []byte, off int64) {
	if off%4096 != 0 || len(p)%4096 != 0 {
		d.w.t.Errorf("write of %d bytes at %d isn't aligned", len(p), off)
	}
	for i := 0; i+4096 <= len(p); i += 4096 {
		b := zeroBlock
		if part := p[i : i+4096]; !bytes.Equal(part, zeroBlock) {
			b = slices.Clone(part)
		}
		d.blocks[(off+int64(i))/4096] = b
	}
}

// label is what LVM writes when it makes a disk its own.
func (d *memDisk) label() {
	b := d.blocks[0]
	if b == nil {
		b = make([]byte, 4096)
	}
	b = slices.Clone(b)
	clear(b[:2048])
	copy(b[512:], "LABELONE")
	d.put(b, 0)
	d.w.seq++
	meta := make([]byte, 4096)
	copy(meta[4:], " LVM2 x[5A%r0N*>")
	d.put(meta, 4096)
}

func (d *memDisk) Sync() error { return nil }

type openDisk struct {
	*memDisk
	path string
}

func (openDisk) Close() error { return nil }

func (w *world) open(path string, write bool) (Device, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.disks[path]
	if d == nil || !w.here(path) {
		return nil, os.ErrNotExist
	}
	w.asked[path]++
	return openDisk{d, path}, nil
}

// handle plays lvm and dmsetup.
func (w *world) handle(c sys.Command) (sys.Output, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if out, ok := w.thinTools(c); ok {
		return sys.Output{Stdout: []byte(out)}, nil
	}
	if c.Name == "/sbin/dmsetup" {
		if c.Args[0] == "table" {
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

func (w *world) dmStatus() string {
	var b strings.Builder
	for _, g := range w.groups {
		for _, v := range g.Logical {
			name := lvm.DeviceName(g.Name, v.Name)
			if !w.active[name] {
				continue
			}
			sectors := v.Size / 512
			switch v.Type {
			case "thin-pool":
				taken := sectors / 256
				if used, ok := w.used[g.Name]; ok {
					taken = used / 65536
				}
				fmt.Fprintf(&b, "%s-tpool: 0 %d thin-pool 1 10/2048 %d/%d - rw discard_passdown queue_if_no_space - 512 \n", name, sectors, taken, sectors/128)
			case "thin":
				mapped := 8
				if w.empty[name] {
					mapped = 0
				}
				fmt.Fprintf(&b, "%s: 0 %d thin %d 7\n", name, sectors, mapped)
			case "raid1":
				legs := letters(w.legsOf(g.Name, v.Name))
				action := "idle"
				if strings.Contains(legs, "a") {
					action = "recover"
				}
				if w.compare {
					action = "check"
				}
				fmt.Fprintf(&b, "%s: 0 %d raid raid1 %d %s %d/%d %s %d 0 -\n", name, sectors, len(legs), legs, sectors, sectors, action, w.differ)
			default:
				fmt.Fprintf(&b, "%s: 0 %d %s \n", name, sectors, v.Type)
			}
		}
	}
	return b.String()
}

// allocated is how many extents of a disk are used.
func (w *world) allocated(g *lvm.Group, uuid string) (n int64) {
	for _, v := range g.Logical {
		for _, l := range w.legsOf(g.Name, v.Name) {
			if l.pv == uuid {
				n += v.Size/g.ExtentSize + 1
			}
		}
	}
	if len(w.legs) == 0 && len(g.Logical) > 0 {
		return allocated(g) // linear volumes
	}
	return n
}

// allocated is how many extents of each of a group's disks are in use.
func allocated(g *lvm.Group) (n int64) {
	for _, v := range g.Logical {
		switch v.Type {
		case "raid1":
			n += v.Size/g.ExtentSize + 1
		case "linear":
			n += v.Size / g.ExtentSize / int64(len(g.Physical))
		}
	}
	return n
}

func (w *world) report() []byte {
	type row = map[string]string
	var reports []any
	var used []string
	for _, g := range w.groups {
		var pvs, lvs, segs []row
		missing := 0
		for _, pv := range g.Physical {
			r := row{"pv_name": pv.Path, "pv_uuid": pv.UUID, "vg_name": g.Name, "pv_size": "264241152", "pv_missing": "", "pv_duplicate": "", "pv_pe_count": "63", "pv_pe_alloc_count": strconv.FormatInt(w.allocated(g, pv.UUID), 10), "pv_ba_start": strconv.FormatInt(pv.AreaStart, 10), "pv_ba_size": strconv.FormatInt(pv.AreaSize, 10)}
			used = append(used, pv.Path)
			if !w.here(pv.Path) {
				r["pv_name"] = "[unknown]"
			}
			if !w.here(pv.Path) || pv.Missing {
				r["pv_missing"] = "missing"
				missing++
			}
			pvs = append(pvs, r)
		}
		add := func(v lvm.LogicalVolume, partial bool, devices ...string) {
			name, activeWord, health := v.Name, "", "-"
			if v.Hidden {
				name = "[" + name + "]"
			}
			if w.active[lvm.DeviceName(g.Name, v.Name)] {
				activeWord = "active"
			}
			if partial {
				health = "p"
			}
			if v.UUID == "" {
				v.UUID = v.Name
			}
			lvs = append(lvs, row{"lv_name": name, "lv_uuid": v.UUID, "lv_size": strconv.FormatInt(v.Size, 10), "lv_attr": "--------" + health + "-", "lv_tags": strings.Join(v.Tags, ","), "pool_lv": v.Pool, "lv_active": activeWord})
			segs = append(segs, row{"lv_uuid": v.UUID, "segtype": v.Type, "devices": strings.Join(devices, ",")})
		}
		for _, v := range g.Logical {
			var legs []string
			if v.Type == "raid1" {
				for i, l := range w.legsOf(g.Name, v.Name) {
					path := w.pathOf(g, l.pv)
					for _, part := range []string{"_rimage_", "_rmeta_"} {
						leg := lvm.LogicalVolume{Name: v.Name + part + strconv.Itoa(i), Hidden: true, Type: "linear", Size: v.Size}
						if part == "_rimage_" {
							legs = append(legs, leg.Name+"(0)")
						}
						switch {
						case l.pv == "":
							leg.Type = "error"
							add(leg, false)
						case !w.here(path):
							add(leg, true, "[unknown](1)")
						default:
							add(leg, false, path+"(1)")
						}
					}
				}
			}
			add(v, missing > 0, legs...)
		}
		vg := row{"vg_name": g.Name, "vg_uuid": g.UUID, "vg_systemid": g.SystemID, "vg_tags": strings.Join(g.Tags, ","), "vg_extent_size": "4194304", "vg_size": "1", "vg_free": "1", "vg_missing_pv_count": strconv.Itoa(missing)}
		reports = append(reports, map[string]any{"vg": []row{vg}, "pv": pvs, "lv": lvs, "seg": segs})
	}
	var unused []row
	for path, d := range w.disks {
		if b := d.blocks[0]; w.here(path) && b != nil && string(b[512:520]) == "LABELONE" && !slices.Contains(used, path) {
			unused = append(unused, row{"pv_name": path, "pv_uuid": "orphan" + path, "vg_name": "", "pv_size": "1", "pv_pe_count": "0", "pv_pe_alloc_count": "0"})
		}
	}
	if unused != nil {
		reports = append(reports, map[string]any{"pv": unused})
	}
	b, err := json.Marshal(map[string]any{"report": reports})
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}
