package scsi

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/target/block/memdev"
)

// Who may use which command under which reservation: SPC-4 tables 65 and 66,
// SBC-3 table 13, for a nexus that isn't registered. Commands that fail for
// other reasons are allowed, too.
func TestConflictTable(t *testing.T) {
	sector := make([]byte, 512)
	for _, tt := range []struct {
		name, cdb string
		out       []byte
		write     bool // conflicts with Write Exclusive
		exclusive bool // conflicts with Exclusive Access
	}{
		{"TEST UNIT READY", "00", nil, false, false},
		{"REQUEST SENSE", "03 00 00 00 ff 00", nil, false, false},
		{"INQUIRY", "12 00 00 00 ff 00", nil, false, false},
		{"REPORT LUNS", "a0 00 00 000000 00000100 00", nil, false, false},
		{"MODE SENSE (6)", "1a 00 3f 00 ff 00", nil, false, true},
		{"MODE SENSE (10)", "5a 00 3f 00 000000 00ff 00", nil, false, true},
		{"READ CAPACITY (10)", "25", nil, false, false},
		{"READ CAPACITY (16)", "9e 10 0000000000000000 000000ff 00", nil, false, false},
		{"REPORT SUPPORTED OPERATION CODES", "a3 0c 00 000000 0000ffff 00 00", nil, false, true},
		{"READ (6)", "08 00 0000 01 00", nil, false, true},
		{"READ (10)", "28 00 00000000 00 0001 00", nil, false, true},
		{"READ (16)", "88 00 0000000000000000 00000001 00", nil, false, true},
		{"VERIFY (10)", "2f 00 00000000 00 0001 00", nil, false, true},
		{"WRITE (6)", "0a 00 0000 01 00", sector, true, true},
		{"WRITE (10)", "2a 00 00000000 00 0001 00", sector, true, true},
		{"WRITE (16)", "8a 00 0000000000000000 00000001 00", sector, true, true},
		{"WRITE SAME (16)", "93 00 0000000000000000 00000001 00", sector, true, true},
		{"UNMAP", "42 00 00000000 00 0018 00", make([]byte, 24), true, true},
		{"SYNCHRONIZE CACHE (10)", "35", nil, true, true},
		{"REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", "a3 0d 00 000000 0000ffff 00 00", nil, false, true},
		{"REPORT TARGET PORT GROUPS", "a3 0a 00 000000 0000ffff 00 00", nil, false, false},
		{"SET TARGET PORT GROUPS", "a4 0a 00 000000 00000000 00 00", nil, true, true},
		{"REPORT TIMESTAMP", "a3 0f 00 000000 0000ffff 00 00", nil, false, false},
		{"SET TIMESTAMP", "a4 0f 00 000000 00000000 00 00", nil, true, true},
		{"MODE SELECT (6)", "15 10 0000 00 00", nil, true, true},
		{"LOG SENSE", "4d 00 40 00 00 0000 00ff 00", nil, false, false},
		{"LOG SELECT", "4c 00 40 00 00 0000 0000 00", nil, true, true},
		{"SEND DIAGNOSTIC", "1d 04 00 0000 00", nil, true, true},
		{"RECEIVE DIAGNOSTIC RESULTS", "1c 01 00 00ff 00", nil, false, true},
		{"START STOP UNIT, start", "1b 00 00 00 01 00", nil, false, false},
		{"START STOP UNIT, stop", "1b 00 00 00 00 00", nil, true, true},
		{"PRE-FETCH (10)", "34 00 00000000 00 0001 00", nil, false, true},
		{"WRITE AND VERIFY (10)", "2e 00 00000000 00 0001 00", sector, true, true},
		{"COMPARE AND WRITE", "89 00 0000000000000000 000000 01 00 00", make([]byte, 1024), true, true},
		{"ORWRITE (16)", "8b 00 0000000000000000 00000001 00", sector, true, true},
		{"GET LBA STATUS", "9e 12 0000000000000000 00000018 00", nil, false, true},
		{"READ DEFECT DATA (10)", "37 00 00 00000000 0008 00", nil, false, true},
		{"SANITIZE, EXIT FAILURE MODE", "48 1f 0000000000 0000 00", nil, true, true},
		{"EXTENDED COPY (LID1)", "83 00 0000000000000000 00000000 00", nil, true, true},
		{"RECEIVE COPY OPERATING PARAMETERS", "84 03 0000000000000000 000000ff 00", nil, false, false},
		{"READ KEYS", "5e 00 0000000000 ffff 00", nil, false, false},
		{"READ RESERVATION", "5e 01 0000000000 ffff 00", nil, false, false},
		{"REPORT CAPABILITIES", "5e 02 0000000000 ffff 00", nil, false, false},
		{"READ FULL STATUS", "5e 03 0000000000 ffff 00", nil, false, false},
		{"REGISTER", "5f 00 00 0000 00000018 00", parameters(0, 0, 0), false, false},
		{"REGISTER AND IGNORE", "5f 06 00 0000 00000018 00", parameters(0, 0, 0), false, false},
		{"RESERVE", "5f 01 01 0000 00000018 00", parameters(0, 0, 0), true, true},
		{"RELEASE", "5f 02 01 0000 00000018 00", parameters(0, 0, 0), true, true},
		{"CLEAR", "5f 03 00 0000 00000018 00", parameters(0, 0, 0), true, true},
		{"PREEMPT", "5f 04 01 0000 00000018 00", parameters(0, 0xa, 0), true, true},
		{"PREEMPT AND ABORT", "5f 05 01 0000 00000018 00", parameters(0, 0xa, 0), true, true},
		{"RESERVE (6)", "16", nil, true, true},
		{"RESERVE (10)", "56", nil, true, true},
		{"RELEASE (6)", "17", nil, true, true},
		{"RELEASE (10)", "57", nil, true, true},
	} {
		for _, kind := range []prType{1, 3, 5, 6, 7, 8} {
			c := newCluster(t, UnitOptions{Thin: true})
			c.do("a", prRegister, 0, 0, 0xa)
			c.do("b", prRegister, 0, 0, 0xb)
			c.do("a", prReserve, kind, 0xa, 0)
			free := func(node string) bool {
				return run(c.nodes[node], 0, tt.cdb, tt.out).Status != ReservationConflict
			}
			want := !(tt.write && !kind.exclusive() || tt.exclusive && kind.exclusive())
			if got := free("c"); got != want {
				t.Errorf("%s under type %d: allowed %v for others", tt.name, kind, got)
			}
			// PERSISTENT RESERVE OUT has keys to check before all else; b's come
			// with none.
			if strings.HasPrefix(tt.cdb, "5") && tt.cdb[:2] != "5a" {
				continue
			}
			if !free("a") {
				t.Errorf("%s under type %d: conflict for the holder", tt.name, kind)
			}
			want = want || kind.shared()
			if got := free("b"); got != want {
				t.Errorf("%s under type %d: allowed %v for the registered", tt.name, kind, got)
			}
		}
	}
}

// RESERVE (6) and (10) without persistent reservations, as in SPC-2.
func TestReserve(t *testing.T) {
	for _, op := range []struct{ reserve, release string }{{"16", "17"}, {"56", "57"}, {"16", "57"}} {
		c := newCluster(t, UnitOptions{})
		status := func(node, cdb string, out []byte, want Status) {
			t.Helper()
			if r := run(c.nodes[node], 0, cdb, out); r.Status != want {
				t.Errorf("%s: %s: %v, want %v", node, cdb, r.Status, want)
			}
		}
		c.told("a", 0)
		status("a", op.release, nil, Good)
		status("a", op.reserve, nil, Good)
		status("a", op.reserve, nil, Good)
		status("b", op.reserve, nil, ReservationConflict)
		status("b", op.release, nil, Good) // does nothing
		for cdb, free := range map[string]bool{
			"00": false, "28 00 00000000 00 0001 00": false, "1a 00 3f 00 ff 00": false, "12 00 00 00 ff 00": true,
			"03 00 00 00 ff 00": true, "a0 00 00 000000 00000100 00": true, "25": true,
		} {
			want := ReservationConflict
			if free {
				want = Good
			}
			status("b", cdb, nil, want)
			status("a", cdb, nil, Good)
		}
		for _, node := range []string{"a", "b"} { // "regardless of initiator"
			status(node, "5e 00 0000000000 ffff 00", nil, ReservationConflict)
			status(node, "5f 00 00 0000 00000018 00", parameters(0, 1, 0), ReservationConflict)
		}
		status("a", op.release, nil, Good)
		status("b", "00", nil, Good)

		// It ends with its nexus, and with a reset, but for nobody else's end.
		status("a", op.reserve, nil, Good)
		c.nodes["b"].Close()
		status("c", "00", nil, ReservationConflict)
		c.nodes["a"].Close()
		status("c", op.reserve, nil, Good)
		c.dev.ResetUnit([8]byte{}, nil)
		c.told("c", deviceReset)
		c.told("d", deviceReset)
		status("d", op.reserve, nil, Good)
		c.dev.Reset(nil)
		c.told("c", scsiBusReset)
		status("c", op.reserve, nil, Good)
		if err := c.dev.Detach(0); err != nil {
			t.Fatal(err)
		}
		if g := c.unit.reservations.guard.Load(); g != nil {
			t.Error("the reservation outlives its path")
		}
	}
	c := newCluster(t, UnitOptions{})
	for _, cdb := range []string{"16 01", "16 10", "16 00 01", "16 00 00 0001", "17 01", "56 10", "56 02", "56 01", "56 00 000000 00 0001", "57 10"} {
		wantSense(t, run(c.nodes["a"], 0, cdb, nil), illegalRequest, invalidFieldInCDB)
	}
}

// RESERVE and RELEASE where there are persistent reservations (SPC-4 section
// 5.13.3).
func TestCompatibleReservationHandling(t *testing.T) {
	for _, kind := range []prType{0, 1, 3, 5, 6, 7, 8} {
		c := newCluster(t, UnitOptions{})
		c.do("a", prRegister, 0, 0, 0xa)
		c.do("b", prRegister, 0, 0, 0xb)
		if kind != 0 {
			c.do("a", prReserve, kind, 0xa, 0)
		}
		held := c.reserved()
		want := map[string]bool{"a": kind != 0, "b": kind.shared(), "c": false}
		got := map[string]bool{}
		for node := range want {
			reserve, release := run(c.nodes[node], 0, "16", nil).Status, run(c.nodes[node], 0, "57", nil).Status
			if reserve != release || reserve != Good && reserve != ReservationConflict {
				t.Errorf("type %d, %s: RESERVE %v, RELEASE %v", kind, node, reserve, release)
			}
			got[node] = reserve == Good
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("type %d: who may (-want +got):\n%s", kind, diff)
		}
		c.want("a b ", held) // nothing has changed
	}
}

// A reservation that comes while the data of a write is on its way counts.
func TestConflictWhenTaskStarts(t *testing.T) {
	c := newCluster(t, UnitOptions{})
	task := c.nodes["b"].NewTask([8]byte{}, cdb("2a 00 00000000 00 0001 00"))
	if n := task.DataOutLength(); n != 512 {
		t.Fatalf("wants %d bytes", n)
	}
	c.do("a", prRegister, 0, 0, 0xa)
	c.do("a", prReserve, writeExclusive, 0xa, 0)
	if r := task.Run(bytes.Repeat([]byte{1}, 512), nil); r.Status != ReservationConflict {
		t.Errorf("%v, want a conflict", r.Status)
	}
	got := make([]byte, 512)
	if _, err := c.mem.ReadAt(got, 0); err != nil || !zero(got) {
		t.Errorf("the write was done, %v", err)
	}
}

// Resets don't touch persistent reservations.
func TestResetKeepsPersistentReservation(t *testing.T) {
	c := newCluster(t, UnitOptions{})
	c.do("a", prRegister, 0, 0, 0xa)
	c.do("a", prReserve, exclusiveAccess, 0xa, 0)
	c.dev.ResetUnit([8]byte{}, c.nexus)
	c.dev.Reset(c.nexus)
	c.want("a ", "a/3")
	if err := c.dev.Detach(0); err != nil {
		t.Fatal(err)
	}
	if err := c.dev.Attach(5, c.unit); err != nil {
		t.Fatal(err)
	}
	if r := run(c.nexus, 5, "00", nil); r.Status != CheckCondition {
		t.Errorf("after Attach: %v", r.Status)
	}
	if r := run(c.nexus, 5, "28 00 00000000 00 0001 00", nil); r.Status != ReservationConflict {
		t.Errorf("read: %v, want a conflict", r.Status)
	}
}

// The check costs nothing that matters as long as there is no reservation.
func BenchmarkConflictCheck(b *testing.B) {
	for _, kind := range []prType{0, writeExclusiveRegistrants} {
		b.Run(fmt.Sprint("type ", kind), func(b *testing.B) {
			r := newRig(b, memdev.Options{}, UnitOptions{})
			if kind != 0 {
				run(r.nexus, 0, "5f 00 00 0000 00000018 00", parameters(0, 1, 0))
				run(r.nexus, 0, "5f 01 05 0000 00000018 00", parameters(1, 0, 0))
			}
			task := r.nexus.NewTask([8]byte{}, cdb("28 00 00000000 00 0001 00"))
			for b.Loop() {
				if task.conflicts() {
					b.Fatal("conflict")
				}
			}
		})
	}
}

// What is true of a removable medium alone.
func TestConflictMediumRemoval(t *testing.T) {
	c := newCluster(t, UnitOptions{Removable: true})
	for _, n := range []string{"a", "b"} {
		c.do(n, prRegisterIgnore, 0, 0, uint64(n[0]))
	}
	if r := run(c.nodes["b"], 0, "1e 00 0000 01 00", nil); r.Status != Good {
		t.Fatalf("PREVENT: %v", r.Status)
	}
	c.do("a", prReserve, writeExclusive, 'a', 0)
	for cdb, want := range map[string]Status{"1e 00 0000 01 00": ReservationConflict, "1e 00 0000 00 00": Good} {
		if r := run(c.nodes["c"], 0, cdb, nil); r.Status != want {
			t.Errorf("%s: %v, want %v", cdb, r.Status, want)
		}
	}
	if !c.unit.prevented() {
		t.Fatal("nobody prevents removal")
	}
	c.do("a", prPreempt, writeExclusive, 'a', 'b')
	c.told("b", registrationsPreempted)
	c.do("b", prRegister, 0, 0, 'b')
	if !c.unit.prevented() {
		t.Error("PREEMPT allows removal")
	}
	c.do("a", prPreemptAbort, writeExclusive, 'a', 'b')
	if c.unit.prevented() {
		t.Error("PREEMPT AND ABORT doesn't allow removal for the preempted")
	}
}
