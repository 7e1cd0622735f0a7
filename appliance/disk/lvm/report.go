package lvm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// State is all that LVM sees on this machine's disks.
type State struct {
	Groups []Group
	Unused []PhysicalVolume // in no group
}

// Sees tells whether LVM has found its label on a disk.
func (s State) Sees(path string) bool {
	is := func(p PhysicalVolume) bool { return p.Path == path }
	return slices.ContainsFunc(s.Unused, is) || slices.ContainsFunc(s.Groups, func(g Group) bool { return slices.ContainsFunc(g.Physical, is) })
}

// A Group is a volume group, ours or not.
type Group struct {
	Name       string
	UUID       string
	SystemID   string // empty: of no particular system
	Tags       []string
	ExtentSize int64 // bytes
	Size       int64 // bytes
	Free       int64 // bytes
	Missing    int   // how many of its physical volumes aren't here
	Physical   []PhysicalVolume
	Logical    []LogicalVolume
}

// Tagged tells whether the group has the tag.
func (g Group) Tagged(tag string) bool {
	for _, t := range g.Tags {
		if t == tag {
			return true
		}
	}
	return false
}

// Volume returns the logical volume called name, hidden ones included.
func (g Group) Volume(name string) (LogicalVolume, bool) {
	for _, v := range g.Logical {
		if v.Name == name {
			return v, true
		}
	}
	return LogicalVolume{}, false
}

// A PhysicalVolume is a disk, or a part of one, that LVM uses.
type PhysicalVolume struct {
	Path      string // "/dev/sda", of today; empty if it is missing
	UUID      string
	Size      int64 // bytes
	Missing   bool
	Duplicate bool // two disks claim to be it
	Extents   int64
	Allocated int64 // of these extents

	// Where LVM's bootloader area lies, in bytes from the start of the disk, and
	// how large it is: 0 if there is none.
	AreaStart, AreaSize int64
}

// A LogicalVolume is a volume or one of the hidden parts of another.
type LogicalVolume struct {
	Name    string // without the brackets of hidden ones
	Hidden  bool
	UUID    string
	Size    int64  // bytes
	Type    string // "linear", "raid1", "thin-pool", "thin", ...
	Tags    []string
	Pool    string // the thin pool of a thin volume
	Active  bool
	Partial bool     // something below it is missing
	Devices []string // what it lies on: paths, "[unknown]", or names of hidden volumes
}

// reportArgs ask for everything in one run: each start of lvm reads all disks.
// Foreign groups are wanted too, so that a name that is taken is known.
var reportArgs = []string{
	"fullreport", "--all", "--foreign", "--reportformat", "json", "--units", "b", "--nosuffix",
	"--configreport", "vg", "-o", "vg_name,vg_uuid,vg_systemid,vg_tags,vg_extent_size,vg_size,vg_free,vg_missing_pv_count",
	"--configreport", "pv", "-o", "pv_name,pv_uuid,vg_name,pv_size,pv_missing,pv_duplicate,pv_pe_count,pv_pe_alloc_count,pv_ba_start,pv_ba_size",
	"--configreport", "lv", "-o", "lv_name,lv_uuid,lv_size,lv_attr,lv_tags,pool_lv,lv_active",
	"--configreport", "seg", "-o", "lv_uuid,segtype,devices",
	// Of no use here, but it can't be left out; so let it be empty.
	"--configreport", "pvseg", "-o", "pv_name", "-S", "pv_name=none",
}

// State reads what is there. LVM may have had something to complain about
// (missing disks) and still report all it sees; that is no error.
func (c *Client) State(ctx context.Context) (State, error) {
	out, err := c.runLVM(ctx, reportLimit, reportArgs)
	var partial *PartialError
	if err != nil && !errors.As(err, &partial) {
		return State{}, fmt.Errorf("cannot read LVM's state: %w", err)
	}
	s, parseErr := ParseState(out)
	switch {
	case parseErr != nil && err != nil:
		return State{}, fmt.Errorf("cannot read LVM's state: %w", err)
	case parseErr != nil:
		return State{}, parseErr
	}
	return s, nil
}

// ParseState decodes the report that State asks for.
func ParseState(report []byte) (State, error) {
	var doc struct {
		Report []rawReport `json:"report"`
	}
	if err := json.Unmarshal(report, &doc); err != nil {
		return State{}, fmt.Errorf("cannot parse LVM's report: %w", err)
	}
	var s State
	for _, r := range doc.Report {
		if err := s.add(r); err != nil {
			return State{}, fmt.Errorf("cannot parse LVM's report: %w", err)
		}
	}
	return s, nil
}

// rawReport is one group's part of the report, or that of all physical
// volumes that are in none.
type rawReport struct {
	VG  []rawRow `json:"vg"`
	PV  []rawRow `json:"pv"`
	LV  []rawRow `json:"lv"`
	Seg []rawRow `json:"seg"`
}

// rawRow holds a row's columns; LVM writes numbers as strings, too.
type rawRow map[string]string

// num reads a number of bytes or pieces; an error is kept in *err.
func (r rawRow) num(column string, err *error) int64 {
	n, e := strconv.ParseInt(r[column], 10, 64)
	if e == nil && n < 0 {
		e = errors.New("negative")
	}
	if e != nil && *err == nil {
		*err = fmt.Errorf("%s is %q: %w", column, r[column], e)
	}
	return n
}

func (r rawRow) list(column string) []string {
	if r[column] == "" {
		return nil
	}
	return strings.Split(r[column], ",")
}

func (s *State) add(r rawReport) error {
	var err error
	var physical []PhysicalVolume
	for _, row := range r.PV {
		pv := PhysicalVolume{
			Path:      row["pv_name"],
			UUID:      row["pv_uuid"],
			Size:      row.num("pv_size", &err),
			Missing:   row["pv_missing"] != "",
			Duplicate: row["pv_duplicate"] != "",
			Extents:   row.num("pv_pe_count", &err),
			Allocated: row.num("pv_pe_alloc_count", &err),
		}
		if row["pv_ba_size"] != "" {
			pv.AreaStart, pv.AreaSize = row.num("pv_ba_start", &err), row.num("pv_ba_size", &err)
		}
		if !strings.HasPrefix(pv.Path, "/") { // "[unknown]"
			pv.Path, pv.Missing = "", true
		}
		if pv.UUID == "" { // a device without a label, listed because of --all
			continue
		}
		physical = append(physical, pv)
	}
	switch len(r.VG) {
	case 0:
		s.Unused = append(s.Unused, physical...)
		return err
	case 1:
	default:
		return fmt.Errorf("%d groups where one was expected", len(r.VG))
	}
	row := r.VG[0]
	g := Group{
		Name:       row["vg_name"],
		UUID:       row["vg_uuid"],
		SystemID:   row["vg_systemid"],
		Tags:       row.list("vg_tags"),
		ExtentSize: row.num("vg_extent_size", &err),
		Size:       row.num("vg_size", &err),
		Free:       row.num("vg_free", &err),
		Missing:    int(row.num("vg_missing_pv_count", &err)),
		Physical:   physical,
	}
	if g.Name == "" || g.UUID == "" {
		return errors.New("a group without a name")
	}
	segments := map[string]rawRow{}
	devices := map[string][]string{}
	for _, seg := range r.Seg {
		id := seg["lv_uuid"]
		segments[id] = seg
		for _, d := range seg.list("devices") {
			// "/dev/sda(1024)": the extent doesn't matter.
			if i := strings.LastIndexByte(d, '('); i > 0 {
				d = d[:i]
			}
			devices[id] = append(devices[id], d)
		}
	}
	for _, row := range r.LV {
		v := LogicalVolume{
			Name:    strings.Trim(row["lv_name"], "[]"),
			Hidden:  strings.HasPrefix(row["lv_name"], "["),
			UUID:    row["lv_uuid"],
			Size:    row.num("lv_size", &err),
			Type:    segments[row["lv_uuid"]]["segtype"],
			Tags:    row.list("lv_tags"),
			Pool:    row["pool_lv"],
			Active:  row["lv_active"] != "",
			Devices: devices[row["lv_uuid"]],
		}
		// The ninth attribute is the health: (p)artial; see lvs(8).
		if attr := row["lv_attr"]; len(attr) >= 9 {
			v.Partial = attr[8] == 'p'
		}
		g.Logical = append(g.Logical, v)
	}
	s.Groups = append(s.Groups, g)
	return err
}
