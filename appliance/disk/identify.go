package disk

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
)

// identify fills in serial number, WWN and model from where each kind of disk
// keeps them. dir is the disk's real directory in sysfs.
func identify(d *Disk, dir string) {
	switch {
	case d.Transport == "virtio" || d.Transport == "xen":
		d.Serial = attr(dir, "serial")
	case d.Transport == "nvme":
		d.Serial = attr(dir, "device/serial")
		d.Model = attr(dir, "device/model")
		if w := attr(dir, "wwid"); strings.HasPrefix(w, "eui.") || strings.HasPrefix(w, "uuid.") {
			d.WWN = "wwn-" + w
		}
	case d.Transport == "mmc":
		d.Serial = attr(dir, "device/serial")
		d.Model = attr(dir, "device/name")
	default:
		identifySCSI(d, dir)
	}
	// A serial number of nothing but zeros identifies nothing.
	if strings.Trim(d.Serial, "0") == "" {
		d.Serial = ""
	}
}

// identifySCSI reads what the kernel's SCSI layer knows, which also serves
// SATA (libata translates) and USB.
func identifySCSI(d *Disk, dir string) {
	// ATA disks have "ATA" as their vendor; others have their name there.
	d.Model = strings.TrimSpace(attr(dir, "device/vendor") + " " + attr(dir, "device/model"))
	d.Model = strings.TrimPrefix(d.Model, "ATA ")

	d.Serial = serialVPD(attrBytes(dir, "device/vpd_pg80"))
	d.WWN = nameVPD(attrBytes(dir, "device/vpd_pg83"))
	if wwid := attr(dir, "device/wwid"); d.WWN == "" && strings.HasPrefix(wwid, "naa.") {
		d.WWN = "wwn-0x" + strings.ToLower(strings.TrimPrefix(wwid, "naa."))
	}
	if d.Serial == "" && d.Transport == "usb" {
		d.Serial = usbSerial(dir)
	}
}

// serialVPD is the serial number in VPD page 80h (SPC-6 7.7.19), as sysfs
// hands it out. Empty if the page isn't well formed.
func serialVPD(page []byte) string {
	payload := vpdPayload(page, 0x80)
	return printable(payload)
}

// nameVPD is the logical unit's NAA designator in VPD page 83h (SPC-6 7.7.6)
// as "wwn-0x...", or empty.
func nameVPD(page []byte) string {
	p := vpdPayload(page, 0x83)
	for len(p) >= 4 {
		n := int(p[3])
		if 4+n > len(p) {
			return ""
		}
		association, kind := p[1]>>4&3, p[1]&0xf
		if association == 0 && kind == 3 && (n == 8 || n == 16) {
			return "wwn-0x" + hex.EncodeToString(p[4:4+n])
		}
		p = p[4+n:]
	}
	return ""
}

// vpdPayload checks a VPD page's header and returns what follows it.
func vpdPayload(page []byte, code byte) []byte {
	if len(page) < 4 || page[1] != code {
		return nil
	}
	n := int(page[2])<<8 | int(page[3])
	if n > len(page)-4 {
		return nil
	}
	return page[4 : 4+n]
}

// usbSerial looks upwards from the disk for the USB device it belongs to:
// usb-storage doesn't ask disks for VPD pages.
func usbSerial(dir string) string {
	for range 12 {
		dir = filepath.Dir(dir)
		if _, err := os.Stat(filepath.Join(dir, "idVendor")); err == nil {
			return attr(dir, "serial")
		}
	}
	return ""
}

// transport tells how the disk is connected, from the chain of devices above
// it in sysfs.
func transport(name, dir string) string {
	switch {
	case strings.HasPrefix(name, "vd"):
		return "virtio"
	case strings.HasPrefix(name, "nvme"):
		return "nvme"
	case strings.HasPrefix(name, "mmcblk"):
		return "mmc"
	case strings.HasPrefix(name, "xvd"):
		return "xen"
	}
	has := func(prefix string) bool {
		for part := range strings.SplitSeq(dir, "/") {
			if rest, ok := strings.CutPrefix(part, prefix); ok && rest != "" && rest[0] >= '0' && rest[0] <= '9' {
				return true
			}
		}
		return false
	}
	switch {
	case has("usb"):
		return "usb"
	case has("ata"):
		return "sata"
	case has("end_device-"):
		return "sas"
	case strings.Contains(dir, "/VMBUS:"), strings.Contains(dir, "/vmbus"):
		return "hyperv"
	case has("host"):
		return "scsi"
	}
	return ""
}

func attrBytes(dir, name string) []byte {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil
	}
	return b
}

// printable trims a name told by a device and keeps only what can be shown
// and written in the configuration: printable ASCII.
func printable(b []byte) string {
	s := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, string(b))
	return strings.TrimSpace(s)
}
