package hardware

import (
	"regexp"
	"strings"
)

// MissingFirmware is what the kernel says when a driver asks for firmware that
// isn't there.
type MissingFirmware struct {
	Driver string
	Device string // as sysfs calls it: "0000:02:00.0", "1-1:1.0"
	File   string // below lib/firmware
}

// What Debian's kernel says of it, and what every kernel does:
//
//	r8169 0000:05:00.0: firmware: failed to load rtl_nic/rtl8168e-3.fw (-2)
//	r8169 0000:05:00.0: Direct firmware load for rtl_nic/rtl8168e-3.fw failed with error -2
//
// A network card's name may be there, too. Debian's kernel says both.
var missingForms = []*regexp.Regexp{
	regexp.MustCompile(`^([!-~]{1,64}) ([!-~]{1,64}?)(?: [!-~ ]{1,64})?: firmware: failed to load ([!-~]{1,128}) \(-\d{1,4}\)$`),
	regexp.MustCompile(`^([!-~]{1,64}) ([!-~]{1,64}?)(?: [!-~ ]{1,64})?: Direct firmware load for ([!-~]{1,128}) failed with error -\d{1,4}$`),
}

// maxMessage is more than such a message has.
const maxMessage = 512

// ParseMissingFirmware reads a message of the kernel's log, without its time.
// ok is false for any other one.
func ParseMissingFirmware(message string) (m MissingFirmware, ok bool) {
	if len(message) > maxMessage || !strings.Contains(message, "irmware") {
		return m, false
	}
	for _, form := range missingForms {
		if f := form.FindStringSubmatch(message); f != nil {
			return MissingFirmware{Driver: f[1], Device: f[2], File: f[3]}, true
		}
	}
	return m, false
}

// KernelMessage takes the text out of a record of /dev/kmsg, which is
// "LEVEL,NUMBER,TIME,FLAGS;TEXT\n" and then lines about it that begin with a blank.
func KernelMessage(record string) string {
	_, text, _ := strings.Cut(record, ";")
	text, _, _ = strings.Cut(text, "\n")
	return text
}
