// Package hardware lists the devices of a machine and the drivers that are
// bound to them, as a text that another machine reads: imagebuild hardware says
// by it what an image lacks for that machine.
//
// A report is lines of words. A line that begins with # is a comment, every
// other one is a device:
//
//	pci 0000:00:1f.2 8086:2922 subsystem 1af4:1100 class 010601 driver ahci modalias pci:v00008086d...
//	usb 1-1:1.0 0781:5567 class 080650 driver usb-storage modalias usb:v0781p5567d...
//	virtio virtio0 - driver virtio_blk modalias virtio:d00000002v00001AF4
//
// The first three words are the bus, where the device is, and vendor and device.
// What isn't known is left out, or "-". A USB device has a line for each of its
// interfaces, which is what drivers are for.
package hardware

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A Device is what a report says of one. What isn't known is empty.
type Device struct {
	Bus       string // "pci", "usb", ...
	Address   string // on the bus
	ID        string // vendor and device: "8086:2922"
	Subsystem string // vendor and device of the card
	Class     string // six hexadecimal digits: class, subclass, interface
	Driver    string // that is bound to it
	Modalias  string
}

// buses are those that a report tells of, in its order.
func buses() []string { return []string{"pci", "usb", "virtio", "vmbus", "xen", "mmc", "sdio"} }

// Bounds of a report.
const (
	MaxDevices = 4096
	MaxText    = 4 << 20
	maxWord    = 512
)

// Collect lists the devices of this machine. sysfs is where sysfs is mounted.
func Collect(sysfs string) ([]Device, error) {
	var all []Device
	for _, bus := range buses() {
		dir := filepath.Join(sysfs, "bus", bus, "devices")
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the machine has no such bus
		}
		if err != nil {
			return nil, fmt.Errorf("cannot look for devices: %w", err)
		}
		for _, e := range entries {
			if d, ok := read(filepath.Join(dir, e.Name()), bus, e.Name()); ok && len(all) < MaxDevices {
				all = append(all, d)
			}
		}
	}
	return all, nil
}

// read tells about one device. ok is false for what has no driver of its own.
func read(dir, bus, address string) (d Device, ok bool) {
	d = Device{Bus: bus, Address: word(address), Modalias: attribute(dir, "modalias")}
	if link, err := os.Readlink(filepath.Join(dir, "driver")); err == nil {
		d.Driver = word(filepath.Base(link))
	}
	switch bus {
	case "pci":
		d.ID = pair(attribute(dir, "vendor"), attribute(dir, "device"))
		d.Subsystem = pair(attribute(dir, "subsystem_vendor"), attribute(dir, "subsystem_device"))
		d.Class = strings.TrimPrefix(attribute(dir, "class"), "0x")
	case "usb":
		device, _, isInterface := strings.Cut(address, ":")
		if !isInterface {
			return d, false
		}
		d.Class = attribute(dir, "bInterfaceClass") + attribute(dir, "bInterfaceSubClass") + attribute(dir, "bInterfaceProtocol")
		parent := filepath.Join(filepath.Dir(dir), device)
		d.ID = pair(attribute(parent, "idVendor"), attribute(parent, "idProduct"))
	}
	if !classForm.MatchString(d.Class) {
		d.Class = ""
	}
	return d, d.Modalias != ""
}

// attribute reads a small file of sysfs that holds one word; empty if it isn't
// there.
func attribute(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return word(strings.TrimSpace(string(b)))
}

// word makes one word of what is neither too long nor fit for a line.
func word(s string) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, s)
	return s[:min(len(s), maxWord)]
}

func pair(vendor, device string) string {
	id := strings.TrimPrefix(vendor, "0x") + ":" + strings.TrimPrefix(device, "0x")
	if !idForm.MatchString(id) {
		return ""
	}
	return id
}

var (
	idForm    = regexp.MustCompile(`^[0-9a-f]{4}:[0-9a-f]{4}$`)
	classForm = regexp.MustCompile(`^[0-9a-f]{6}$`)
)

// title is the first line of a report.
const title = "# sanstick hardware report"

// Format writes a report. about is a line on where it comes from.
func Format(devices []Device, about string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s: %s\n# bus, address, vendor:device; imagebuild hardware FILE says what drives them\n", title, word(strings.ReplaceAll(about, " ", "_")))
	for _, d := range devices {
		fmt.Fprintf(&b, "%s %s %s", d.Bus, orDash(d.Address), orDash(d.ID))
		for _, f := range [][2]string{{"subsystem", d.Subsystem}, {"class", d.Class}, {"driver", d.Driver}, {"modalias", d.Modalias}} {
			if f[1] != "" {
				fmt.Fprintf(&b, " %s %s", f[0], f[1])
			}
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// Is tells whether a text is a report, by its first line.
func Is(text []byte) bool { return bytes.HasPrefix(text, []byte(title)) }

// Parse reads a report. A line that isn't one of it is an error that names it.
func Parse(text []byte) ([]Device, error) {
	if len(text) > MaxText {
		return nil, fmt.Errorf("cannot read the report: it has more than %d bytes", MaxText)
	}
	var all []Device
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		d, err := parseLine(f)
		if err != nil {
			return nil, fmt.Errorf("cannot read line %d of the report: %w", n, err)
		}
		if all = append(all, d); len(all) > MaxDevices {
			return nil, fmt.Errorf("cannot read the report: more than %d devices", MaxDevices)
		}
	}
	return all, nil
}

func parseLine(f []string) (Device, error) {
	var d Device
	for i, w := range f {
		if f[i] = word(w); f[i] != w {
			return d, errors.New("it has a word that is too long, or characters that a report doesn't have")
		}
	}
	if len(f) < 3 || len(f)%2 == 0 {
		return d, errors.New("want bus, address, vendor:device, and pairs of words")
	}
	if !slices.Contains(buses(), f[0]) {
		return d, fmt.Errorf("there is no bus %q", f[0])
	}
	d.Bus, d.Address = f[0], f[1]
	if f[2] != "-" {
		d.ID = f[2]
	}
	for i := 3; i < len(f); i += 2 {
		var to *string
		switch f[i] {
		case "subsystem":
			to = &d.Subsystem
		case "class":
			to = &d.Class
		case "driver":
			to = &d.Driver
		case "modalias":
			to = &d.Modalias
		default:
			return d, fmt.Errorf("%q isn't what a report tells of a device", f[i])
		}
		if *to = f[i+1]; *to == "-" {
			*to = ""
		}
	}
	if d.ID != "" && !idForm.MatchString(d.ID) || d.Subsystem != "" && !idForm.MatchString(d.Subsystem) || d.Class != "" && !classForm.MatchString(d.Class) {
		return d, errors.New("an ID or a class isn't one")
	}
	return d, nil
}
