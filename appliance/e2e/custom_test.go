//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sanstick/appliance/status"
)

// TestCustomImage builds an image with a file, a program, a kernel module, a console and a command line of its own, and
// starts it: all of that is there. Its report of the hardware is what imagebuild reads, and firmware that a driver asks for
// in vain is told. What the stick holds then is what its manifest says.
func TestCustomImage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := filepath.Join(dir, "files")
	for name, text := range map[string]string{"etc/custom": "this is mine\n", "opt/bin/hello": "#!/bin/sh\necho hello from a program\n"} {
		p := filepath.Join(files, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("custom", filepath.Join(files, "etc/custom.link")); err != nil {
		t.Fatal(err)
	}
	toml := filepath.Join(dir, "my.toml")
	if err := os.WriteFile(toml, []byte("hostname = \"mine\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	build := filepath.Join(dir, "imagebuild")
	run(t, "go", "build", "-o", build, "../../imagebuild")
	s := &site{dir: dir, stick: filepath.Join(dir, "stick.img")}
	run(t, build, "build", "-o", s.stick, "--config", toml, "--add", files, "--modules", "dm-crypt", "--console", "ttyS0", "--cmdline", "mitigations=off sanstick.test=1")

	m := s.boot(t)
	for command, want := range map[string]string{
		"cat /etc/custom.link":                   "this is mine",
		"/opt/bin/hello":                         "hello from a program",
		"cat /proc/cmdline":                      "console=ttyS0,115200 quiet cryptomgr.notests mitigations=off sanstick.test=1 gpt ",
		"cat /sys/class/tty/console/active":      "\nttyS0\n",
		"modprobe dm-crypt && cat /proc/modules": "dm_crypt ",
		"cat /etc/sanstick/version":              "+custom",
		"sanctl hardware --save":                 "# saved as /stick/hardware.txt",
	} {
		if said := m.shell(t, command); !strings.Contains(said, want) {
			t.Errorf("%s says\n%s\nwant %q", command, said, want)
		}
	}
	st := m.status(t)
	if st.Hostname != "mine" || len(st.Problems) > 0 {
		t.Errorf("host name %q, problems %+v", st.Hostname, st.Problems)
	}
	m.shell(t, "echo '<4>r8169 0000:99:00.0: Direct firmware load for rtl_nic/rtl8168h-2.fw failed with error -2' >/dev/kmsg")
	m.awaitStatus(t, "the firmware that isn't there", func(x status.Snapshot) bool {
		return problem(x, "device 0000:99:00.0 (r8169) wants firmware that the image doesn't have: rtl_nic/rtl8168h-2.fw")
	})
	m.says(t, "! device 0000:99:00.0 (r8169) wants firmware")
	m.powerDown(t)

	if said := run(t, build, "verify", s.stick); !strings.Contains(said, "9 files are as they should be") {
		t.Errorf("imagebuild verify says\n%s", said)
	}
	volume := filepath.Join(dir, "volume")
	extract(t, s.stick, 3, volume)
	report := filepath.Join(dir, "hardware.txt")
	run(t, "mcopy", "-n", "-i", volume, "::hardware.txt", report)
	said := run(t, build, "hardware", "--image", s.stick, report)
	for _, want := range []string{`ok +virtio virtio\d+ .*: virtio_`, `ok +pci .*\(USB controller\): xhci_pci`, `ok +usb .*\(storage\): .*usb_storage`, `\d+ devices: the image drives \d+, `} {
		if !regexp.MustCompile(want).MatchString(said) {
			t.Errorf("imagebuild hardware says\n%s\nwant %q", said, want)
		}
	}
	if strings.Contains(said, "LACKS") {
		t.Errorf("the image lacks drivers of the machine that it ran on:\n%s", said)
	}
}
