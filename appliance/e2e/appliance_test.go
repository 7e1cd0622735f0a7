//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sanstick/appliance/status"
)

// storage is the part of a configuration that names what is on the disks.
const storage = `
[[pool]]
name   = "tank"
disks  = ["` + serial1 + `", "` + serial2 + `"]
layout = "mirror"

[[volume]]
name = "vm1"
pool = "tank"
size = "256MiB"

[[volume]]
name = "vm2"
pool = "tank"
size = "64MiB"
`

const exports = `
[[target]]
name       = "vm1"
iqn        = "` + iqn + `"
volumes    = ["vm1"]
initiators = ["*"]

[[target]]
name       = "vm2"
iqn        = "` + iqnCHAP + `"
volumes    = ["vm2"]
initiators = ["iqn.2006-12.test.sanstick:host"]
chap       = { user = "host", secret = "a secret of the test" }
`

const goodTOML = "hostname = \"attic\"\n" + storage + exports

// TestLifeOfAMirror follows one machine from its first boot through a power
// cut, a clean power off, a lost disk and its return.
func TestLifeOfAMirror(t *testing.T) {
	t.Parallel()
	s := newSite(t, goodTOML)
	real := realImage(t)

	var first identity
	t.Run("first boot", func(t *testing.T) {
		m := s.boot(t, s.disks...)
		t.Logf("first LUN answered %.1f s after QEMU's start, pool and volumes made in it", m.awaitLUN(t, iqn).Seconds())

		list := run(t, "iscsi-ls", "-s", fmt.Sprintf("iscsi://127.0.0.1:%d", m.port))
		if !strings.Contains(list, "Target:"+iqn) || !strings.Contains(list, "Lun:0") {
			t.Errorf("iscsi-ls does not list the volume:\n%s", list)
		}
		if strings.Contains(list, iqnCHAP) {
			t.Errorf("discovery names a target to an initiator that may not use it:\n%s", list)
		}
		m.refuses(t, iqnCHAP, "iqn.2006-12.test.sanstick:other", "host", "a secret of the test")
		m.refuses(t, iqnCHAP, "iqn.2006-12.test.sanstick:host", "host", "not that secret")
		m.admits(t, iqnCHAP, "iqn.2006-12.test.sanstick:host", "host", "a secret of the test")

		first = m.identity(t)
		run(t, "qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", real, m.url(iqn))
		compare(t, real, m)
		st := m.status(t)
		if st.Health != status.OK || len(st.Problems) != 0 {
			t.Errorf("health %s, problems %+v", st.Health, st.Problems)
		}
		t.Logf("%.0f MB of RAM used of %.0f", float64(st.Memory.Total-st.Memory.Available)/1e6, float64(st.Memory.Total)/1e6)
		m.growth(t)
		run(t, "qemu-io", "-f", "raw", "-c", "flush", m.url(iqn))
		m.Kill()
	})
	if t.Failed() {
		return
	}

	t.Run("after a power cut", func(t *testing.T) {
		m := s.boot(t, s.disks...)
		t.Logf("LUN answered %.1f s after QEMU's start", m.awaitLUN(t, iqn).Seconds())
		if again := m.identity(t); again != first {
			t.Errorf("the LUN changed its identity from\n%+v\nto\n%+v", first, again)
		}
		compare(t, real, m)
		for end := time.Now().Add(bootTime); ; time.Sleep(time.Second) {
			st := m.status(t)
			if st.Health == status.OK && len(st.Pools) == 1 && st.Pools[0].State == "healthy" {
				break
			}
			if time.Now().After(end) { // the copies may differ where something was being written
				t.Fatalf("health %s, pools %+v, problems %+v", st.Health, st.Pools, st.Problems)
			}
		}

		// The daemon dies: PID 1 brings it back, and the LUN with it.
		m.shell(t, "kill -9 $(pidof appliance)")
		m.awaitLUN(t, iqn)
		compare(t, real, m)

		// It dies with LVM in the middle of a change: what is suspended is woken.
		const list = "dmsetup info -c --noheadings --separator ' ' -o name,suspended"
		if out := m.shell(t, "for d in tank-vm1 tank-thinpool-tpool tank-thinpool_tdata; do dmsetup suspend --noflush --nolockfs $d; done; "+
			list+"; kill -9 $(pidof appliance)"); strings.Count(out, "Suspended") != 3 {
			t.Errorf("before the daemon dies, the devices are\n%s", out)
		}
		m.awaitLUN(t, iqn)
		if out := m.shell(t, list); strings.Contains(out, "Suspended") {
			t.Errorf("volumes are still suspended:\n%s", out)
		}
		compare(t, real, m)
		m.powerDown(t)
	})

	t.Run("after a clean power off, one disk missing", func(t *testing.T) {
		m := s.boot(t, s.disks[0])
		t.Logf("LUN answered %.1f s after QEMU's start", m.awaitLUN(t, iqn).Seconds())
		if again := m.identity(t); again != first {
			t.Errorf("the LUN changed its identity from\n%+v\nto\n%+v", first, again)
		}
		compare(t, real, m)
		st := m.status(t)
		if len(st.Pools) != 1 || st.Pools[0].Health != status.Degraded || !slices.Equal(st.Pools[0].Missing, []string{serial2}) {
			t.Errorf("pools %+v, want tank degraded with %s missing", st.Pools, serial2)
		}
		if !slices.ContainsFunc(st.Problems, func(p status.Problem) bool { return strings.Contains(p.What, serial2) }) {
			t.Errorf("no problem names the missing disk: %+v", st.Problems)
		}
		// What is written now must win over the disk that is away.
		run(t, "qemu-io", "-f", "raw", "-c", "write -P 0x5a 128M 4M", "-c", "flush", m.url(iqn))
		m.powerDown(t)
	})

	t.Run("only the disk that is out of date", func(t *testing.T) {
		m := s.boot(t, s.disks[1])
		said := func() string {
			var all []string
			for _, p := range m.status(t).Problems {
				all = append(all, p.What)
			}
			return strings.Join(all, "; ")
		}
		text := said()
		for end := time.Now().Add(bootTime); !strings.Contains(text, "out of date") && time.Now().Before(end); text = said() {
			time.Sleep(time.Second)
		}
		if !strings.Contains(text, "the newest state is on disk "+serial1) {
			t.Errorf("problems: %s", text)
		}
		if err := m.tryLogin(t.Context(), iqn); err == nil {
			t.Error("the older data is served")
		}
		m.powerDown(t)
	})

	t.Run("the disk is back", func(t *testing.T) {
		m := s.boot(t, s.disks...)
		m.awaitLUN(t, iqn)
		if again := m.identity(t); again != first {
			t.Errorf("the LUN changed its identity from\n%+v\nto\n%+v", first, again)
		}
		for range 3 { // raid1 spreads reads over its legs
			run(t, "qemu-io", "-f", "raw", "-r", "-c", "read -P 0x5a 128M 4M", m.url(iqn))
		}
		run(t, "qemu-io", "-f", "raw", "-c", "write -z 128M 4M", "-c", "flush", m.url(iqn))
		compare(t, real, m)
		for end := time.Now().Add(bootTime); ; time.Sleep(time.Second) {
			st := m.status(t)
			if len(st.Pools) == 1 && st.Pools[0].State == "healthy" && st.Health == status.OK {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("health %s, pools %+v, problems %+v", st.Health, st.Pools, st.Problems)
			}
		}
		m.Kill()
	})

	t.Run("the disks in another appliance", func(t *testing.T) {
		s.configure(t, "hostname = \"cellar\"\n")
		m := s.boot(t, s.disks...)
		m.says(t, "pool tank is here", "sanctl pool adopt tank")
		if st := m.status(t); len(st.Pools) != 0 || len(st.Offers) != 1 || len(st.Offers[0].Volumes) != 2 {
			t.Errorf("pools %+v, offers %+v", st.Pools, st.Offers)
		}
		if out := m.shell(t, "dmsetup ls"); strings.Contains(out, "tank") {
			t.Errorf("the pool is active unasked:\n%s", out)
		}
		if said := m.shell(t, "sanctl pool adopt tank"); !strings.Contains(said, "volume vm1 is new") {
			t.Fatalf("sanctl pool adopt says\n%s", said)
		}
		m.apply(t, strings.Replace(goodTOML, `"256MiB"`, `"384MiB"`, 1))
		m.awaitLUN(t, iqn)
		if again := m.identity(t); again != first {
			t.Errorf("the LUN changed its identity from\n%+v\nto\n%+v", first, again)
		}
		compare(t, real, m)
		m.Kill()
	})
}

// TestBrokenConfiguration boots with a file that has errors: before there ever
// was a good one, and after.
func TestBrokenConfiguration(t *testing.T) {
	t.Parallel()
	broken := strings.Replace(goodTOML, "layout =", "lay0ut =", 1)
	line := 1 + strings.Count(broken[:strings.Index(broken, "lay0ut")], "\n")
	where := fmt.Sprintf("appliance.toml:%d: ", line)

	t.Run("from the start", func(t *testing.T) {
		s := newSite(t, broken)
		m := s.boot(t, s.disks...)
		m.says(t, where, "lay0ut")
		st := m.status(t)
		if st.Config.InForce != "none" || len(st.Targets) != 0 || st.Health != status.Failed {
			t.Errorf("in force %q, targets %+v, health %s; want none, none, failed", st.Config.InForce, st.Targets, st.Health)
		}
		m.powerDown(t)
		for _, d := range s.disks {
			blank(t, d.Path)
		}
	})

	t.Run("after a good one", func(t *testing.T) {
		s := newSite(t, goodTOML)
		m := s.boot(t, s.disks...)
		m.awaitLUN(t, iqn)
		first := m.identity(t)
		run(t, "qemu-io", "-f", "raw", "-c", "write -P 0xa5 0 1M", "-c", "flush", m.url(iqn))
		m.powerDown(t)
		s.edit(t, goodTOML+"nane = 1\n")

		m = s.boot(t, s.disks...)
		m.says(t, fmt.Sprintf("appliance.toml:%d: ", 1+strings.Count(goodTOML, "\n")), "nane")
		m.awaitLUN(t, iqn)
		if again := m.identity(t); again != first {
			t.Errorf("the LUN changed its identity from\n%+v\nto\n%+v", first, again)
		}
		run(t, "qemu-io", "-f", "raw", "-r", "-c", "read -P 0xa5 0 1M", m.url(iqn))
		if st := m.status(t); st.Config.InForce != "last-good" || len(st.Config.Errors) != 1 {
			t.Errorf("config %+v, want last-good in force and one error", st.Config)
		}
		m.Kill()
	})
}

// TestForeignDisk puts a disk with a filesystem where a blank one is wanted.
func TestForeignDisk(t *testing.T) {
	t.Parallel()
	s := newSite(t, goodTOML)
	run(t, "mkfs.ext4", "-q", "-F", s.disks[1].Path)
	before, err := os.ReadFile(s.disks[1].Path)
	if err != nil {
		t.Fatal(err)
	}
	m := s.boot(t, s.disks...)
	m.says(t, serial2, "ext")
	st := m.status(t)
	if st.Health != status.Failed {
		t.Errorf("health %s, want failed", st.Health)
	}
	m.powerDown(t)
	after, err := os.ReadFile(s.disks[1].Path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		t.Error("the disk with a filesystem was written to")
	}
	blank(t, s.disks[0].Path)

	m = s.boot(t, s.disks...)
	m.says(t, "sanctl disk wipe "+serial2)
	if said := m.shell(t, "sanctl disk wipe "+serial2+" </dev/null"); !strings.Contains(said, "--yes") {
		t.Errorf("a disk is wiped unasked:\n%s", said)
	}
	if said := m.shell(t, "sanctl disk wipe --yes "+serial2); !strings.Contains(said, "is blank now") {
		t.Fatalf("the disk can't be wiped:\n%s", said)
	}
	m.awaitLUN(t, iqn) // the pool has taken it
	if said := m.shell(t, "sanctl disk wipe --yes "+serial2); !strings.Contains(said, "belongs to pool tank") {
		t.Errorf("a disk that is in use:\n%s", said)
	}
	m.Kill()
}

// identity is what an initiator tells LUNs apart by.
type identity struct{ serial, designators string }

func (m *machine) identity(t *testing.T) identity {
	t.Helper()
	return identity{
		serial:      run(t, "iscsi-inq", "-e", "1", "-c", "128", m.url(iqn)),
		designators: run(t, "iscsi-inq", "-e", "1", "-c", "131", m.url(iqn)),
	}
}

// admits and refuses try to log in.
func (m *machine) admits(t *testing.T, iqn, initiator, user, secret string) {
	t.Helper()
	if out, err := m.login(t, iqn, initiator, user, secret); err != nil {
		t.Errorf("%s as %s was refused: %s", iqn, initiator, out)
	}
}

func (m *machine) refuses(t *testing.T, iqn, initiator, user, secret string) {
	t.Helper()
	if out, err := m.login(t, iqn, initiator, user, secret); err == nil {
		t.Errorf("%s let %s in as %s with %q: %s", iqn, initiator, user, secret, out)
	}
}

func (m *machine) login(t *testing.T, iqn, initiator, user, secret string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "iscsi-inq", "-i", initiator, m.url(iqn))
	cmd.Env = append(os.Environ(), "LIBISCSI_CHAP_USERNAME="+user, "LIBISCSI_CHAP_PASSWORD="+secret)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// realImage is a disk image that nobody made for a test: a copy of the stick,
// which stays as it is even if someone builds a new one meanwhile.
func realImage(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "real.img")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// compare fails unless the LUN begins with the bytes of the file, and is zero
// behind them.
func compare(t *testing.T, file string, m *machine) {
	t.Helper()
	run(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", file, m.url(iqn))
}

// says waits until the console shows a line with all words, in that order.
func (m *machine) says(t *testing.T, words ...string) {
	t.Helper()
	pattern := ""
	for _, w := range words {
		pattern += regexp.QuoteMeta(w) + `[^\n]*`
	}
	if _, err := m.await(t, pattern); err != nil {
		t.Fatal(err)
	}
}

// powerDown presses the power button and fails unless the machine goes off.
func (m *machine) powerDown(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootTime)
	defer cancel()
	if err := m.PowerDown(ctx); err != nil {
		t.Fatalf("the machine did not go off: %v", err)
	}
}

// blank fails unless the file holds nothing but zeros.
func blank(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf, zero := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); ; {
		n, err := f.Read(buf)
		if !bytes.Equal(buf[:n], zero[:n]) {
			t.Errorf("%s was written to, near byte %d", path, off)
			return
		}
		if off += int64(n); err == io.EOF {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
