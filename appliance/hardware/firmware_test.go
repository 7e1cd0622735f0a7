package hardware

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseMissingFirmware(t *testing.T) {
	for message, want := range map[string]MissingFirmware{
		// Debian's kernels say both of it.
		"r8169 0000:05:00.0: firmware: failed to load rtl_nic/rtl8168e-3.fw (-2)":                          {"r8169", "0000:05:00.0", "rtl_nic/rtl8168e-3.fw"},
		"r8169 0000:05:00.0: Direct firmware load for rtl_nic/rtl8168e-3.fw failed with error -2":          {"r8169", "0000:05:00.0", "rtl_nic/rtl8168e-3.fw"},
		"r8152 4-1.1.4:1.0: Direct firmware load for rtl_nic/rtl8153a-4.fw failed with error -2":           {"r8152", "4-1.1.4:1.0", "rtl_nic/rtl8153a-4.fw"},
		"bnx2 0000:03:00.1 eth0: firmware: failed to load bnx2/bnx2-mips-09-6.2.1b.fw (-12)":               {"bnx2", "0000:03:00.1", "bnx2/bnx2-mips-09-6.2.1b.fw"},
		"iwlwifi 0000:00:14.3: Direct firmware load for iwlwifi-so-a0-gf-a0-86.ucode failed with error -2": {"iwlwifi", "0000:00:14.3", "iwlwifi-so-a0-gf-a0-86.ucode"},
		"platform regulatory.0: firmware: failed to load regulatory.db (-2)":                               {"platform", "regulatory.0", "regulatory.db"},

		"r8169 0000:01:00.0: Direct firmware load failed with error -2":                       {},
		"r8169 0000:05:00.0 enp5s0: unable to load firmware patch rtl_nic/rtl8168e-3.fw (-2)": {},
		"r8169 0000:02:00.0: Unable to load firmware rtl_nic/rtl8168g-2.fw (-2)":              {},
		"firmware_class: See https://wiki.debian.org/Firmware for information":                {},
		"i915 0000:00:02.0: [drm] Finished loading DMC firmware i915/adlp_dmc.bin":            {},
		"r8169 0000:05:00.0: firmware: direct-loading firmware rtl_nic/rtl8168e-3.fw":         {},
		"": {},
		"x y: firmware: failed to load " + strings.Repeat("z", 600) + " (-2)": {},
		"x y: firmware: failed to load a\x1b[2Jb (-2)":                        {},
		"x: firmware: failed to load a (-2)":                                  {},
	} {
		got, ok := ParseMissingFirmware(message)
		if diff := cmp.Diff(want, got); diff != "" || ok != (want.File != "") {
			t.Errorf("%q: %v (-want +got):\n%s", message, ok, diff)
		}
	}
}

func TestKernelMessage(t *testing.T) {
	for record, want := range map[string]string{
		"3,812,4212381,-;r8169 0000:05:00.0: Direct; x\n SUBSYSTEM=pci\n DEVICE=+pci:0000:05:00.0\n": "r8169 0000:05:00.0: Direct; x",
		"6,1,0,-;x\n": "x", "": "", "nonsense": "",
	} {
		if got := KernelMessage(record); got != want {
			t.Errorf("%q: %q, want %q", record, got, want)
		}
	}
}

func FuzzParseMissingFirmware(f *testing.F) {
	f.Add("3,812,4212381,-;r8169 0000:05:00.0: firmware: failed to load rtl_nic/rtl8168e-3.fw (-2)\n SUBSYSTEM=pci\n")
	f.Add("3,1,1,-;a b c: Direct firmware load for x failed with error -2\n")
	f.Fuzz(func(t *testing.T, record string) {
		m, ok := ParseMissingFirmware(KernelMessage(record))
		all := m.Driver + m.Device + m.File
		if ok != (all != "") || len(all) > 256 || strings.ContainsFunc(all, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("%+v", m)
		}
	})
}
