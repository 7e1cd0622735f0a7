package disk

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

var (
	pciAddress = regexp.MustCompile(`^[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$`)
	usbPort    = regexp.MustCompile(`^[0-9]+-[0-9]+(\.[0-9]+)*$`)
	ataPort    = regexp.MustCompile(`^ata[0-9]+$`)
	sasDevice  = regexp.MustCompile(`^end_device-[0-9:]+$`)
	scsiLUN    = regexp.MustCompile(`^[0-9]+:[0-9]+:[0-9]+:[0-9]+$`)
)

// port says where a disk is plugged in, from the chain of devices above it: the
// nearest thing that a person can find on the machine comes first. Empty if
// sysfs tells nothing.
func port(sysfs, dir string) string {
	var pci, usb, ata, sas, lun, bay string
	at := "/"
	for part := range strings.SplitSeq(dir, "/") {
		at = filepath.Join(at, part)
		switch {
		case pciAddress.MatchString(part):
			pci = "PCI " + strings.TrimPrefix(part, "0000:")
			if slot := pciSlot(sysfs, part); slot != "" {
				pci += ", slot " + slot
			}
		case usbPort.MatchString(part):
			usb = "USB port " + part
		case ataPort.MatchString(part):
			ata = "SATA port " + part
			if n := attr(at, "ata_port/"+part+"/port_no"); n != "" {
				ata = "SATA port " + n + " (" + part
			}
		case sasDevice.MatchString(part):
			sas = "SAS " + part
			if phy := attr(at, "sas_device/"+part+"/phy_identifier"); phy != "" {
				sas = "SAS phy " + phy
			}
			if n, err := strconv.Atoi(attr(at, "sas_device/"+part+"/bay_identifier")); err == nil && n >= 0 {
				bay = "bay " + strconv.Itoa(n)
			}
		case scsiLUN.MatchString(part):
			lun = "SCSI " + part
		}
	}
	// An enclosure names its slots itself.
	if links, err := filepath.Glob(filepath.Join(dir, "device", "enclosure_device:*")); err == nil && len(links) > 0 {
		_, name, _ := strings.Cut(filepath.Base(links[0]), ":")
		bay = "enclosure slot " + printable([]byte(name))
	}
	var near []string
	switch {
	case usb != "":
		return usb
	case ata != "" && strings.Contains(ata, "("):
		return ata + comma(pci) + ")"
	case ata != "":
		near = []string{ata}
	case sas != "":
		near = []string{bay, sas}
	case bay != "":
		near = []string{bay, lun}
	case lun != "":
		near = []string{lun}
	}
	return strings.TrimPrefix(comma(append(near, pci)...), ", ")
}

// comma writes each part that isn't empty with a comma in front of it.
func comma(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		if p != "" {
			b.WriteString(", " + p)
		}
	}
	return b.String()
}

// pciSlot is what the firmware calls the slot of a PCI device, or empty.
func pciSlot(sysfs, address string) string {
	device, _, _ := strings.Cut(address, ".")
	slots, err := os.ReadDir(filepath.Join(sysfs, "bus/pci/slots"))
	if err != nil {
		return ""
	}
	for _, s := range slots {
		if attr(filepath.Join(sysfs, "bus/pci/slots", s.Name()), "address") == device {
			return printable([]byte(s.Name()))
		}
	}
	return ""
}

// smart tells whether a disk keeps a record of its own health. ATA disks say so
// in their IDENTIFY data (word 82, bit 0), which VPD page 89h hands on (SAT-5
// 12.4.2); it is a part of NVMe, and of SAS by log pages.
func smart(transport, dir string) bool {
	switch transport {
	case "nvme", "sas":
		return true
	case "sata":
		const identifyAt, word82 = 60, 2 * 82
		page := attrBytes(dir, "device/vpd_pg89")
		return len(page) > identifyAt+word82 && page[1] == 0x89 && page[identifyAt+word82]&1 != 0
	}
	return false
}

// Temperature is what a disk's own sensor shows, in degrees Celsius. ok is false
// if none is known. A SATA disk is asked (by the kernel's drivetemp), so this
// may take as long as any command to it.
func Temperature(sysfs, name string) (celsius int, ok bool) {
	if !IsDiskName(name) {
		return 0, false
	}
	for _, pattern := range []string{"device/hwmon/hwmon*/temp1_input", "device/hwmon*/temp1_input", "device/device/hwmon/hwmon*/temp1_input"} {
		files, err := filepath.Glob(filepath.Join(sysfs, "block", name, pattern))
		if err != nil || len(files) == 0 {
			continue
		}
		n, err := attrInt(filepath.Dir(files[0]), filepath.Base(files[0]))
		if err == nil && n > -100_000 && n < 200_000 {
			return int(n / 1000), true
		}
	}
	return 0, false
}
