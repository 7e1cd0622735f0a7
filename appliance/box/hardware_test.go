package box

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sanstick/appliance/api"
	"sanstick/appliance/hardware"
)

func TestReportHardware(t *testing.T) {
	dir := t.TempDir()
	device := filepath.Join(dir, "sys/bus/virtio/devices/virtio0")
	for name, text := range map[string]string{device + "/modalias": "virtio:d00000002v00001AF4\n", dir + "/proc/sys/kernel/osrelease": "6.1.0-57-amd64\n", dir + "/stick/x": ""} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := &box{o: &Options{SysDir: dir + "/sys", ProcDir: dir + "/proc", StickDir: dir + "/stick", Version: "v1"}}
	a, err := b.reportHardware(t.Context(), api.HardwareRequest{}, nil)
	if err != nil || !hardware.Is([]byte(a.Report)) || !strings.Contains(a.Report, "v1,_Linux_6.1.0-57-amd64\n") || !strings.Contains(a.Report, "virtio virtio0 - modalias virtio:d") {
		t.Errorf("%q, %v", a, err)
	}
	if _, err := b.reportHardware(t.Context(), api.HardwareRequest{Save: true}, nil); err == nil || !strings.Contains(err.Error(), "the stick isn't here") {
		t.Errorf("saved without a stick: %v", err)
	}
	m := &busyMounter{}
	b.stick = &stick{mounter: m}
	a, err = b.reportHardware(t.Context(), api.HardwareRequest{Save: true}, nil)
	if err != nil || m.readOnly != 1 {
		t.Errorf("saving: %v, the stick was read-only again %d times", err, m.readOnly)
	}
	if got, err := os.ReadFile(dir + "/stick/hardware.txt"); err != nil || string(got) != a.Report {
		t.Errorf("saved %q, %v", got, err)
	}
}
