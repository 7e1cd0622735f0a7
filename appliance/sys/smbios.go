package sys

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	smbiosHeader  = 1 + 1 + 2 // type, length, handle (DSP0134 section 6.1.2)
	smbiosOEM     = 11        // OEM Strings (section 7.12): the count is at offset 4
	smbiosEnd     = 127       // End-of-Table (section 7.45)
	maxSMBIOS     = 4 << 20
	maxOEMStrings = 1024
)

// OEMStrings returns the machine's SMBIOS OEM strings (type 11), with which a
// virtual machine's host tells its guest things. sysfs is where sysfs is
// mounted: "/sys". A machine without SMBIOS has none.
func OEMStrings(sysfs string) ([]string, error) {
	f, err := os.Open(filepath.Join(sysfs, "firmware", "dmi", "tables", "DMI"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read SMBIOS: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSMBIOS))
	if err != nil {
		return nil, fmt.Errorf("cannot read SMBIOS: %w", err)
	}
	return ParseOEMStrings(b)
}

// ParseOEMStrings finds the OEM strings in an SMBIOS structure table
// (DSP0134 section 6). Each structure is a formatted part of the length its
// header tells, and then its strings: each ends with a zero byte, the last
// with two, and no strings are two zero bytes.
func ParseOEMStrings(b []byte) ([]string, error) {
	var all []string
	for off := 0; off < len(b); {
		if len(b)-off < smbiosHeader {
			return nil, fmt.Errorf("cannot parse SMBIOS: structure at %d is cut off", off)
		}
		kind, length := b[off], int(b[off+1])
		if length < smbiosHeader || length > len(b)-off {
			return nil, fmt.Errorf("cannot parse SMBIOS: structure at %d has length %d", off, length)
		}
		if kind == smbiosEnd {
			return all, nil
		}
		text := b[off+length:]
		end := bytes.Index(text, []byte{0, 0})
		if end < 0 {
			return nil, fmt.Errorf("cannot parse SMBIOS: strings of structure at %d have no end", off)
		}
		if kind == smbiosOEM && end > 0 {
			for s := range bytes.SplitSeq(text[:end], []byte{0}) {
				if len(all) == maxOEMStrings {
					return nil, fmt.Errorf("cannot parse SMBIOS: more than %d OEM strings", maxOEMStrings)
				}
				all = append(all, string(s))
			}
		}
		off += length + end + 2
	}
	return all, nil
}
