package pool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"sanstick/appliance/disk/lvm"
)

// worldLeg is one disk's part of a raid volume in the world.
type worldLeg struct {
	pv     string // UUID; empty: an error segment
	letter byte
	bound  string // the device number that the kernel uses
	writes int    // how many of the client's writes it has
}

// legsOf are the legs of a raid volume, by group and volume.
func (w *world) legsOf(group, volume string) []*worldLeg { return w.legs[group+"/"+volume] }

// lay gives a new raid volume its legs, on the first disks of the group.
func (w *world) lay(g *lvm.Group, volume string, copies int) {
	var legs []*worldLeg
	for _, pv := range g.Physical[:copies] {
		legs = append(legs, &worldLeg{pv: pv.UUID, letter: 'A', bound: w.number(pv.Path)})
	}
	w.legs[g.Name+"/"+volume] = legs
}

// number is a disk's device number; another one each time it is plugged.
func (w *world) number(path string) string { return w.numbers[path] }

func (w *world) numberDisk(letter string) {
	w.plugged++
	n := fmt.Sprintf("8:%d", w.plugged)
	w.numbers["/dev/vd"+letter] = n
	if err := os.WriteFile(filepath.Join(w.sysfs, "block", "vd"+letter, "dev"), []byte(n+"\n"), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) pathOf(g *lvm.Group, uuid string) string {
	for _, pv := range g.Physical {
		if pv.UUID == uuid {
			return pv.Path
		}
	}
	return ""
}

// write is what a client does: each leg that works gets it, and one that can't
// fails.
func (w *world) write() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes++
	for _, g := range w.groups {
		for _, v := range g.Logical {
			for _, l := range w.legsOf(g.Name, v.Name) {
				path := w.pathOf(g, l.pv)
				switch {
				case !w.active[lvm.DeviceName(g.Name, v.Name)] || l.letter == 'D':
				case path == "" || !w.here(path) || l.bound != w.number(path) || w.broken[path]:
					l.letter = 'D'
				case l.letter == 'A':
					l.writes = w.writes
				}
			}
		}
	}
}

// sync lets all rebuilding and comparing end.
func (w *world) sync() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.compare = false
	for _, g := range w.groups {
		for _, v := range g.Logical {
			legs := w.legsOf(g.Name, v.Name)
			if !w.active[lvm.DeviceName(g.Name, v.Name)] {
				continue
			}
			most := 0
			for _, l := range legs {
				if l.letter == 'A' {
					most = max(most, l.writes)
				}
			}
			for _, l := range legs {
				if path := w.pathOf(g, l.pv); l.letter == 'a' && w.broken[path] {
					l.letter = 'D'
				} else if l.letter == 'a' {
					l.letter, l.writes = 'A', most
				}
			}
		}
	}
}

// load is what the kernel does with a volume's legs when it gets their table.
func (w *world) load(g *lvm.Group, volume string) {
	for _, l := range w.legsOf(g.Name, volume) {
		path := w.pathOf(g, l.pv)
		switch {
		case path == "" || !w.here(path) || flagged(g, l.pv):
			l.letter, l.bound = 'D', ""
		default:
			l.bound = w.number(path)
			if l.letter == 'D' || l.writes < w.mostWrites(g, volume) {
				l.letter = 'a'
			}
		}
	}
}

// flagged tells whether LVM has marked a physical volume as missing.
func flagged(g *lvm.Group, uuid string) bool {
	return slices.ContainsFunc(g.Physical, func(pv lvm.PhysicalVolume) bool { return pv.UUID == uuid && pv.Missing })
}

func (w *world) mostWrites(g *lvm.Group, volume string) (most int) {
	for _, l := range w.legsOf(g.Name, volume) {
		if path := w.pathOf(g, l.pv); path != "" && w.here(path) {
			most = max(most, l.writes)
		}
	}
	return most
}

// flag marks what is missing when a group's metadata is written.
func (w *world) flag(g *lvm.Group) {
	for i, pv := range g.Physical {
		if !w.here(pv.Path) {
			g.Physical[i].Missing = true
		}
	}
}

// mend plays the commands about redundancy; known tells whether it is one.
func (w *world) mend(g *lvm.Group, verb, volume string, args []string) (known bool, err error) {
	has := func(a string) bool { return slices.Contains(args, a) }
	disk := args[len(args)-1]
	uses := func(uuid string) bool {
		for key, legs := range w.legs {
			if strings.HasPrefix(key, g.Name+"/") && slices.ContainsFunc(legs, func(l *worldLeg) bool { return l.pv == uuid }) {
				return true
			}
		}
		return false
	}
	uuidAt := func(path string) string {
		for _, pv := range g.Physical {
			if pv.Path == path && w.here(path) && !pv.Missing {
				return pv.UUID
			}
		}
		return ""
	}
	for _, pv := range g.Physical {
		if w.sealed[pv.Path] && w.here(pv.Path) && !pv.Missing && verb == "lvconvert" {
			return true, fmt.Errorf("Error writing device %s at 73216 length 6144. Failed to write metadata to %s. Failed to write VG %s.", pv.Path, pv.Path, g.Name)
		}
	}
	if has("--mirrorsonly") || has("--repair") {
		for _, v := range g.Logical {
			for i, l := range w.legsOf(g.Name, v.Name) {
				if path := w.pathOf(g, l.pv); l.pv == "" || path != "" && w.here(path) || volume != g.Name && volume != "" && volume != v.Name {
					continue
				}
				name := fmt.Sprintf("%s_rimage_%d-missing_0_0", lvm.DeviceName(g.Name, v.Name), i)
				if w.standIns[name] { // it has another UUID
					return true, errors.New("Device or resource busy")
				}
				if w.standIns == nil {
					w.standIns = map[string]bool{}
				}
				w.standIns[name] = true
			}
		}
	}
	switch {
	case verb == "lvchange" && has("--refresh"):
		for _, v := range g.Logical {
			if user(lvm.LogicalVolume{Name: v.Name}) == volume {
				w.load(g, v.Name)
			}
		}
	case verb == "lvchange" && has("--syncaction"):
		w.scrubs++
		w.compare = true
	case verb == "vgextend" && has("--restoremissing"):
		for i, pv := range g.Physical {
			if pv.Path == disk {
				g.Physical[i].Missing = false
			}
		}
	case verb == "vgextend":
		d := w.disks[disk]
		if d == nil || !w.here(disk) || w.inGroup(disk) {
			return true, fmt.Errorf("can't use %s", disk)
		}
		w.flag(g)
		d.label()
		w.made++
		g.Physical = append(g.Physical, lvm.PhysicalVolume{Path: disk, UUID: fmt.Sprintf("pv-new-%d", w.made), Extents: 63, AreaStart: 1 << 20, AreaSize: 2 << 20})
	case verb == "vgreduce" && w.clings:
	case verb == "vgreduce" && has("--removemissing"):
		if has("--force") && !has("--mirrorsonly") {
			w.t.Errorf("the command that destroys pools: %v", args)
		}
		for _, pv := range g.Physical {
			if w.here(pv.Path) && !pv.Missing {
				continue
			}
			if uses(pv.UUID) && !has("--mirrorsonly") {
				return true, errors.New("still in use")
			}
			for key, legs := range w.legs {
				for _, l := range legs {
					if strings.HasPrefix(key, g.Name+"/") && l.pv == pv.UUID {
						l.pv, l.letter = "", 'D'
					}
				}
			}
		}
		g.Physical = slices.DeleteFunc(g.Physical, func(pv lvm.PhysicalVolume) bool { return !w.here(pv.Path) || pv.Missing })
	case verb == "vgreduce":
		if uses(uuidAt(disk)) {
			return true, errors.New("still in use")
		}
		g.Physical = slices.DeleteFunc(g.Physical, func(pv lvm.PhysicalVolume) bool { return pv.Path == disk })
	case verb == "lvconvert" && (has("--repair") || has("--replace") || has("-m")):
		to := uuidAt(disk)
		legs := w.legsOf(g.Name, volume)
		if to == "" || slices.ContainsFunc(legs, func(l *worldLeg) bool { return l.pv == to }) {
			return true, fmt.Errorf("can't use %s", disk)
		}
		w.flag(g)
		if has("-m") {
			w.legs[g.Name+"/"+volume] = append(legs, &worldLeg{pv: to, letter: 'a', bound: w.number(disk)})
			return true, nil
		}
		for _, l := range legs {
			path := w.pathOf(g, l.pv)
			if has("--replace") && path == opt(args, "--replace")[0] || has("--repair") && (path == "" || !w.here(path) || flagged(g, l.pv)) {
				l.pv, l.letter, l.bound, l.writes = to, 'a', w.number(disk), 0
				return true, nil
			}
		}
		return true, errors.New("nothing to repair")
	default:
		return false, nil
	}
	return true, nil
}

// below is what "dmsetup table" says of legs.
func (w *world) below() string {
	var b strings.Builder
	for _, g := range w.groups {
		for _, v := range g.Logical {
			for i, l := range w.legsOf(g.Name, v.Name) {
				if w.active[lvm.DeviceName(g.Name, v.Name)] && l.bound != "" {
					fmt.Fprintf(&b, "%s: 0 8 linear %s 0\n", lvm.DeviceName(g.Name, v.Name+"_rimage_"+strconv.Itoa(i)), l.bound)
				}
			}
		}
	}
	return b.String()
}

func letters(legs []*worldLeg) string {
	s := ""
	for _, l := range legs {
		s += string(l.letter)
	}
	return s
}
