//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sanstick/appliance/status"
	"sanstick/imagebuild/qemu"
)

// TestFlash writes the image to a USB stick with imagebuild on a Linux PC, for
// which the appliance itself stands: it has no other disk that may be written to.
// The stick is started, and written again with its configuration kept.
func TestFlash(t *testing.T) {
	t.Parallel()
	s := &site{dir: t.TempDir()}
	s.stick = filepath.Join(s.dir, "stick.img")
	s.configure(t, blankTOML)
	tools := s.disk(t, "TOOLS", 192<<20, qemu.Virtio)
	program := filepath.Join(s.dir, "imagebuild")
	run(t, "env", "CGO_ENABLED=0", "go", "build", "-o", program, "../../imagebuild")
	run(t, "mkfs.fat", "-F", "32", tools.Path)
	run(t, "mcopy", "-i", tools.Path, program, "::imagebuild")
	run(t, "mcopy", "-i", tools.Path, image, "::sanstick.img")
	fresh := s.disk(t, "FLASH-ME", 400<<20, qemu.USB)

	pc := s.boot(t, tools, fresh)
	pc.succeeds(t, "mkdir -p /tmp/pc && mount -t vfat /dev/vda /tmp/pc")
	listed := pc.shell(t, "/tmp/pc/imagebuild flash")
	offered := regexp.MustCompile(`(?m)^(/dev/sd[a-z]+) .* serial number (.*)$`).FindAllStringSubmatch(listed, -1)
	if len(offered) != 1 || strings.TrimSpace(offered[0][2]) != "FLASH-ME" || !strings.Contains(listed, "/dev/vda") || !strings.Contains(listed, "not offered: is neither removable nor on USB") {
		t.Fatalf("imagebuild flash offers\n%s", listed)
	}
	device := offered[0][1]
	flash := func(answer, device string) string {
		t.Helper()
		return pc.shell(t, "echo "+answer+" | /tmp/pc/imagebuild flash --image /tmp/pc/sanstick.img "+device)
	}
	empty := func() bool {
		data, err := os.ReadFile(fresh.Path)
		return err == nil && strings.Trim(string(data), "\x00") == ""
	}
	for _, tt := range []struct{ name, answer, device, want string }{
		{"another serial number", "TOOLS", device, "nothing was written: that isn't it"},
		{"an internal disk", "TOOLS", "/dev/vda", "is neither removable nor on USB"},
		{"a partition", "FLASH-ME", device + "1", "cannot find the stick"},
	} {
		if said := flash(tt.answer, tt.device); !strings.Contains(said, tt.want) || !empty() {
			t.Errorf("%s: the stick is empty: %v; said\n%s", tt.name, empty(), said)
		}
	}
	if said := flash("FLASH-ME", device); !strings.Contains(said, "is ready: written, and read back without a difference") || !strings.Contains(said, "100 %") {
		t.Fatalf("imagebuild flash says\n%s", said)
	}

	const kept = "hostname = \"kept\"\n"
	pc.succeeds(t, "mkdir -p /tmp/new && mount -t vfat "+device+"3 /tmp/new && echo 'hostname = \"kept\"' >/tmp/new/appliance.toml")
	if said := flash("FLASH-ME", device); !strings.Contains(said, "is mounted on /tmp/new") {
		t.Errorf("a mounted stick: said\n%s", said)
	}
	pc.succeeds(t, "umount /tmp/new")
	if said := flash("FLASH-ME", device); !strings.Contains(said, "Its configuration is kept") || !strings.Contains(said, "is ready") {
		t.Fatalf("imagebuild flash says\n%s", said)
	}
	if st := pc.status(t); st.Health != status.OK && !(len(st.Problems) == 1 && problem(st, "more than one partition is labelled")) {
		t.Errorf("the machine that wrote the stick: health %s, problems %+v", st.Health, st.Problems)
	}
	pc.powerDown(t)

	s.stick = fresh.Path
	m := s.boot(t)
	if st := m.status(t); st.Hostname != "kept" || st.Health != status.OK {
		t.Errorf("host name %q, health %s, problems %+v", st.Hostname, st.Health, st.Problems)
	}
	m.powerDown(t)
	s.verifyFitted(t, kept)
	run(t, program, "verify", fresh.Path)
}
