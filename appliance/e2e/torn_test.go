//go:build e2e

package e2e

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sanstick/appliance/status"
	"sanstick/imagebuild/qemu"
)

// TestUpdateTornSlot gives the stick a sector that can't be read, in the
// initramfs of the slot that runs. The next start notices it in GRUB, and the one
// after takes the other slot, also when the machine is switched off and on; a
// rollback goes back to the slot once it can be read.
func TestUpdateTornSlot(t *testing.T) {
	t.Parallel()
	u := newUpdates(t, goodTOML)
	u.bus = qemu.Virtio // whose medium can fail while the machine runs
	fitted := u.boot(t) // the first start makes room for two versions
	fitted.status(t)
	fitted.powerDown(t)
	noise := make([]byte, 1<<20)
	for i, rnd := 0, rand.New(rand.NewPCG(1, 2)); i < len(noise); i++ {
		noise[i] = byte(rnd.Uint32())
	}
	v1 := u.version(t, "v1", time.Unix(1000, 0), file{"etc/noise", 0o644, string(noise)})
	u.putSlot(t, "a", v1)
	sector := u.sectorOf(t, v1.initramfs, noise[len(noise)/2:][:1024])

	// The version before, from outside.
	kernel := filepath.Join(u.dir, "vmlinuz")
	if err := os.WriteFile(kernel, u.kernel, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "mmd", "-i", u.bootVolume(t), "::b")
	run(t, "mcopy", "-i", u.bootVolume(t), kernel, "::b/vmlinuz")
	u.putSlot(t, "b", u.version(t, "v0", time.Unix(900, 0)))

	m := u.boot(t, u.disks...)
	m.awaitLUN(t, iqn)
	if s := m.status(t); s.System.Slot != "a" || s.Version != "v1" {
		t.Fatalf("version %s runs, system %+v", s.Version, s.System)
	}
	if err := m.Break(t.Context(), qemu.StickSerial, qemu.Fault{Reads: true, Sector: sector}); err != nil {
		t.Fatal(err)
	}
	before := len(m.Serial())
	m.send(t, "reboot")
	const down = "reboot: Restarting system"
	for end := time.Now().Add(bootTime); !strings.Contains(m.Serial()[before:], down); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the machine doesn't restart")
		}
	}
	before += strings.Index(m.Serial()[before:], down) + len(down)
	m.restarted(t, before, 2*bootTime)
	m.awaitLUN(t, iqn)
	passed := func() {
		t.Helper()
		m.problem(t, "slot b runs because slot a couldn't be loaded")
		if s := m.status(t); s.System.Slot != "b" || s.System.Mode != "fallback" || s.Version != "v0" {
			t.Errorf("version %s runs, system %+v", s.Version, s.System)
		}
	}
	passed()
	if said := m.Serial()[before:]; !strings.Contains(said, "slot a couldn't be read at an earlier start") {
		t.Error("GRUB doesn't say why it starts the other slot")
	}
	if said := m.shell(t, "sanctl update rollback"); !strings.Contains(said, "cannot read the slot") {
		t.Errorf("going back to a slot that can't be read:\n%s", said)
	}
	if t.Failed() {
		return
	}

	// Off and on: from here on the stick is a good one, and nothing is tried unasked.
	m.powerDown(t)
	m = u.boot(t, u.disks...)
	m.awaitLUN(t, iqn)
	passed()
	from := len(m.Serial())
	if said := m.shell(t, "sanctl update rollback"); !strings.Contains(said, "the machine restarts with it now") {
		t.Fatalf("sanctl update rollback says\n%s", said)
	}
	for end := time.Now().Add(bootTime); !strings.Contains(m.Serial()[from:], "Going down to=reboot"); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the machine doesn't restart")
		}
	}
	m.restarted(t, from+strings.Index(m.Serial()[from:], "Going down to=reboot"), bootTime)
	if s := m.awaitPhase(t, "confirmed", "a", "v1"); s.Health != status.OK {
		t.Errorf("health %s, problems %+v", s.Health, s.Problems)
	}
	m.powerDown(t)
	if got := u.clean(t); got["a"] != "v1" || got["b"] != "v0" {
		t.Errorf("slots %v", got)
	}
}

// sectorOf is the sector of the stick that holds the first whole one of part, which
// is in a file on it and nowhere else.
func (u *updates) sectorOf(t *testing.T, name string, part []byte) int {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, part)
	if at < 0 {
		t.Fatalf("%s doesn't hold it", name)
	}
	want := data[(at+511)&^511:][:512]
	f, err := os.Open(u.stick)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found, buf := 0, make([]byte, 4<<20)
	for offset := 0; ; offset += len(buf) {
		n, err := io.ReadFull(f, buf)
		for i := 0; i+512 <= n; i += 512 {
			if !bytes.Equal(buf[i:i+512], want) {
				continue
			}
			if found > 0 {
				t.Fatalf("it is at sectors %d and %d", found, (offset+i)/512)
			}
			found = (offset + i) / 512
		}
		if err != nil {
			break // the end
		}
	}
	if found == 0 {
		t.Fatal("it isn't on the stick")
	}
	return found
}
