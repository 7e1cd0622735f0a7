package image

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/imagebuild/apt"
	"sanstick/imagebuild/firmware"
	"sanstick/imagebuild/initramfs"
	"sanstick/imagebuild/sbom"
)

type modules map[string][]string

func (m modules) Firmware(module string) ([]string, error) {
	if names, ok := m[module]; ok {
		return names, nil
	}
	return nil, errors.New("no module " + module)
}

func TestWantedFirmware(t *testing.T) {
	k := modules{"r8169": {"rtl_nic/b", "rtl_nic/a"}, "r8152": {"rtl_nic/b"}, "ahci": nil}
	got, err := wantedFirmware(k, []string{"r8169", "ahci", "r8152"})
	if diff := cmp.Diff([]string{"rtl_nic/a", "rtl_nic/b"}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if _, err := wantedFirmware(k, []string{"none"}); err == nil {
		t.Error("a module that isn't there is no error")
	}
}

func TestAddFound(t *testing.T) {
	s := &system{}
	s.addFound([]firmware.File{{Name: "rtl_nic/a", Package: "firmware-realtek", Data: []byte("x")}})
	if diff := cmp.Diff([]initramfs.File{{Name: "lib/firmware/rtl_nic/a", Data: []byte("x"), Mode: 0o644}}, s.firmware); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want := []sbom.File{{Name: "lib/firmware/rtl_nic/a", SHA256: sbom.HashOf([]byte("x")), Comment: "in the initramfs", Package: "firmware-realtek"}}
	if diff := cmp.Diff(want, s.bill.inside); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What to do is said only if packages are missing.
func TestFirmwareError(t *testing.T) {
	err := firmwareError(fmt.Errorf("x: %w", &apt.NotFoundError{Names: []string{"firmware-realtek", "firmware-bnx2"}}))
	for _, want := range []string{"don't have firmware-realtek, firmware-bnx2", "Components: main non-free-firmware", "/etc/apt/sources.list.d/debian.sources"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := firmwareError(errors.New("no network")); !strings.Contains(err.Error(), "no network") || strings.Contains(err.Error(), "Components") {
		t.Error(err)
	}
}
