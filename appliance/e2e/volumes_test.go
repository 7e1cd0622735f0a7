//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sanstick/appliance/status"
	"sanstick/target/iscsitest"
)

const (
	iqnGolden = "iqn.2006-12.test.sanstick:golden"
	iqnClone  = "iqn.2006-12.test.sanstick:clone"
	iqnBig    = "iqn.2006-12.test.sanstick:big"
)

const volumesPool = `
[[pool]]
name   = "tank"
disks  = ["` + serial1 + `", "` + serial2 + `"]
layout = "mirror"

[[volume]]
name = "golden"
pool = "tank"
size = "32MiB"

[[volume]]
name = "ticked"
pool = "tank"
size = "8MiB"

[[volume]]
name = "big"
pool = "tank"
size = "1TiB"

[[volume]]
name = "wide"
pool = "tank"
size = "32MiB"
block = 4096

[[volume]]
name = "fat"
pool = "tank"
size = "32MiB"
thick = true
`

// volumesTOML is the configuration with some volumes more, and these targets:
// pairs of an IQN and its volumes.
func volumesTOML(more string, targets ...string) string {
	text := "hostname = \"attic\"\n" + volumesPool + more
	for i := 0; i < len(targets); i += 2 {
		text += fmt.Sprintf("[[target]]\nname = %q\niqn = %q\nvolumes = [%s]\ninitiators = [\"*\"]\n",
			targets[i][strings.LastIndexByte(targets[i], ':')+1:], targets[i], targets[i+1])
	}
	return text
}

func cloneOf(name, from string) string {
	return fmt.Sprintf("[[volume]]\nname = %q\npool = \"tank\"\nfrom = %q\n", name, from)
}

// lun is how initiators write a LUN.
func (m *machine) lun(iqn string, n int) string {
	return fmt.Sprintf("iscsi://127.0.0.1:%d/%s/%d", m.port, iqn, n)
}

// fill writes a pattern to the beginning of LUN 0; holds reads one back.
func (m *machine) fill(t *testing.T, iqn string, pattern byte, size string) {
	t.Helper()
	run(t, "qemu-io", "-f", "raw", "-c", fmt.Sprintf("write -P %#x 0 %s", pattern, size), "-c", "flush", m.lun(iqn, 0))
}

func (m *machine) holds(t *testing.T, what, iqn string, n int, pattern byte, size string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "qemu-io", "-r", "-f", "raw", "-c", fmt.Sprintf("read -P %#x 0 %s", pattern, size), m.lun(iqn, n)).CombinedOutput()
	if err != nil || strings.Contains(string(out), "verification failed") {
		t.Errorf("%s doesn't hold %#x: %v\n%s", what, pattern, err, out)
	}
}

// says has sanctl do something that must end well, or say why.
func (m *machine) sanctl(t *testing.T, want string, args string) string {
	t.Helper()
	out := m.shell(t, "sanctl "+args)
	if !strings.Contains(out, want) {
		t.Errorf("sanctl %s says\n%s\nwant %q", args, out, want)
	}
	return out
}

// ids are a LUN's designators and serial number.
func (m *machine) ids(t *testing.T, iqn string, n int) string {
	t.Helper()
	return run(t, "iscsi-inq", "-e", "1", "-c", "131", m.lun(iqn, n)) + run(t, "iscsi-inq", "-e", "1", "-c", "128", m.lun(iqn, n))
}

// TestVolumes follows volumes through snapshots, clones, reverting, the trash
// and a power cut.
func TestVolumes(t *testing.T) {
	t.Parallel()
	golden := []string{iqnGolden, `"golden"`, iqnBig, `"big"`}
	s := newSite(t, volumesTOML("", golden...))
	m := s.boot(t, s.disks...)
	m.awaitLUN(t, iqnGolden)
	ids := m.ids(t, iqnGolden, 0)

	// A snapshot keeps what was there, and a clone of it has that.
	m.fill(t, iqnGolden, 0x11, "8M")
	m.sanctl(t, "golden@monday", "volume snapshot golden monday")
	m.fill(t, iqnGolden, 0x22, "8M")
	clone := cloneOf("vm1", "golden@monday")
	served := []string{iqnGolden, `"golden", "golden@monday", "wide", "fat"`, iqnBig, `"big"`, iqnClone, `"vm1"`}
	if said := m.apply(t, volumesTOML(clone, served...)); !strings.Contains(said, "vm1 is new") {
		t.Errorf("sanctl config apply says\n%s", said)
	}
	m.tank(t, "the thick volume is cleared", func(p status.Pool) bool {
		return slices.ContainsFunc(p.Volumes, func(v status.Volume) bool { return v.Name == "fat" && v.Cleared == nil })
	})
	m.holds(t, "golden", iqnGolden, 0, 0x22, "8M")
	m.holds(t, "the snapshot", iqnGolden, 1, 0x11, "8M")
	m.holds(t, "the clone", iqnClone, 0, 0x11, "8M")
	m.readOnlyLUN(t)
	if out := run(t, "iscsi-readcapacity16", m.lun(iqnGolden, 2)); !strings.Contains(out, "4096") {
		t.Errorf("blocks of volume wide aren't of 4096 bytes:\n%s", out)
	}
	m.wideLUN(t)
	run(t, "qemu-io", "-f", "raw", "-c", "write -P 0x55 0 8M", "-c", "flush", m.lun(iqnGolden, 3))
	m.holds(t, "the thick volume", iqnGolden, 3, 0x55, "8M")

	// Reverting, under the same identity; not while somebody is logged in.
	leave := m.logsIn(t, iqnGolden)
	m.sanctl(t, "iqn.2006-12.test.sanstick:user", "volume revert --yes golden@monday")
	leave()
	m.holds(t, "golden after a refused revert", iqnGolden, 0, 0x22, "8M")
	kept := m.sanctl(t, "golden@before-", "volume revert --yes golden@monday")
	m.holds(t, "golden after the revert", iqnGolden, 0, 0x11, "8M")
	m.holds(t, "the snapshot after the revert", iqnGolden, 1, 0x11, "8M")
	kept = regexp.MustCompile(`golden@before-[-0-9T]+`).FindString(kept)
	m.sanctl(t, "golden@before-", "volume revert --yes "+kept)
	m.holds(t, "golden after the revert was undone", iqnGolden, 0, 0x22, "8M")

	// The clone becomes the next golden.
	m.fill(t, iqnClone, 0x33, "8M")
	m.sanctl(t, "golden@before-", "volume promote --yes vm1 golden")
	m.holds(t, "golden after the promotion", iqnGolden, 0, 0x33, "8M")
	if now := m.ids(t, iqnGolden, 0); now != ids {
		t.Errorf("golden's identity was\n%s\nand is\n%s", ids, now)
	}

	// A LUN that goes doesn't move the others.
	cloneID := m.ids(t, iqnClone, 0)
	m.apply(t, volumesTOML(clone, iqnGolden, `"golden", "wide", "fat"`, iqnBig, `"big"`), "--force")
	m.holds(t, "LUN 3 after LUN 1 has gone", iqnGolden, 3, 0x55, "8M")

	// The trash.
	m.sanctl(t, "is in the configuration", "volume delete --yes vm1")
	m.sanctl(t, "needs to be confirmed", "volume delete vm1 </dev/null")
	m.apply(t, volumesTOML("", golden...), "--force")
	m.sanctl(t, "is in the trash", "volume delete --yes vm1")
	m.sanctl(t, "trash+", "volume trash")
	m.sanctl(t, "vm1 is back", "volume restore vm1")
	m.apply(t, volumesTOML(clone, served...))
	m.holds(t, "the restored volume", iqnClone, 0, 0x33, "8M")
	if now := m.ids(t, iqnClone, 0); now != cloneID {
		t.Errorf("the restored volume's identity was\n%s\nand is\n%s", cloneID, now)
	}

	// A name is only a name.
	m.sanctl(t, "is called web", "volume rename vm1 web")
	m.holds(t, "the renamed volume", iqnClone, 0, 0x33, "8M")
	served[len(served)-1] = `"web"`
	m.apply(t, volumesTOML(cloneOf("web", "golden@monday"), served...))
	if now := m.ids(t, iqnClone, 0); now != cloneID {
		t.Errorf("the renamed volume's identity was\n%s\nand is\n%s", cloneID, now)
	}

	m.bigClone(t, served)
	m.schedule(t, volumesTOML(cloneOf("web", "golden@monday"), served...))
	m.growsThick(t, volumesTOML(cloneOf("web", "golden@monday"), served...))

	// What sanctl has said is there after a power cut.
	m.sanctl(t, "golden@last", "volume snapshot golden last")
	m.Kill()
	served[1] = `"golden", "golden@last", "wide", "fat"`
	s.edit(t, volumesTOML(cloneOf("web", "golden@monday"), served...))
	m = s.boot(t, s.disks...)
	m.awaitLUN(t, iqnGolden)
	m.holds(t, "golden after the power cut", iqnGolden, 0, 0x33, "8M")
	m.holds(t, "the renamed volume after the power cut", iqnClone, 0, 0x33, "8M")
	if now := m.ids(t, iqnGolden, 0); now != ids {
		t.Errorf("golden's identity was\n%s\nand is\n%s", ids, now)
	}
	for _, p := range m.status(t).Pools {
		for _, x := range p.Snapshots {
			if x.Name == "golden@last" {
				m.holds(t, "the snapshot before the power cut", iqnGolden, m.numberOf(t, x.Name), 0x33, "8M")
				m.Kill()
				return
			}
		}
	}
	t.Error("the snapshot isn't there after the power cut")
}

// growsThick makes the thick volume larger while it is served.
func (m *machine) growsThick(t *testing.T, text string) {
	t.Helper()
	small := "name = \"fat\"\npool = \"tank\"\nsize = \"32MiB\""
	larger := strings.Replace(text, small, strings.Replace(small, "32", "40", 1), 1)
	if said := m.apply(t, larger); !strings.Contains(said, "32MiB -> 40MiB") {
		t.Errorf("sanctl config apply says\n%s", said)
	}
	for end := time.Now().Add(time.Minute); !strings.Contains(run(t, "iscsi-readcapacity16", m.lun(iqnGolden, 3)), "41943040"); time.Sleep(time.Second) {
		if time.Now().After(end) {
			t.Fatal("the thick volume doesn't grow")
		}
	}
	m.holds(t, "the thick volume after it has grown", iqnGolden, 3, 0x55, "8M")
	if out := run(t, "qemu-io", "-f", "raw", "-c", "read -P 0 32M 8M", "-c", "write -P 0x56 36M 4M", "-c", "flush", m.lun(iqnGolden, 3)); strings.Contains(out, "verification failed") {
		t.Errorf("what the thick volume has got isn't clear:\n%s", out)
	}
}

// numberOf is the LUN as which something is served.
func (m *machine) numberOf(t *testing.T, name string) int {
	t.Helper()
	for _, target := range m.status(t).Targets {
		for _, l := range target.LUNs {
			if l.Volume == name {
				return l.Number
			}
		}
	}
	t.Fatalf("%s isn't served", name)
	return 0
}

// logsIn logs an initiator in until it is told to leave.
func (m *machine) logsIn(t *testing.T, iqn string) (leave func()) {
	t.Helper()
	c := m.session(t, iqn)
	return func() {
		c.Close()
		for range 100 {
			if slices.IndexFunc(m.status(t).Targets, func(x status.Target) bool { return x.IQN == iqn && len(x.Sessions) > 0 }) < 0 {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Error("the session doesn't end")
	}
}

func (m *machine) session(t *testing.T, iqn string) *iscsitest.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	c, err := iscsitest.Dial(ctx, fmt.Sprintf("127.0.0.1:%d", m.port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := c.Login(iscsitest.Names("iqn.2006-12.test.sanstick:user", iqn)...); err != nil {
		t.Fatal(err)
	}
	return c
}

// readOnlyLUN checks that LUN 1 can't be written, and says so.
func (m *machine) readOnlyLUN(t *testing.T) {
	t.Helper()
	c := m.session(t, iqnGolden)
	defer c.Close()
	do := func(cmd iscsitest.Command) iscsitest.Result {
		cmd.LUN = 1
		for {
			r, err := c.Do(cmd)
			if err != nil {
				t.Fatal(err)
			}
			if r.SenseCode()>>16 != 6 { // what every new session is told
				return r
			}
		}
	}
	if code := do(iscsitest.Write10(0, make([]byte, 512), 512)).SenseCode(); code != 0x072700 {
		t.Errorf("sense %06x for a write to a snapshot, want 7/2700", code)
	}
	// MODE SENSE(6), all pages: byte 2 of the header has WP.
	mode := do(iscsitest.Command{CDB: []byte{0x1a, 0, 0x3f, 0, 192, 0}, In: 192})
	if len(mode.Data) < 4 || mode.Data[2]&0x80 == 0 {
		t.Errorf("mode parameters of a snapshot %x don't say that it is write-protected", mode.Data)
	}
}

// wideLUN writes and reads blocks of 4096 bytes. (qemu-io can't open such a LUN
// read-only.)
func (m *machine) wideLUN(t *testing.T) {
	t.Helper()
	c := m.session(t, iqnGolden)
	defer c.Close()
	data := bytes.Repeat([]byte{0x44}, 8*4096)
	write, read := iscsitest.Write10(5, data, 4096), iscsitest.Read10(5, 8, 4096)
	write.LUN, read.LUN = 2, 2
	for range 5 { // what every new session is told comes first
		if r, err := c.Do(write); err != nil || r.SenseCode()>>16 != 6 {
			break
		}
	}
	if r, err := c.Do(read); err != nil || r.Status != 0 || !bytes.Equal(r.Data, data) {
		t.Errorf("what was written in blocks of 4096 isn't read: %v, status %d, sense %06x", err, r.Status, r.SenseCode())
	}
}

// quick is how long a person may have to wait until a snapshot or a clone is made
// and served, of whatever size, with the two processors that the machine has to
// itself. Where others are at work, too, it takes longer.
const quick = 3 * time.Second

// patience is quick on this host, as busy as it is now.
func patience(t *testing.T) time.Duration {
	t.Helper()
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		t.Fatal(err)
	}
	load, err := strconv.ParseFloat(strings.Fields(string(b))[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(float64(quick) * max(1, load/float64(runtime.NumCPU())))
}

// bigClone measures how long it takes until a clone of 1 TiB is served, a new
// volume, and until a snapshot of 1 TiB is made.
func (m *machine) bigClone(t *testing.T, served []string) {
	t.Helper()
	run(t, "qemu-io", "-f", "raw", "-c", "write -P 0x77 1023G 4M", "-c", "flush", m.lun(iqnBig, 0))
	const iqnCopy, iqnNew = "iqn.2006-12.test.sanstick:copy", "iqn.2006-12.test.sanstick:new"
	more := cloneOf("web", "golden@monday") + cloneOf("copy", "big")
	served = append(slices.Clone(served), iqnCopy, `"copy"`)
	m.servesSoon(t, "a clone of 1 TiB", volumesTOML(more, served...), iqnCopy)
	run(t, "qemu-io", "-r", "-f", "raw", "-c", "read -P 0x77 1023G 4M", m.lun(iqnCopy, 0))

	limit, start := patience(t), time.Now()
	m.sanctl(t, "big@quick", "volume snapshot big quick")
	told(t, "a snapshot of 1 TiB was made", time.Since(start), limit)
	m.sanctl(t, "is in the trash", "volume delete --yes big@quick")

	more += "[[volume]]\nname = \"new\"\npool = \"tank\"\nsize = \"1TiB\"\n"
	m.servesSoon(t, "a new volume of 1 TiB", volumesTOML(more, append(served, iqnNew, `"new"`)...), iqnNew)
}

// servesSoon applies a configuration and measures how long it takes until an
// initiator is let in to what it adds.
func (m *machine) servesSoon(t *testing.T, what, toml, iqn string) {
	t.Helper()
	get := m.fetched(t, toml)
	m.shell(t, get+" </dev/null >/tmp/new.toml")
	limit, start := patience(t), time.Now()
	m.send(t, "sanctl config apply /tmp/new.toml </dev/null >/dev/null 2>&1; echo APP''LIED-"+iqn)
	for m.tryLogin(t.Context(), iqn) != nil && time.Since(start) < time.Minute {
		time.Sleep(250 * time.Millisecond) // each try costs the machine some of its time
	}
	told(t, what+" answered", time.Since(start), limit)
	if _, err := m.await(t, `(?s)APPLIED-`+regexp.QuoteMeta(iqn)+`.*\$ `); err != nil {
		t.Fatal(err)
	}
}

func told(t *testing.T, what string, took, limit time.Duration) {
	t.Helper()
	t.Logf("%s %.2f s after the command", what, took.Seconds())
	if took > limit {
		t.Errorf("%s %v after the command, want %v at most (%v on an idle machine)", what, took, limit, quick)
	}
}

// schedule checks that scheduled snapshots are made and retired.
func (m *machine) schedule(t *testing.T, toml string) {
	t.Helper()
	const size = "size = \"8MiB\"\n"
	m.apply(t, strings.Replace(toml, size, size+"snapshot = { every = \"10s\", keep = 2 }\n", 1), "--force")
	defer m.apply(t, toml)
	list := func() (names []string) {
		var all []status.VolumeSnapshot
		out := m.shell(t, "sanctl snapshots --json ticked")
		if err := json.NewDecoder(strings.NewReader(out[max(0, strings.Index(out, "\n[")):])).Decode(&all); err != nil {
			t.Logf("cannot read %q: %v", out, err) // log lines may have come in between
			return nil
		}
		for _, s := range all {
			if !s.Scheduled {
				t.Errorf("snapshot %+v isn't the schedule's", s)
			}
			names = append(names, s.Name)
		}
		return names
	}
	var first, now []string
	for end := time.Now().Add(time.Minute); len(first) < 2 && time.Now().Before(end); first = list() {
		time.Sleep(time.Second)
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(2 * time.Second) {
		if now = list(); len(now) == 2 && len(first) > 0 && !slices.Contains(now, first[0]) {
			return
		}
	}
	t.Errorf("the snapshots were %v and are %v; want two, and the older one retired", first, now)
}
