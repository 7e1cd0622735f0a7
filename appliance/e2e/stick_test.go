//go:build e2e

package e2e

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"sanstick/appliance/status"
	"sanstick/imagebuild/qemu"
)

// TestStickDies pulls the stick while volumes are served, plugs it again, and then
// goes on with new ones: by command, and by themselves.
func TestStickDies(t *testing.T) {
	t.Parallel()
	s := newSite(t, goodTOML)
	m := s.boot(t, s.disks...)
	m.awaitLUN(t, iqn)
	before := m.identity(t)
	run(t, "qemu-io", "-f", "raw", "-c", "write -P 0x5a 0 8M", "-c", "flush", m.url(iqn))
	m.awaitStatus(t, "both disks keep a copy of the stick", func(x status.Snapshot) bool {
		return slices.Equal(x.Stick.Copies, []string{serial1, serial2})
	})

	pulled := qemu.Disk{Serial: qemu.StickSerial, Bus: qemu.USB}
	if err := m.Unplug(t.Context(), pulled.Serial); err != nil {
		t.Fatal(err)
	}
	m.awaitStatus(t, "the stick is gone", func(x status.Snapshot) bool {
		return !x.Stick.Here && x.Health == status.Degraded && problem(x, "the stick was pulled out")
	})
	run(t, "qemu-io", "-f", "raw", "-c", "read -P 0x5a 0 8M", "-c", "write -P 0x6b 8M 8M", "-c", "flush", m.url(iqn))
	m.fails(t, "echo >/tmp/c.toml; sanctl config apply /tmp/c.toml", "the stick isn't here")
	if err := m.Plug(t.Context(), pulled); err != nil {
		t.Fatal(err)
	}
	m.awaitStatus(t, "the stick is here again", func(x status.Snapshot) bool { return x.Stick.Here && x.Health == status.OK })
	larger := strings.Replace(goodTOML, `"256MiB"`, `"384MiB"`, 1)
	if said := m.apply(t, larger); !strings.Contains(said, "volume vm1: size 256MiB -> 384MiB") {
		t.Errorf("sanctl config apply says\n%s", said)
	}
	m.awaitStatus(t, "both disks keep what is new", func(x status.Snapshot) bool {
		return slices.Equal(x.Stick.Copies, []string{serial1, serial2}) && x.Stick.Writes > 0
	})
	m.Kill()

	// same checks that everything is as it was on the old stick.
	same := func(m *machine) {
		t.Helper()
		m.awaitLUN(t, iqn)
		if now := m.identity(t); now != before {
			t.Errorf("identity was %+v and is %+v", before, now)
		}
		run(t, "qemu-io", "-f", "raw", "-c", "read -P 0x5a 0 8M", "-c", "read -P 0x6b 8M 8M", m.url(iqn))
		if out := run(t, "iscsi-readcapacity16", m.url(iqn)); !strings.Contains(out, "402653184") {
			t.Errorf("the newest configuration isn't in force: %s", out)
		}
	}
	t.Run("a new stick, by command", func(t *testing.T) {
		s.configure(t, blankTOML)
		m := s.boot(t, s.disks...)
		if out := m.succeeds(t, "sanctl config adopt --check"); !strings.Contains(out, serial1) || !strings.Contains(out, "tank") {
			t.Errorf("what is kept: %s", out)
		}
		if x := m.status(t); !problem(x, "one is kept") {
			t.Errorf("problems %+v", x.Problems)
		}
		m.succeeds(t, "sanctl config adopt --yes")
		same(m)
		if x := m.status(t); problem(x, "one is kept") {
			t.Errorf("problems %+v", x.Problems)
		}
		m.Kill()
	})
	t.Run("a new stick, by itself, but not without a disk", func(t *testing.T) {
		s.configure(t, "adopt = \"auto\"\n"+blankTOML)
		m := s.boot(t, s.disks[0])
		m.awaitStatus(t, "what is kept is seen", func(x status.Snapshot) bool { return problem(x, "one is kept") })
		time.Sleep(3 * time.Second)
		if x := m.status(t); len(x.Pools) > 0 {
			t.Errorf("adopted, though a disk is missing that may keep something newer: %+v", x.Pools)
		}
		m.Kill()
		m = s.boot(t, s.disks...)
		same(m)
		m.Kill()
	})
}

const blankTOML = `hostname = "new-stick"
`

func problem(x status.Snapshot, words string) bool {
	return slices.ContainsFunc(x.Problems, func(p status.Problem) bool { return strings.Contains(p.What, words) })
}

// awaitStatus waits until the status is as it should be.
func (m *machine) awaitStatus(t *testing.T, what string, is func(status.Snapshot) bool) {
	t.Helper()
	deadline := time.Now().Add(bootTime)
	for {
		x := m.status(t)
		if is(x) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not seen: %s; the status is %+v", what, x)
		}
	}
}

// TestStickMisses pulls the stick, then a disk of the mirror, which is used on. The
// stick is plugged again, and power fails: the disk that was pulled isn't used alone.
func TestStickMisses(t *testing.T) {
	t.Parallel()
	s := newSite(t, goodTOML)
	for i := range s.disks {
		s.disks[i].Bus = qemu.SCSI
	}
	m := s.boot(t, s.disks...)
	m.awaitLUN(t, iqn)
	run(t, "qemu-io", "-f", "raw", "-c", "write -P 0x11 0 4M", "-c", "flush", m.url(iqn))
	m.awaitStatus(t, "both disks keep a copy of the stick", func(x status.Snapshot) bool {
		return slices.Equal(x.Stick.Copies, []string{serial1, serial2})
	})
	if err := m.Unplug(t.Context(), qemu.StickSerial); err != nil {
		t.Fatal(err)
	}
	m.awaitStatus(t, "the stick is gone", func(x status.Snapshot) bool { return !x.Stick.Here })
	if err := m.Unplug(t.Context(), serial2); err != nil {
		t.Fatal(err)
	}
	unkept := func(x status.Snapshot) bool {
		return problem(x, "cannot keep on the stick which disks are up to date") || problem(x, "if the machine lost its power now")
	}
	m.awaitStatus(t, "what isn't kept is told", unkept)
	run(t, "qemu-io", "-f", "raw", "-c", "write -P 0x22 0 4M", "-c", "flush", m.url(iqn))
	if err := m.Plug(t.Context(), qemu.Disk{Serial: qemu.StickSerial, Bus: qemu.USB}); err != nil {
		t.Fatal(err)
	}
	m.awaitStatus(t, "it is kept", func(x status.Snapshot) bool { return x.Stick.Here && !unkept(x) })
	m.Kill()

	m = s.boot(t, s.disks[1])
	m.awaitStatus(t, "the disk that is out of date isn't used", func(x status.Snapshot) bool {
		return problem(x, "the newest state is on disk "+serial1)
	})
	if m.tryLogin(t.Context(), iqn) == nil {
		if out, err := exec.Command("iscsi-readcapacity16", m.url(iqn)).CombinedOutput(); err == nil {
			t.Errorf("it is served:\n%s", out)
		}
	}
	m.Kill()
	m = s.boot(t, s.disks...)
	m.awaitLUN(t, iqn)
	run(t, "qemu-io", "-f", "raw", "-c", "read -P 0x22 0 4M", m.url(iqn))
	m.powerDown(t)
}
