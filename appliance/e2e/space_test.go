//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sanstick/appliance/status"
	"sanstick/imagebuild/qemu"
	"sanstick/target/iscsitest"
)

const (
	iqnLow  = "iqn.2006-12.test.sanstick:low"
	iqnHigh = "iqn.2006-12.test.sanstick:high"

	spaceDisk = 256 << 20
	piece     = 1 << 20

	softThreshold = 0x063807 // sense key and code of THIN PROVISIONING SOFT THRESHOLD REACHED
	noSpaceLeft   = 0x072707 // SPACE ALLOCATION FAILED WRITE PROTECT
)

// spaceTOML promises 400 MiB on a disk of 256.
const spaceTOML = `
hostname = "attic"

[[pool]]
name   = "tank"
disks  = ["` + serial1 + `"]
layout = "single"

[[volume]]
name     = "low"
pool     = "tank"
size     = "200MiB"
priority = 1

[[volume]]
name     = "high"
pool     = "tank"
size     = "200MiB"
priority = 9

[[target]]
name       = "low"
iqn        = "` + iqnLow + `"
volumes    = ["low"]
initiators = ["*"]

[[target]]
name       = "high"
iqn        = "` + iqnHigh + `"
volumes    = ["high"]
initiators = ["*"]
`

// lun is a session with one LUN, and what must be on it.
type lun struct {
	*iscsitest.Conn
	t       *testing.T
	name    string
	written []int // pieces that were acknowledged
	told    int   // how often space was said to be low
}

// open logs in, and takes what every new session is told.
func (m *machine) open(t *testing.T, iqn string, written ...int) *lun {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	t.Cleanup(cancel)
	c, err := iscsitest.Dial(ctx, fmt.Sprintf("127.0.0.1:%d", m.port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := c.Login(iscsitest.Names("iqn.2006-12.test.sanstick:writer", iqn)...); err != nil {
		t.Fatal(err)
	}
	l := &lun{Conn: c, t: t, name: iqn, written: written}
	for range 5 {
		if l.do(iscsitest.TestUnitReady()).Status == 0 {
			break
		}
	}
	return l
}

// do does a command. If it is told that space is low it notes that, and does the
// command again, as initiators do.
func (l *lun) do(c iscsitest.Command) iscsitest.Result {
	l.t.Helper()
	for {
		r, err := l.Do(c)
		if err != nil {
			l.t.Fatalf("%s: %v", l.name, err)
		}
		if r.SenseCode() != softThreshold {
			return r
		}
		l.told++
	}
}

// content is what piece n of a LUN holds: like no other.
func (l *lun) content(n int) []byte {
	b := make([]byte, piece)
	for at := 0; at < len(b); at += 512 {
		copy(b[at:], fmt.Sprintf("%s %d", l.name, n))
		binary.BigEndian.PutUint64(b[at+500:], uint64(n*piece+at)*0x9e3779b97f4a7c15)
	}
	return b
}

// write writes piece n and returns the sense code of the failure, if it is one.
func (l *lun) write(n int) uint32 {
	l.t.Helper()
	r := l.do(iscsitest.Write10(uint32(n*piece/512), l.content(n), 512))
	if r.Status == 0 {
		l.written = append(l.written, n)
	}
	return r.SenseCode()
}

// writes writes pieces, all of which must be taken.
func (l *lun) writes(from, to int) {
	l.t.Helper()
	for n := from; n < to; n++ {
		if code := l.write(n); code != 0 {
			l.t.Fatalf("%s: piece %d: sense %06x", l.name, n, code)
		}
	}
}

// writesUntilRefused writes pieces until space has run out, and returns the one
// that wasn't taken.
func (l *lun) writesUntilRefused(from, to int) int {
	l.t.Helper()
	for n := from; n < to; n++ {
		switch code := l.write(n); code {
		case 0:
		case noSpaceLeft:
			return n
		default:
			l.t.Fatalf("%s: piece %d: sense %06x, want 7/2707", l.name, n, code)
		}
	}
	l.t.Fatalf("%s: pieces %d to %d were all taken", l.name, from, to)
	return 0
}

func (l *lun) flush() {
	l.t.Helper()
	c := iscsitest.Command{CDB: make([]byte, 10)}
	c.CDB[0] = 0x35
	if r := l.do(c); r.Status != 0 {
		l.t.Fatalf("%s: SYNCHRONIZE CACHE: sense %06x", l.name, r.SenseCode())
	}
}

// check reads what was acknowledged: every piece, or each of so many.
func (l *lun) check(each int) {
	l.t.Helper()
	for i := 0; i < len(l.written); i += each {
		n := l.written[i]
		r := l.do(iscsitest.Read10(uint32(n*piece/512), piece/512, 512))
		if r.Status != 0 || !bytes.Equal(r.Data, l.content(n)) {
			l.t.Fatalf("%s: piece %d isn't what was written: status %d, sense %06x", l.name, n, r.Status, r.SenseCode())
		}
	}
}

// unmap gives pieces back.
func (l *lun) unmap(from, to int) {
	l.t.Helper()
	out := make([]byte, 24)
	out[1], out[3] = 22, 16
	binary.BigEndian.PutUint64(out[8:], uint64(from*piece/512))
	binary.BigEndian.PutUint32(out[16:], uint32((to-from)*piece/512))
	c := iscsitest.Command{CDB: make([]byte, 10), Out: out}
	c.CDB[0], c.CDB[8] = 0x42, byte(len(out))
	if r := l.do(c); r.Status != 0 {
		l.t.Fatalf("%s: UNMAP: sense %06x", l.name, r.SenseCode())
	}
	l.written = slices.DeleteFunc(l.written, func(n int) bool { return n >= from && n < to })
}

// tank waits until what the status says of the pool is as it should be.
func (m *machine) tank(t *testing.T, what string, is func(status.Pool) bool) status.Pool {
	t.Helper()
	var out string
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(500 * time.Millisecond) {
		out = m.shell(t, "sanctl pools --json")
		var all []status.Pool
		// Log lines may come in between.
		if err := json.NewDecoder(strings.NewReader(out[max(0, strings.Index(out, "\n[")):])).Decode(&all); err == nil && len(all) == 1 && is(all[0]) {
			return all[0]
		}
		if time.Now().After(end) {
			t.Fatalf("%s: never; sanctl pools says\n%s", what, out)
		}
	}
}

func refused(p status.Pool) (names []string) {
	for _, v := range p.Volumes {
		if v.Refused {
			names = append(names, v.Name)
		}
	}
	return names
}

// TestSpace fills a pool that promises more than it has, from two initiators.
func TestSpace(t *testing.T) {
	t.Parallel()
	s := &site{dir: t.TempDir()}
	s.stick = filepath.Join(s.dir, "stick.img")
	s.configure(t, spaceTOML)
	path := filepath.Join(s.dir, "disk.img")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, spaceDisk); err != nil {
		t.Fatal(err)
	}
	s.disks = []qemu.Disk{{Path: path, Serial: serial1}}

	m := s.boot(t, s.disks...)
	m.awaitLUN(t, iqnLow)
	low, high := m.open(t, iqnLow), m.open(t, iqnHigh)
	ids := m.ids(t, iqnLow, 0) + m.ids(t, iqnHigh, 0)
	first := m.tank(t, "the pool is there", func(p status.Pool) bool { return p.Size > 0 })
	now := int((first.Size - first.Room) / piece) // of the thin pool
	all := int(first.Size / piece)
	if first.Room < 50<<20 || first.Promised != 400<<20 {
		t.Fatalf("the pool has %d MiB, can grow to %d, and promises %d", now, all, first.Promised/piece)
	}

	// It grows before anybody is told or refused anything.
	high.writes(0, 30)
	low.writes(0, now*84/100-30)
	p := m.tank(t, "the pool grows", func(p status.Pool) bool { return p.Room < first.Room })
	if p.Size != first.Size || low.told > 0 || len(refused(p)) > 0 {
		t.Errorf("after growing: size %d, was %d; told %d times; refused %v", p.Size, first.Size, low.told, refused(p))
	}
	t.Logf("grew from %d MiB; %d of %d used", now, p.Used/piece, p.Size/piece)

	// The volume of low priority is told, then refused; the other one goes on.
	at := low.writesUntilRefused(len(low.written), 200)
	p = m.tank(t, "the status says so", func(p status.Pool) bool { return slices.Contains(refused(p), "low") })
	t.Logf("low was refused after %d MiB, with %d of %d MiB used; told %d times before", at, p.Used/piece, p.Size/piece, low.told)
	if low.told == 0 {
		t.Error("low space was never told")
	}
	if p.Health != status.Failed || slices.Contains(refused(p), "high") {
		t.Errorf("pool %s, refused %v", p.Health, refused(p))
	}
	high.writes(30, 32)
	st := m.status(t)
	if !slices.ContainsFunc(st.Problems, func(p status.Problem) bool {
		return strings.Contains(p.What, "pool tank: writes to volume low are refused") && strings.Contains(p.Do, "trim")
	}) {
		t.Errorf("no problem says what is refused: %+v", st.Problems)
	}
	if said := m.shell(t, "sanctl pools tank"); !strings.Contains(said, "WRITES ARE REFUSED") || !strings.Contains(said, "400 MiB, so it can run out") {
		t.Errorf("sanctl pools says\n%s", said)
	}
	low.check(8) // reading goes on

	// Nothing that was flushed is lost in a power cut now.
	low.flush()
	high.flush()
	m.Kill()
	m = s.boot(t, s.disks...)
	m.awaitLUN(t, iqnLow)
	low, high = m.open(t, iqnLow, low.written...), m.open(t, iqnHigh, high.written...)
	low.check(1)
	high.check(1)

	// In the end nobody may write, and still the pool isn't full.
	low.writesUntilRefused(at, 200)
	at = high.writesUntilRefused(32, 200)
	p = m.tank(t, "the status says so", func(p status.Pool) bool { return len(refused(p)) == 2 })
	t.Logf("high was refused after %d MiB, with %d of %d MiB used", at, p.Used/piece, p.Size/piece)
	if p.Free <= 0 {
		t.Errorf("the pool is full: %+v", p)
	}
	high.flush()

	// A pool that gets full nevertheless, because somebody writes past the target,
	// has writes wait, and goes on when there is space.
	m.shell(t, "(dd if=/dev/zero of=/dev/mapper/tank-high bs=1048576 seek=150 count=40; sync; echo WRIT''TEN) 2>/dev/null & true")
	m.tank(t, "the pool is full", func(p status.Pool) bool { return p.Free == 0 && p.Health == status.Failed })
	if strings.Contains(m.Serial(), "WRITTEN") {
		t.Error("more was written than there is")
	}

	// What is trimmed can be written again at once.
	low.unmap(0, 100)
	if _, err := m.await(t, "WRITTEN"); err != nil {
		t.Errorf("the full pool doesn't go on: %v", err)
	}
	p = m.tank(t, "all may write", func(p status.Pool) bool { return len(refused(p)) == 0 })
	if p.Health != status.OK {
		t.Errorf("health %s: %s", p.Health, p.Detail)
	}
	low.writes(0, 20)
	high.writes(at, at+20)
	low.flush()
	low.check(1)
	high.check(1)
	s.addsDisk(t, m, low, high, at+20)
	if now := m.ids(t, iqnLow, 0) + m.ids(t, iqnHigh, 0); now != ids {
		t.Errorf("the LUNs changed their identity from\n%s\nto\n%s", ids, now)
	}
	m.powerDown(t)
}

// addsDisk fills the pool again, and then adds a disk to it. low has nothing from 20 to
// 100, and high has pieces up to at.
func (s *site) addsDisk(t *testing.T, m *machine, low, high *lun, at int) {
	t.Helper()
	lowAt := low.writesUntilRefused(20, 100)
	at = high.writesUntilRefused(at, 150)
	m.shell(t, fmt.Sprintf("(dd if=/dev/zero of=/dev/mapper/tank-low bs=1048576 seek=%d count=%d; sync; echo MORE WRIT''TEN) 2>/dev/null & true", lowAt, 100-lowAt))
	full := m.tank(t, "the pool is full again", func(p status.Pool) bool { return p.Free == 0 && p.Health == status.Failed })
	if err := m.Plug(t.Context(), s.disk(t, serial2, spaceDisk, qemu.SCSI)); err != nil {
		t.Fatal(err)
	}
	m.disk(t, serial2, "blank")
	if said := m.apply(t, strings.Replace(spaceTOML, `"`+serial1+`"`, `"`+serial1+`", "`+serial2+`"`, 1)); !strings.Contains(said, serial2) {
		t.Errorf("sanctl config apply says\n%s", said)
	}
	if _, err := m.await(t, "MORE WRITTEN"); err != nil {
		t.Errorf("the full pool doesn't go on: %v", err)
	}
	p := m.tank(t, "it has more space", func(p status.Pool) bool { return len(refused(p)) == 0 && p.Health == status.OK })
	if p.Size < full.Size*3/2 {
		t.Errorf("size %d MiB, was %d", p.Size>>20, full.Size>>20)
	}
	low.writes(lowAt, 200)
	high.writes(at, 200)
	low.flush()
	high.flush()
	low.check(1)
	high.check(1)
}
