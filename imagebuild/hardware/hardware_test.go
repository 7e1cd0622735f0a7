package hardware

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	report "sanstick/appliance/hardware"
	"sanstick/imagebuild/kernel"
)

// What lspci -nnk and lsusb of Debian 12 say.
const lspci = `00:00.0 Host bridge [0600]: Intel Corporation 3rd Gen Core processor DRAM Controller [8086:0154] (rev 09)
	Subsystem: Lenovo 3rd Gen Core processor DRAM Controller [17aa:21fa]
0000:00:02.0 VGA compatible controller [0300]: Intel Corporation 3rd Gen Core processor Graphics Controller [8086:0166] (rev 09) (prog-if 00 [VGA controller])
	Flags: bus master, fast devsel, latency 0, IRQ 28
	Kernel driver in use: i915
	Kernel modules: i915
00:14.0 USB controller [0c03]: Intel Corporation 7 Series/C210 Series Chipset Family USB xHCI Host Controller [8086:1e31] (rev 04)
	Kernel driver in use: xhci_hcd
	Kernel modules: xhci_pci
00:1a.0 USB controller [0c03]: Intel Corporation 7 Series/C216 Chipset Family USB Enhanced Host Controller #2 [8086:1e2d] (rev 04)
00:1f.2 SATA controller [0106]: Intel Corporation 7 Series Chipset Family 6-port SATA Controller [AHCI mode] [8086:1e03] (rev 04)
02:00.0 0200: 10ec:8168 (rev 06)
03:00.0 Network controller [0280]: Intel Corporation Centrino Advanced-N 6205 [Taylor Peak] [8086:0085] (rev 34)
04:00.0 Fibre Channel [0c04]: QLogic Corp. ISP2532-based 8Gb Fibre Channel to PCI Express HBA [1077:2532] (rev 02)
`

const lsusb = `Bus 001 Device 003: ID 0bda:8153 Realtek Semiconductor Corp. RTL8153 Gigabit Ethernet Adapter
Bus 002 Device 001: ID 1d6b:0003 Linux Foundation 3.0 root hub
Bus 002 Device 002: ID 0781:5567 SanDisk Corp. Cruzer Blade
`

const ours = `# sanstick hardware report: v1
pci 0000:00:1f.2 8086:1e03 subsystem 17aa:21fa class 010601 driver ahci modalias pci:v00008086d00001E03sv000017AAsd000021FAbc01sc06i01
usb 1-1:1.0 0781:5567 class 080650 driver usb-storage modalias usb:v0781p5567d0126dc00dsc00dp00ic08isc06ip50in00
virtio virtio0 - driver virtio_blk modalias virtio:d00000002v00001AF4
pci 0000:00:1c.0 8086:1e10 class 060400 driver pcieport modalias pci:v00008086d00001E10sv000017AAsd000021FAbc06sc04i00
pci 0000:05:00.0 1234:5678 class ff0000 modalias pci:v00001234d00005678sv00000000sd00000000bcFFsc00i00
`

// fake is a kernel with a few modules.
type fake struct{}

func (fake) Aliases() []kernel.Alias {
	var out []kernel.Alias
	for _, a := range [][2]string{
		{"pci:v*d*sv*sd*bc01sc06i01*", "ahci"}, {"pci:v00008086d00001E03sv*sd*bc*sc*i*", "ahci"},
		{"pci:v*d*sv*sd*bc0Csc03i30*", "xhci_pci"}, {"pci:v*d*sv*sd*bc0Csc03i20*", "ehci_pci"},
		{"pci:v000010ECd00008168sv*sd*bc*sc*i*", "r8169"},
		{"pci:v00008086d00000166sv*sd*bc03sc*i*", "i915"},
		{"pci:v00008086d00000085sv*sd00001311bc*sc*i*", "iwlwifi"},
		{"pci:v00001077d00002532sv*sd*bc*sc*i*", "qla2xxx"},
		{"usb:v0BDAp8153d*dc*dsc*dp*icFFiscFFip00in*", "r8152"},
		{"usb:v*p*d*dc*dsc*dp*ic08isc06ip50in*", "usb_storage"},
		{"usb:v0781p5567d[0-2]*dc*dsc*dp*ic*isc*ip*in*", "odd"},
		{"virtio:d00000002v*", "virtio_blk"},
		{"acpi*:PNP0C0C:*", "button"},
	} {
		out = append(out, kernel.Alias{Pattern: a[0], Module: a[1]})
	}
	return append(out, kernel.Alias{Pattern: "pci:v00008086d00000154sv*sd*bc*sc*i*", Module: "built_in", Builtin: true})
}

func (fake) Builtin(module string) bool { return module == "pcieport" }

func (fake) Firmware(module string) ([]string, error) {
	if module == "r8169" {
		return []string{"rtl_nic/a.fw", "rtl_nic/b.fw", "rtl_nic/c-*.fw"}, nil
	}
	return nil, nil
}

func TestJudge(t *testing.T) {
	im := Image{Modules: map[string]bool{"ahci": true, "xhci_pci": true, "ehci_pci": true, "r8169": true, "r8152": true, "usb_storage": true, "virtio_blk": true},
		Firmware: map[string]bool{"rtl_nic/b.fw": true, "rtl_nic/c-1.fw": true}}
	for _, tt := range []struct{ name, text, want string }{
		{"lspci", lspci, `ok      pci 00:00.0 8086:0154 (host bridge, Intel Corporation 3rd Gen Core processor DRAM Controller): built_in, part of the kernel
-       pci 0000:00:02.0 8086:0166 (display, Intel Corporation 3rd Gen Core processor Graphics Controller): nothing in the image; Debian's i915: --modules i915
ok      pci 00:14.0 8086:1e31 (USB controller, Intel Corporation 7 Series/C210 Series Chipset Family USB xH): xhci_pci
ok      pci 00:1a.0 8086:1e2d (USB controller, Intel Corporation 7 Series/C216 Chipset Family USB Enhanced): probably xhci_pci; ehci_pci
ok      pci 00:1f.2 8086:1e03 (SATA controller, Intel Corporation 7 Series Chipset Family 6-port SATA Contro): ahci
ok      pci 02:00.0 10ec:8168 (Ethernet): r8169, which may ask for firmware that the image lacks: rtl_nic/a.fw
-       pci 03:00.0 8086:0085 (Wi-Fi, or another network, Intel Corporation Centrino Advanced-N 6205 [Taylor Peak]): nothing in the image; probably Debian's iwlwifi: --modules iwlwifi
LACKS   pci 04:00.0 1077:2532 (Fibre Channel, QLogic Corp. ISP2532-based 8Gb Fibre Channel to PCI Express): nothing in the image; Debian's qla2xxx: --modules qla2xxx

8 devices: the image drives 5, modules of Debian's that it doesn't have would drive 3, no module is known for 0
for disks, network, USB and keyboards: imagebuild build --modules qla2xxx
firmware that may be wanted isn't in the image, for r8169: imagebuild build --firmware; many cards work without
`},
		{"lsusb", lsusb, `ok      usb 001:003 0bda:8153 (Realtek Semiconductor Corp. RTL8153 Gigabit Ethernet Adapter): probably r8152
?       usb 002:001 1d6b:0003 (Linux Foundation 3.0 root hub): no module is for just this one; storage, keyboards and hubs are driven by their class, which lsusb doesn't tell
LACKS   usb 002:002 0781:5567 (SanDisk Corp. Cruzer Blade): nothing in the image; probably Debian's odd: --modules odd

3 devices: the image drives 1, modules of Debian's that it doesn't have would drive 1, no module is known for 1
for disks, network, USB and keyboards: imagebuild build --modules odd
`},
		{"ours", ours, `ok      pci 0000:00:1f.2 8086:1e03 (SATA controller): ahci
ok      usb 1-1:1.0 0781:5567 (storage): usb_storage
ok      virtio virtio0 virtio:d00000002v00001AF4: virtio_blk
ok      pci 0000:00:1c.0 8086:1e10 (PCI bridge): pcieport, part of the kernel
-       pci 0000:05:00.0 1234:5678: no module of Debian's kernel is for it

5 devices: the image drives 4, modules of Debian's that it doesn't have would drive 0, no module is known for 1
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			devices, err := Parse([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			all, err := Judge(devices, im, fake{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, Text(all)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParse(t *testing.T) {
	got, err := Parse([]byte("noise\n00:1f.2 SATA controller [0106]: A [B] [8086:2922] (rev 02) (prog-if 01 [AHCI 1.0])\r\n\tSubsystem: Red Hat, Inc. X [1af4:1100]\n" +
		"\tKernel driver in use: ahci\n\tKernel modules: ahci, ata-generic\n\nBus 001 Device 002: ID 0627:0001\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Device{
		{Device: report.Device{Bus: "pci", Address: "00:1f.2", ID: "8086:2922", Subsystem: "1af4:1100", Class: "010601", Driver: "ahci",
			Modalias: "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01"}, Name: "A [B]", Hints: []string{"ahci", "ata_generic"}},
		{Device: report.Device{Bus: "usb", Address: "001:002", ID: "0627:0001", Modalias: "usb:v0627p0001d*dc*dsc*dp*ic*isc*ip*in*"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "cannot find a device",
		"hello\n":                        "cannot find a device",
		"# sanstick hardware report: x":  "cannot find a device",
		"# sanstick hardware report\npx": "line 2",
		"00:1f.2 SATA controller: Intel Corporation 82801IR (rev 02)\n": "use lspci -nnk",
		strings.Repeat("x", 5000):                                  "line 1",
		strings.Repeat("Bus 001 Device 002: ID 0627:0001\n", 4097): "more than 4096 devices",
		strings.Repeat("x\n", report.MaxText):                      "bytes",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

// What is read is judged and shown without control characters, whatever it is.
func FuzzParse(f *testing.F) {
	for _, text := range []string{lspci, lsusb, ours} {
		f.Add([]byte(text))
	}
	m := fake{}
	f.Fuzz(func(t *testing.T, text []byte) {
		devices, err := Parse(text)
		if err != nil {
			return
		}
		all, err := Judge(devices, Image{Modules: map[string]bool{"ahci": true}}, m)
		if err != nil || len(all) != len(devices) {
			t.Fatalf("%d of %d devices, %v", len(all), len(devices), err)
		}
		if out := Text(all); strings.ContainsFunc(out, func(r rune) bool { return r < ' ' && r != '\n' || r > '~' }) {
			t.Errorf("%q", out)
		}
	})
}
