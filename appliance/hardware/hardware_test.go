package hardware

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// machine makes a sysfs with a few devices.
func machine(t *testing.T) string {
	t.Helper()
	sysfs := t.TempDir()
	for name, content := range map[string]string{
		"bus/pci/devices/0000:00:1f.2/vendor":           "0x8086\n",
		"bus/pci/devices/0000:00:1f.2/device":           "0x2922\n",
		"bus/pci/devices/0000:00:1f.2/subsystem_vendor": "0x1af4\n",
		"bus/pci/devices/0000:00:1f.2/subsystem_device": "0x1100\n",
		"bus/pci/devices/0000:00:1f.2/class":            "0x010601\n",
		"bus/pci/devices/0000:00:1f.2/modalias":         "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01\n",
		"bus/pci/drivers/ahci/x":                        "",
		"bus/pci/devices/0000:02:00.0/modalias":         "pci:v000010ECd00008168sv00001043sd000016D5bc02sc00i00\n",
		"bus/usb/devices/1-1/idVendor":                  "0781\n",
		"bus/usb/devices/1-1/idProduct":                 "5567\n",
		"bus/usb/devices/1-1:1.0/bInterfaceClass":       "08\n",
		"bus/usb/devices/1-1:1.0/bInterfaceSubClass":    "06\n",
		"bus/usb/devices/1-1:1.0/bInterfaceProtocol":    "50\n",
		"bus/usb/devices/1-1:1.0/modalias":              "usb:v0781p5567d0126dc00dsc00dp00ic08isc06ip50in00\n",
		"bus/virtio/devices/virtio0/modalias":           "virtio:d00000002v00001AF4\n",
		"bus/acpi/devices/PNP0A08:00/modalias":          "acpi:PNP0A08:PNP0A03:\n",
		"bus/sdio/devices/odd/modalias":                 "a b\tc\x01\n",
	} {
		p := filepath.Join(sysfs, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../../drivers/ahci", filepath.Join(sysfs, "bus/pci/devices/0000:00:1f.2/driver")); err != nil {
		t.Fatal(err)
	}
	return sysfs
}

// What is collected and written is read again.
func TestReport(t *testing.T) {
	all, err := Collect(machine(t))
	if err != nil {
		t.Fatal(err)
	}
	text := string(Format(all, "v1, on\nattic"))
	want := `# sanstick hardware report: v1,_on_attic
# bus, address, vendor:device; imagebuild hardware FILE says what drives them
pci 0000:00:1f.2 8086:2922 subsystem 1af4:1100 class 010601 driver ahci modalias pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01
pci 0000:02:00.0 - modalias pci:v000010ECd00008168sv00001043sd000016D5bc02sc00i00
usb 1-1:1.0 0781:5567 class 080650 modalias usb:v0781p5567d0126dc00dsc00dp00ic08isc06ip50in00
virtio virtio0 - modalias virtio:d00000002v00001AF4
sdio odd - modalias a_b_c_
`
	if diff := cmp.Diff(want, text); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !Is([]byte(text)) || Is([]byte("00:1f.2 SATA")) {
		t.Error("a report isn't told from something else")
	}
	got, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if all, err := Collect(t.TempDir()); err != nil || len(all) > 0 {
		t.Errorf("a machine without buses: %v, %v", all, err)
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"# x\npci 0":                           "line 2",
		"pci 0 - modalias":                     "pairs of words",
		"isa 0 -":                              `bus "isa"`,
		"pci 0 8086":                           "an ID",
		"pci 0 - class 01":                     "a class",
		"pci 0 - subsystem 1:2":                "an ID",
		"pci 0 - colour red":                   `"colour"`,
		"pci 0 - modalias \x1b[2J":             "characters",
		"pci " + strings.Repeat("a", 600):      "too long",
		strings.Repeat("pci 0 -\n", 4097):      "more than 4096 devices",
		strings.Repeat("#\n", MaxText/2) + "#": "bytes",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("pci 0000:00:1f.2 8086:2922 subsystem 1af4:1100 class 010601 driver ahci modalias pci:v00008086d00002922\n"))
	f.Add([]byte("# sanstick hardware report: x\nusb 1-1:1.0 - modalias -\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(Format(all, "x"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(all, again); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
