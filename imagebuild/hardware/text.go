package hardware

import (
	"fmt"
	"slices"
	"strings"
)

// classes are names of PCI classes (PCI Code and ID Assignment Specification), by class and subclass or by class alone.
var classes = map[string]string{
	"0100": "SCSI controller", "0101": "IDE controller", "0104": "RAID controller", "0105": "ATA controller", "0106": "SATA controller",
	"0107": "SAS controller", "0108": "NVMe", "01": "storage", "0200": "Ethernet", "0280": "Wi-Fi, or another network", "02": "network", "03": "display",
	"0403": "audio", "04": "multimedia", "05": "memory", "0600": "host bridge", "0601": "ISA bridge", "0604": "PCI bridge", "06": "bridge",
	"07": "communication", "0805": "SD card reader", "08": "system", "0c03": "USB controller", "0c04": "Fibre Channel", "0c05": "SMBus", "0c": "serial bus", "0d": "wireless", "10": "encryption", "11": "signal processing",
}

// usbClasses are names of USB classes.
var usbClasses = map[string]string{
	"01": "audio", "02": "communication", "03": "keyboard, mouse", "06": "camera", "07": "printer", "08": "storage", "09": "hub", "0a": "data of a modem or a network adapter",
	"0b": "smart card", "0e": "video", "e0": "wireless", "ff": "the maker's own protocol",
}

// what says what a device is.
func (d Device) what() string {
	names := classes
	if d.Bus == "usb" {
		names = usbClasses
	}
	for _, n := range []int{4, 2} {
		if len(d.Class) >= n && names[d.Class[:n]] != "" {
			return names[d.Class[:n]]
		}
	}
	return ""
}

// matters tells whether an appliance needs the device: for its disks, its network, its stick or its keyboard.
func (d Device) matters() bool {
	at := func(n int) string { return d.Class[:min(n, len(d.Class))] }
	switch d.Bus {
	case "pci":
		return d.Class == "" || slices.Contains([]string{"01", "02"}, at(2)) && at(4) != "0280" || slices.Contains([]string{"0805", "0c03", "0c04"}, at(4))
	case "usb":
		return d.Class == "" || slices.Contains([]string{"02", "03", "08", "09", "ff"}, at(2))
	}
	return true
}

// Text is what is said of all devices, and of the image in the end.
func Text(all []Verdict) string {
	var b strings.Builder
	var driven, none int
	var need, firmware []string
	add := func(to *[]string, s string) {
		if !slices.Contains(*to, s) {
			*to = append(*to, s)
		}
	}
	for _, v := range all {
		mark, text := v.text()
		fmt.Fprintf(&b, "%-7s %s: %s\n", mark, v.title(), text)
		switch {
		case len(v.Drivers) > 0:
			driven++
			for _, d := range v.Drivers {
				if len(d.Lacks) > 0 && v.matters() {
					add(&firmware, d.Module)
				}
			}
		case len(v.Others) == 0:
			none++
		case v.matters():
			for _, o := range v.Others {
				add(&need, o)
			}
		}
	}
	fmt.Fprintf(&b, "\n%d devices: the image drives %d, modules of Debian's that it doesn't have would drive %d, no module is known for %d\n",
		len(all), driven, len(all)-driven-none, none)
	if len(need) > 0 {
		fmt.Fprintf(&b, "for disks, network, USB and keyboards: imagebuild build --modules %s\n", strings.Join(need, ","))
	}
	if len(firmware) > 0 {
		fmt.Fprintf(&b, "firmware that may be wanted isn't in the image, for %s: imagebuild build --firmware; many cards work without\n", strings.Join(firmware, ", "))
	}
	return b.String()
}

// title names a device.
func (d Device) title() string {
	id := d.ID
	if id == "" {
		id = d.Modalias
	}
	name := d.Name
	if w := d.what(); w != "" {
		name = strings.TrimSpace(w + "  " + name)
		name = strings.Replace(name, "  ", ", ", 1)
	}
	if name != "" {
		name = " (" + name + ")"
	}
	return d.Bus + " " + d.Address + " " + id + name
}

// text says what drives a device, behind a mark for it.
func (v Verdict) text() (mark, text string) {
	probably := ""
	if v.Guess {
		probably = "probably "
	}
	switch {
	case len(v.Drivers) > 0:
		var words []string
		for _, d := range v.Drivers {
			words = append(words, d.text())
		}
		return "ok", probably + strings.Join(words, "; ")
	case len(v.Others) > 0:
		mark = "-"
		if v.matters() {
			mark = "LACKS"
		}
		return mark, fmt.Sprintf("nothing in the image; %sDebian's %s: --modules %s", probably, strings.Join(v.Others, " or "), strings.Join(v.Others, ","))
	case v.Bus == "usb" && v.Class == "":
		return "?", "no module is for just this one; storage, keyboards and hubs are driven by their class, which lsusb doesn't tell"
	case v.Bus == "pci" && strings.HasPrefix(v.Class, "06"):
		return "-", "no module is for it; the kernel needs none for a bridge"
	case v.Bus == "pci" && strings.HasPrefix(v.Class, "03"):
		return "-", "no module is for it; the screen works by the firmware's mode"
	}
	return "-", "no module of Debian's kernel is for it"
}

func (d Driver) text() string {
	switch {
	case d.Builtin:
		return d.Module + ", part of the kernel"
	case len(d.Lacks) > 0:
		more := ""
		if n := len(d.Lacks) - 1; n > 0 {
			more = fmt.Sprintf(" and %d more", n)
		}
		return fmt.Sprintf("%s, which may ask for firmware that the image lacks: %s%s", d.Module, d.Lacks[0], more)
	case len(d.Wants) > 0:
		return fmt.Sprintf("%s, whose firmware (%d files) is in the image", d.Module, len(d.Wants))
	}
	return d.Module
}
