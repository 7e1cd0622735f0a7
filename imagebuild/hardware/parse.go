// Package hardware says what an image drives of a machine: by the machine's own report (sanctl hardware), or by what lspci
// and lsusb say of it under another Linux.
package hardware

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"

	report "sanstick/appliance/hardware"
	"sanstick/imagebuild/kernel"
)

// A Device is one of the machine. Where lspci or lsusb leave something out, its Modalias has a * there.
type Device struct {
	report.Device
	Name  string   // as lspci or lsusb call it
	Hints []string // modules that lspci -k names
}

// maxLine bounds a line of lspci or lsusb, and what is shown of a name.
const maxLine, maxName = 4096, 60

// Parse reads a report of ours, or the output of lspci -nn, lspci -nnk, lspci -nnv and lsusb, together if need be.
func Parse(text []byte) ([]Device, error) {
	if len(text) > report.MaxText {
		return nil, fmt.Errorf("cannot read the report: it has more than %d bytes", report.MaxText)
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	var out []Device
	if report.Is(text) {
		all, err := report.Parse(text)
		for _, d := range all {
			out = append(out, Device{Device: d})
		}
		return some(out, err)
	}
	n := 0
	bare := false // a device without IDs
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimRight(line, "\r\n")
		if len(line) > maxLine {
			return nil, fmt.Errorf("cannot read line %d of the report: it has more than %d bytes", n, maxLine)
		}
		d, ok, err := device(line)
		switch {
		case errors.Is(err, errBare):
			bare = true
		case err != nil:
			return nil, fmt.Errorf("cannot read line %d of the report: %w", n, err)
		case ok:
			if out = append(out, d); len(out) > report.MaxDevices {
				return nil, fmt.Errorf("cannot read the report: more than %d devices", report.MaxDevices)
			}
		case len(out) > 0 && strings.TrimLeft(line, " \t") != line:
			out[len(out)-1].detail(strings.TrimSpace(line))
		}
	}
	if bare {
		return nil, errors.New("cannot tell devices by the names that lspci gives them: use lspci -nnk")
	}
	for i := range out {
		out[i].alias()
	}
	return some(out, nil)
}

func some(all []Device, err error) ([]Device, error) {
	if err == nil && len(all) == 0 {
		err = errors.New("cannot find a device in the report: want that of sanctl hardware, or what lspci -nnk or lsusb say")
	}
	return all, err
}

var (
	pciLine = regexp.MustCompile(`^((?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]) (.*)$`)
	// "SATA controller [0106]: Intel ... [8086:2922] (rev 02) (prog-if 01 [AHCI 1.0])"
	pciNames = regexp.MustCompile(`^[^\[]*\[([0-9a-f]{4})\]: (.*)\[([0-9a-f]{4}:[0-9a-f]{4})\](.*)$`)
	// "0106: 8086:2922 (rev 02)"
	pciNumbers = regexp.MustCompile(`^([0-9a-f]{4}): ([0-9a-f]{4}:[0-9a-f]{4})(.*)$`)
	progIf     = regexp.MustCompile(`\(prog-if ([0-9a-f]{2})`)
	subsystem  = regexp.MustCompile(`^Subsystem: .*\[([0-9a-f]{4}:[0-9a-f]{4})\]$|^Subsystem: ([0-9a-f]{4}:[0-9a-f]{4})$`)
	usbLine    = regexp.MustCompile(`^Bus ([0-9]{3}) Device ([0-9]{3}): ID ([0-9a-f]{4}:[0-9a-f]{4}) ?(.*)$`)

	errBare = errors.New("a device without its IDs")
)

// device reads the line that begins a device. ok is false for any other line.
func device(line string) (d Device, ok bool, err error) {
	if m := usbLine.FindStringSubmatch(line); m != nil {
		d.Bus, d.Address, d.ID, d.Name = "usb", m[1]+":"+m[2], m[3], clean(m[4])
		return d, true, nil
	}
	m := pciLine.FindStringSubmatch(line)
	if m == nil {
		return d, false, nil
	}
	d.Bus, d.Address = "pci", m[1]
	class, rest := "", ""
	if n := pciNames.FindStringSubmatch(m[2]); n != nil {
		class, d.Name, d.ID, rest = n[1], clean(n[2]), n[3], n[4]
	} else if n := pciNumbers.FindStringSubmatch(m[2]); n != nil {
		class, d.ID, rest = n[1], n[2], n[3]
	} else {
		return d, false, errBare
	}
	d.Class = class + "**"
	if p := progIf.FindStringSubmatch(rest); p != nil {
		d.Class = class + p[1]
	}
	return d, true, nil
}

// detail reads an indented line, which tells more about a device.
func (d *Device) detail(line string) {
	if m := subsystem.FindStringSubmatch(line); m != nil {
		d.Subsystem = m[1] + m[2]
	}
	if driver, ok := strings.CutPrefix(line, "Kernel driver in use: "); ok {
		d.Driver = clean(driver)
	}
	if modules, ok := strings.CutPrefix(line, "Kernel modules: "); ok {
		for m := range strings.SplitSeq(modules, ",") {
			d.Hints = append(d.Hints, kernel.Fold(clean(m)))
		}
	}
}

// alias makes the modalias that the kernel would, with a * for what isn't known.
func (d *Device) alias() {
	vendor, device, _ := strings.Cut(strings.ToUpper(d.ID), ":")
	if d.Bus == "usb" {
		d.Modalias = "usb:v" + vendor + "p" + device + "d*dc*dsc*dp*ic*isc*ip*in*"
		return
	}
	sv, sd := "*", "*"
	if a, b, ok := strings.Cut(strings.ToUpper(d.Subsystem), ":"); ok {
		sv, sd = "0000"+a, "0000"+b
	}
	class := strings.ToUpper(d.Class)
	i := class[4:]
	if i == "**" {
		i = "*"
		d.Class = d.Class[:4]
	}
	d.Modalias = "pci:v0000" + vendor + "d0000" + device + "sv" + sv + "sd" + sd + "bc" + class[:2] + "sc" + class[2:4] + "i" + i
}

// clean makes a name fit to be shown.
func clean(s string) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s))
	return s[:min(len(s), maxName)]
}
