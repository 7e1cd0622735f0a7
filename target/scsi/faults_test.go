package scsi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"sanstick/target/block"
	"sanstick/target/block/faultdev"
)

// mediumCases are a CDB and data-out, for blocks of 512 bytes, for each row of
// the command table that reads or changes the medium.
var mediumCases = map[string]struct {
	cdb string
	out []byte
}{
	"READ (6)":                    {"08 00 0000 01 00", nil},
	"READ (10)":                   {"28 08 00000000 00 0001 00", nil},
	"READ (12)":                   {"a8 08 00000000 00000001 00 00", nil},
	"READ (16)":                   {"88 08 0000000000000000 00000001 00 00", nil},
	"WRITE (6)":                   {"0a 00 0000 01 00", make([]byte, 512)},
	"WRITE (10)":                  {"2a 08 00000000 00 0001 00", make([]byte, 512)},
	"WRITE (12)":                  {"aa 08 00000000 00000001 00 00", make([]byte, 512)},
	"WRITE (16)":                  {"8a 08 0000000000000000 00000001 00 00", make([]byte, 512)},
	"VERIFY (10)":                 {"2f 02 00000000 00 0001 00", make([]byte, 512)},
	"VERIFY (12)":                 {"af 00 00000000 00000001 00 00", nil},
	"VERIFY (16)":                 {"8f 06 0000000000000000 00000001 00 00", make([]byte, 512)},
	"SYNCHRONIZE CACHE (10)":      {"35", nil},
	"SYNCHRONIZE CACHE (16)":      {"91 02", nil},
	"WRITE SAME (10)":             {"41 00 00000000 00 0001 00", bytes.Repeat([]byte{1}, 512)},
	"WRITE SAME (16)":             {"93 09 0000000000000000 00000001 00 00", nil},
	"UNMAP":                       {"42 00 00000000 00 0018 00", unmapList(blockRange{0, 1})},
	"WRITE AND VERIFY (10)":       {"2e 02 00000000 00 0001 00", make([]byte, 512)},
	"WRITE AND VERIFY (12)":       {"ae 00 00000000 00000001 00 00", make([]byte, 512)},
	"WRITE AND VERIFY (16)":       {"8e 02 0000000000000000 00000001 00 00", make([]byte, 512)},
	"PRE-FETCH (10)":              {"34 00 00000000 00 0001 00", nil},
	"PRE-FETCH (16)":              {"90 02 0000000000000000 00000001 00 00", nil},
	"COMPARE AND WRITE":           {"89 08 0000000000000000 000000 01 00 00", make([]byte, 1024)},
	"ORWRITE (16)":                {"8b 08 0000000000000000 00000001 00 00", make([]byte, 512)},
	"WRITE ATOMIC (16)":           {"9c 08 0000000000000000 0000 0001 00 00", make([]byte, 512)},
	"SANITIZE, OVERWRITE":         {"48 01 0000000000 0005 00", []byte{1, 0, 0, 1, 9}},
	"SANITIZE, BLOCK ERASE":       {"48 02", nil},
	"SANITIZE, EXIT FAILURE MODE": {"48 1f", nil}, // does nothing to the medium
}

// Whatever of the device fails, no command says GOOD that has used it, and a
// pool that is full is told as such.
func TestNoCommandHidesAnError(t *testing.T) {
	for _, c := range rows() {
		if c.flags&(writes|extent|repairs) == 0 {
			continue
		}
		tt, ok := mediumCases[c.name]
		if !ok {
			t.Errorf("%s reads or changes the medium: it needs a line in mediumCases", c.name)
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			command := cdb(tt.cdb)
			if got := commands.find([16]byte(command)); got == nil || got.name != c.name {
				t.Fatalf("%s is another command", tt.cdb)
			}
			used := 0
			for op := faultdev.Read; op <= faultdev.Mapped; op++ {
				for _, err := range []error{block.ErrMedium, block.ErrNoSpace} {
					if failsAlways(t, &c, command, tt.out, op, err) {
						used++
					}
				}
			}
			if used == 0 && c.name != "SANITIZE, EXIT FAILURE MODE" {
				t.Error("the line in mediumCases does nothing to the device")
			}
		})
	}
}

// failsAlways runs a command, on a medium that holds data, with one kind of
// call failing. It reports whether the command has called that.
func failsAlways(t *testing.T, c *command, b, out []byte, op faultdev.Op, err error) bool {
	t.Helper()
	r := rigWith(t, c)
	r.good(t, "93 00 0000000000000000 00000008 00 00", make([]byte, 512))
	if _, err := r.mem.WriteAt(make([]byte, 512), 0); err != nil {
		t.Fatal(err)
	}
	r.fault.FailAll(op, fmt.Errorf("test: %w", err))
	before := r.fault.Calls(op)
	got := r.do(b, out)
	if r.fault.Calls(op) == before {
		if got.Status != Good {
			t.Errorf("%v, sense %x, although nothing failed", got.Status, got.Sense)
		}
		return false
	}
	if got.Status != CheckCondition || len(got.Sense) < 18 || len(got.Data) > 0 {
		t.Errorf("call %d fails with %q: %v, %d bytes", op, err, got.Status, len(got.Data))
		return true
	}
	want := map[error]code{block.ErrMedium: writeError, block.ErrNoSpace: spaceAllocationFailed}[err]
	switch {
	case c.flags&repairs != 0:
		want = sanitizeFailed
	case err == block.ErrMedium && (op == faultdev.Read || op == faultdev.Mapped):
		want = unrecoveredReadError
	}
	if is := code(binary.BigEndian.Uint16(got.Sense[12:])); is != want {
		t.Errorf("call %d fails with %q: sense %x, want code %04x", op, err, got.Sense, want)
	}
	return true
}

// A write that fails in the middle of several is not a success either.
func TestLaterCallsFail(t *testing.T) {
	for _, tt := range []struct {
		name    string
		command []byte
		out     []byte
		op      faultdev.Op
	}{
		{"WRITE SAME", transfer(0x93, 0, 1024, 0), bytes.Repeat([]byte{1}, 512), faultdev.Write},
		{"ORWRITE, reading", transfer(0x8b, 0, 1024, 0), bytes.Repeat([]byte{1}, 1024*512), faultdev.Read},
		{"ORWRITE, writing", transfer(0x8b, 0, 1024, 0), bytes.Repeat([]byte{1}, 1024*512), faultdev.Write},
		{"WRITE AND VERIFY", transfer(0x8e, 0, 1024, 2), bytes.Repeat([]byte{1}, 1024*512), faultdev.Read},
		{"VERIFY", transfer(0x8f, 0, 1024, 0), nil, faultdev.Read},
		{"PRE-FETCH", transfer(0x90, 0, 1024, 0), nil, faultdev.Read},
		{"UNMAP", cdb("42 00 00000000 00 0028 00"), unmapList(blockRange{0, 1}, blockRange{8, 1}), faultdev.Unmap},
	} {
		r := allRigs(t)[0]
		r.fault.FailNth(tt.op, 2, block.ErrNoSpace)
		wantSense(t, r.do(tt.command, tt.out), dataProtect, spaceAllocationFailed)
	}
}
