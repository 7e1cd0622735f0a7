package qemu

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A Firmware is what starts before the stick does.
type Firmware string

// The firmwares. SecureBoot starts only what a key signed that Microsoft's are behind, as PCs come from the shop.
const (
	BIOS       Firmware = "bios"
	UEFI       Firmware = "uefi"
	SecureBoot Firmware = "secureboot"
)

// firmwareDir is where Debian's package ovmf has the firmware and its variables, with Microsoft's keys in those named ms.
const firmwareDir = "/usr/share/OVMF"

// firmwareArgs returns QEMU's arguments for a firmware. Its variables are a copy of their own in dir: they begin anew with
// each machine, as with a PC that the stick is new to.
func (o Options) firmwareArgs(dir string) ([]string, error) {
	var code, vars string
	switch o.Firmware {
	case "", BIOS:
		return nil, nil
	case UEFI:
		code, vars = "OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"
	case SecureBoot:
		code, vars = "OVMF_CODE_4M.ms.fd", "OVMF_VARS_4M.ms.fd"
	default:
		return nil, fmt.Errorf("cannot use firmware %q: want %s, %s or %s", o.Firmware, BIOS, UEFI, SecureBoot)
	}
	data, err := os.ReadFile(filepath.Join(firmwareDir, vars))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot start a machine with UEFI: %w; on Debian: apt-get install --no-install-recommends ovmf", err)
	}
	own := filepath.Join(dir, "vars.fd")
	if err == nil {
		err = os.WriteFile(own, data, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot start a machine with UEFI: %w", err)
	}
	return []string{
		// With SMM, so that the system can't write the variables behind the firmware's back.
		"-global", "driver=cfi.pflash01,property=secure,value=on",
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + escape(filepath.Join(firmwareDir, code)),
		"-drive", "if=pflash,unit=1,format=raw,file=" + escape(own),
	}, nil
}
