package lvm_test

import (
	"os"
	"regexp"
	"testing"

	"sanstick/appliance/disk/lvm"
)

// TestConf: the code and the file that goes into the image must agree on who
// we are, and no guest's volumes may ever be seen.
func TestConf(t *testing.T) {
	conf, err := os.ReadFile("lvm.conf")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`(?m)^\s*system_id = "` + lvm.SystemID + `"$`,
		`(?m)^\s*scan_lvs = 0$`,
		`(?m)^\s*udev_sync = 0$`,
		`(?m)^\s*global_filter = \[ "a\|.*", "r\|\.\*\|" \]$`,
		// Nor what is in arrays of other machines.
		`(?m)^\s*global_filter = \[ "a\|\^/dev/\([a-z|]*\)\|"`,
	} {
		if !regexp.MustCompile(want).Match(conf) {
			t.Errorf("lvm.conf has nothing like %s", want)
		}
	}
	if regexp.MustCompile(`(?m)^\s*global_filter.*\bmd\b`).Match(conf) {
		t.Error("LVM looks inside md arrays")
	}
}
