//go:build e2e

package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"sanstick/appliance/status"
	"sanstick/imagebuild/qemu"
	"sanstick/target/iscsitest"
)

// reserver is an initiator that uses persistent reservations of LUN 0.
type reserver struct {
	*iscsitest.Conn
	t *testing.T
}

func (m *machine) reserver(t *testing.T, isid byte) reserver {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	c, err := iscsitest.Dial(ctx, fmt.Sprintf("127.0.0.1:%d", m.port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.ISID[5] = isid
	if _, err := c.Login(iscsitest.Names("iqn.2006-12.test.sanstick:node", iqn)...); err != nil {
		t.Fatal(err)
	}
	return reserver{c, t}
}

func (r reserver) do(c iscsitest.Command) iscsitest.Result {
	r.t.Helper()
	for {
		x, err := r.Do(c)
		if err != nil {
			r.t.Fatal(err)
		}
		if x.SenseCode()>>16 != 6 { // what every new session is told
			return x
		}
	}
}

// out does a service action of PERSISTENT RESERVE OUT, with APTPL if it registers.
func (r reserver) out(action, kind byte, key, newKey uint64) {
	r.t.Helper()
	list := make([]byte, 24)
	binary.BigEndian.PutUint64(list, key)
	binary.BigEndian.PutUint64(list[8:], newKey)
	if action == 0 {
		list[20] = 1
	}
	if x := r.do(iscsitest.Command{CDB: []byte{0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0}, Out: list}); x.Status != 0 {
		r.t.Fatalf("PERSISTENT RESERVE OUT, service action %d: status %#x, sense %06x", action, x.Status, x.SenseCode())
	}
}

func (r reserver) in(action byte) []byte {
	r.t.Helper()
	x := r.do(iscsitest.Command{CDB: []byte{0x5e, action, 0, 0, 0, 0, 0, 1, 0, 0}, In: 256})
	if x.Status != 0 {
		r.t.Fatalf("PERSISTENT RESERVE IN, service action %d: status %#x, sense %06x", action, x.Status, x.SenseCode())
	}
	return x.Data
}

// writes tells with which status a write ends.
func (r reserver) writes() byte {
	r.t.Helper()
	return r.do(iscsitest.Write10(0, make([]byte, 512), 512)).Status
}

const conflict = 0x18 // RESERVATION CONFLICT

// TestReservations reserves a volume by PERSISTENT RESERVE OUT with APTPL, and finds
// that again after power cuts: as it was; as it was changed while the stick was out;
// and, the stick's file being damaged, not before all disks are here.
func TestReservations(t *testing.T) {
	t.Parallel()
	s := newSite(t, goodTOML)
	for i := range s.disks {
		s.disks[i].Bus = qemu.SCSI // one is plugged in later
	}
	m := s.boot(t, s.disks...)
	m.awaitLUN(t, iqn)
	r := m.reserver(t, 1)
	if c := r.in(2); len(c) < 4 || c[2]&1 == 0 || c[3]&1 != 0 {
		t.Errorf("REPORT CAPABILITIES before: %x", c)
	}
	r.out(0, 0, 0, 0x11)
	r.out(1, 1, 0x11, 0) // write exclusive
	m.Kill()

	// holds checks that node 1 has the reservation, with this key.
	holds := func(m *machine, key uint64) reserver {
		t.Helper()
		r, other := m.reserver(t, 1), m.reserver(t, 2)
		if x := r.in(1); len(x) < 22 || binary.BigEndian.Uint64(x[8:]) != key || x[21] != 1 {
			t.Errorf("READ RESERVATION: %x, want key %#x", x, key)
		}
		if c := r.in(2); len(c) < 4 || c[2]&1 == 0 || c[3]&1 == 0 {
			t.Errorf("REPORT CAPABILITIES: %x", c)
		}
		if a, b := r.writes(), other.writes(); a != 0 || b != conflict {
			t.Errorf("writing: the holder gets status %#x, another one %#x", a, b)
		}
		return r
	}
	m = s.boot(t, s.disks...)
	m.awaitLUN(t, iqn)
	r = holds(m, 0x11)
	m.awaitStatus(t, "both disks keep a copy of the stick", func(x status.Snapshot) bool {
		return slices.Equal(x.Stick.Copies, []string{serial1, serial2})
	})
	if err := m.Unplug(t.Context(), qemu.StickSerial); err != nil {
		t.Fatal(err)
	}
	m.awaitStatus(t, "the stick is gone", func(x status.Snapshot) bool { return !x.Stick.Here })
	r.out(0, 0, 0x11, 0x22)
	m.Kill()

	s.damage(t)
	m = s.boot(t, s.disks[0])
	m.awaitStatus(t, "nobody knows who has reserved what", func(x status.Snapshot) bool {
		return problem(x, "volumes of pool tank aren't served: it isn't known who has reserved what") && problem(x, serial2)
	})
	m.fails(t, "sanctl pool reservations --yes attic", "pool attic isn't here")
	if err := m.Plug(t.Context(), s.disks[1]); err != nil {
		t.Fatal(err)
	}
	m.awaitServed(t, iqn)
	holds(m, 0x22)
	m.awaitStatus(t, "the stick has them again", func(x status.Snapshot) bool { return !problem(x, "reservations") })
}

// damage cuts off half of the file with the reservations, which is on the stick.
func (s *site) damage(t *testing.T) {
	t.Helper()
	match := firstSector.FindStringSubmatch(run(t, "sgdisk", "-i", "3", s.stick))
	if match == nil {
		t.Fatal("sgdisk doesn't tell where the partition SANSTICK begins")
	}
	sector, err := strconv.ParseInt(match[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	at, name, file := fmt.Sprintf("%s@@%d", s.stick, sector*512), "::sanstick/reservations.json", filepath.Join(s.dir, "reservations.json")
	run(t, "mcopy", "-n", "-i", at, name, file)
	st, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, st.Size()/2); err != nil {
		t.Fatal(err)
	}
	run(t, "mcopy", "-o", "-i", at, file, name)
}
