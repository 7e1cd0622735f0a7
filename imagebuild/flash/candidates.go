// Package flash writes an image to a USB stick: only to one that can be no other disk of this machine, after a person has
// typed its serial number; it reads everything back, and keeps the configuration of a stick that was one before.
package flash

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A Disk is a disk of this machine.
type Disk struct {
	Name   string // the kernel's, "sdb"
	Number string // its device number, "8:16"
	Size   int64  // bytes
	Model  string
	Serial string // empty if it has none
	// Confirm is what a person types to have it written to: the serial number, or the name if that is no proof, because there
	// is none, or another candidate has the same.
	Confirm string
	// Refused says why it is never written to; empty for a candidate.
	Refused string
}

// Host says where the kernel tells about disks. Tests have directories of their own.
type Host struct {
	Sys  string // /sys
	Proc string // /proc
}

// Disks lists the disks of this machine, by name.
func (h Host) Disks() ([]Disk, error) {
	entries, err := os.ReadDir(filepath.Join(h.Sys, "block"))
	if err != nil {
		return nil, fmt.Errorf("cannot list the disks: %w", err)
	}
	used, err := h.used()
	if err != nil {
		return nil, err
	}
	var out []Disk
	for _, e := range entries {
		dir, err := filepath.EvalSymlinks(filepath.Join(h.Sys, "block", e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // unplugged
		}
		if err != nil {
			return nil, fmt.Errorf("cannot look at disk %s: %w", e.Name(), err)
		}
		d := Disk{Name: e.Name(), Number: text(dir, "dev"), Model: strings.TrimSpace(text(dir, "device/vendor") + " " + text(dir, "device/model")), Serial: serial(dir, h.Sys)}
		if sectors, err := strconv.ParseInt(text(dir, "size"), 10, 44); err == nil {
			d.Size = sectors * 512
		}
		if d.Refused, err = refused(dir, used); err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	for i, d := range out {
		out[i].Confirm = d.Serial
		shared := func(o Disk) bool { return o.Name != d.Name && o.Refused == "" && o.Serial == d.Serial }
		if d.Serial == "" || slices.ContainsFunc(out, shared) {
			out[i].Confirm = d.Name
		}
	}
	return out, nil
}

// refused says why the disk in dir isn't a candidate.
func refused(dir string, used map[string]string) (string, error) {
	usb := strings.Contains(dir, "/usb")
	switch {
	case strings.Contains(dir, "/virtual/"):
		return "is no disk of its own", nil
	case !usb && text(dir, "removable") != "1":
		return "is neither removable nor on USB", nil
	case strings.HasPrefix(filepath.Base(dir), "sr"), strings.HasPrefix(filepath.Base(dir), "fd"):
		return "is a drive for another kind of medium", nil
	case text(dir, "size") == "0" || text(dir, "size") == "":
		return "has no medium in it", nil
	case text(dir, "ro") == "1":
		return "is write-protected", nil
	}
	parts := []string{dir}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("cannot look at disk %s: %w", filepath.Base(dir), err)
	}
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(dir, e.Name(), "partition")); err == nil {
			parts = append(parts, filepath.Join(dir, e.Name()))
		}
	}
	for _, p := range parts {
		name := filepath.Base(p)
		if why := used[text(p, "dev")]; why != "" {
			return name + " is " + why, nil
		}
		if why := used[name]; why != "" {
			return name + " is " + why, nil
		}
		holders, err := os.ReadDir(filepath.Join(p, "holders"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("cannot tell who uses %s: %w", name, err)
		}
		if len(holders) > 0 {
			return name + " is held by " + holders[0].Name() + " (LVM, RAID or encryption)", nil
		}
	}
	return "", nil
}

// used tells what is in use, by device number ("8:17") for what is mounted and by name for swap.
func (h Host) used() (map[string]string, error) {
	used := make(map[string]string)
	err := eachLine(filepath.Join(h.Proc, "self/mountinfo"), func(f []string) {
		if len(f) > 4 { // 36 35 98:0 /mnt1 /mnt2 ...
			used[f[2]] = "mounted on " + f[4]
		}
		// A file system with device numbers of its own (btrfs) names the device behind the dash.
		if i := slices.Index(f, "-"); i > 4 && i+2 < len(f) && strings.HasPrefix(f[i+2], "/dev/") {
			used[filepath.Base(f[i+2])] = "mounted on " + f[4]
		}
	})
	if err != nil {
		return nil, fmt.Errorf("cannot tell what is mounted: %w", err)
	}
	err = eachLine(filepath.Join(h.Proc, "swaps"), func(f []string) {
		if len(f) > 0 && strings.HasPrefix(f[0], "/dev/") {
			used[filepath.Base(f[0])] = "used for swapping"
		}
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without swap
		return nil, fmt.Errorf("cannot tell what is used for swapping: %w", err)
	}
	return used, nil
}

func eachLine(path string, fn func(fields []string)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		fn(strings.Fields(s.Text()))
	}
	return s.Err()
}

// serial is the serial number of the USB device that the disk in dir is part of, or the disk's own.
func serial(dir, sys string) string {
	for d := dir; len(d) > len(sys) && d != "/"; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "idVendor")); err == nil {
			if s := text(d, "serial"); s != "" {
				return s
			}
			break // what is above is a hub
		}
	}
	for _, name := range []string{"device/serial", "serial", "device/cid"} {
		if s := text(dir, name); s != "" {
			return s
		}
	}
	return ""
}

// text is the content of a small file, or empty.
func text(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
