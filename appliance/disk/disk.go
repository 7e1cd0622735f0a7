// Package disk finds the disks of this machine in sysfs and names them by
// what never changes: the serial number and the World Wide Name. Kernel names
// (sda) are only good until the next boot.
//
// It reads sysfs and nothing else; package probe looks at what is on a disk.
package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// sectorSize is the unit of sizes in sysfs, whatever the disk's own block is.
const sectorSize = 512

// A Disk is a whole disk.
type Disk struct {
	Name          string // the kernel's name of today, as in "sda"
	Path          string // "/dev/sda"
	Serial        string // empty if the disk tells none
	WWN           string // as the configuration writes it, "wwn-0x5000c500a1b2c3d4"; NVMe: "wwn-eui..."; often empty
	Model         string
	Size          int64 // bytes
	Rotational    bool
	ReadOnly      bool
	Transport     string // "sata", "sas", "scsi", "nvme", "usb", "virtio", "mmc", "xen", "hyperv" or ""
	Port          string // where it is plugged in, in words for a person: "SATA port 2 (ata2, PCI 00:1f.2)"
	SMART         bool   // it can tell about its own health
	LogicalBlock  int    // bytes
	PhysicalBlock int    // bytes
	// Seq is the number that the kernel gives to each disk that comes, and to no
	// other; 0 if it doesn't tell. A disk that comes back has another one.
	Seq uint64
}

// ID is what a person should call the disk: its serial number, or its WWN if
// it has no serial number, or at last today's kernel name.
func (d Disk) ID() string {
	switch {
	case d.Serial != "":
		return d.Serial
	case d.WWN != "":
		return d.WWN
	}
	return d.Name
}

// Is tells whether the configuration means this disk by name: its serial
// number, or its WWN in any case.
func (d Disk) Is(name string) bool {
	if name == "" {
		return false
	}
	return d.Serial == name || strings.EqualFold(d.WWN, name)
}

// Find returns the disks that name stands for. More than one means that the
// name is ambiguous: cheap USB bridges all tell the same serial number, and a
// disk with two paths is seen twice.
func Find(disks []Disk, name string) []Disk {
	var found []Disk
	for _, d := range disks {
		if d.Is(name) {
			found = append(found, d)
		}
	}
	return found
}

// Scan lists the whole disks below sysfs (normally "/sys"), ordered by kernel
// name. Partitions, optical drives, empty card readers and everything made of
// other devices (loop, dm, md, ram) are left out, and so is a disk that
// vanishes while it is looked at.
func Scan(sysfs string) ([]Disk, error) {
	names, err := blockNames(sysfs)
	if err != nil {
		return nil, err
	}
	var disks []Disk
	for _, name := range names {
		d, ok, err := scanOne(sysfs, name)
		if err != nil {
			return nil, fmt.Errorf("cannot read disk %s: %w", name, err)
		}
		if ok {
			disks = append(disks, d)
		}
	}
	return disks, nil
}

// blockNames lists the whole block devices that can be disks.
func blockNames(sysfs string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(sysfs, "block"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // no block device at all so far
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list disks: %w", err)
	}
	var names []string
	for _, e := range entries {
		if IsDiskName(e.Name()) {
			names = append(names, e.Name())
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		if len(a) != len(b) { // sdb before sdaa
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	return names, nil
}

// IsDiskName tells by its name whether a block device is a whole disk of a kind
// that we use. The list is one of allowed names: a new kind of virtual device
// must not pass as a disk.
func IsDiskName(name string) bool {
	for _, prefix := range []string{"sd", "vd", "xvd", "hd"} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			return rest != "" && strings.Trim(rest, "abcdefghijklmnopqrstuvwxyz") == ""
		}
	}
	if rest, ok := strings.CutPrefix(name, "nvme"); ok {
		// nvme0n1, but not the hidden paths nvme0c0n1.
		ctrl, ns, ok := strings.Cut(rest, "n")
		return ok && isNumber(ctrl) && isNumber(ns)
	}
	if rest, ok := strings.CutPrefix(name, "mmcblk"); ok {
		return isNumber(rest) // not mmcblk0boot0, mmcblk0rpmb
	}
	return false
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// scanOne reads one disk. ok is false if it isn't one, or has no medium, or
// has gone.
func scanOne(sysfs, name string) (d Disk, ok bool, err error) {
	dir, err := filepath.EvalSymlinks(filepath.Join(sysfs, "block", name))
	if errors.Is(err, fs.ErrNotExist) {
		return Disk{}, false, nil
	}
	if err != nil {
		return Disk{}, false, err
	}
	size, err := attrInt(dir, "size")
	// What is open while the disk goes gives ENODEV.
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ENXIO) {
		return Disk{}, false, nil
	}
	if err != nil {
		return Disk{}, false, err
	}
	if size <= 0 || attr(dir, "hidden") == "1" {
		return Disk{}, false, nil
	}
	// SCSI device type 0 is a disk, 7 optical memory, 14 a simplified disk.
	if t := attr(dir, "device/type"); t != "" && t != "0" && t != "14" && strings.HasPrefix(name, "sd") {
		return Disk{}, false, nil
	}
	d = Disk{
		Name:          name,
		Path:          "/dev/" + name,
		Size:          size * sectorSize,
		Rotational:    attr(dir, "queue/rotational") == "1",
		ReadOnly:      attr(dir, "ro") == "1",
		Transport:     transport(name, dir),
		Port:          port(sysfs, dir),
		LogicalBlock:  blockSize(dir, "queue/logical_block_size"),
		PhysicalBlock: blockSize(dir, "queue/physical_block_size"),
	}
	d.Seq, _ = strconv.ParseUint(attr(dir, "diskseq"), 10, 64) // 0 unless it is a number
	identify(&d, dir)
	d.SMART = smart(d.Transport, dir)
	return d, true, nil
}

// attr reads a sysfs attribute; one that isn't there is empty.
func attr(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return printable(b)
}

func attrInt(dir, name string) (int64, error) {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("cannot read %s: %w", name, err)
	}
	return n, nil
}

func blockSize(dir, name string) int {
	n, err := attrInt(dir, name)
	if err != nil || n < sectorSize || n > 1<<20 {
		return sectorSize
	}
	return int(n)
}
