package scsi

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/target/block/memdev"
)

var comparePR = cmp.AllowUnexported(prState{}, registration{}, itNexus{})

func sampleState() prState {
	s := prState{aptpl: true, kind: exclusiveAccessRegistrants}
	for i := range 3 {
		s.registrations = append(s.registrations, registration{itNexus{nodePort(string(rune('a' + i))), testPort.Name}, 1, uint64(i + 1)})
	}
	s.holder = s.registrations[1].nexus
	return s
}

func TestStateEncoding(t *testing.T) {
	naa := NAAFromUUID("x")
	all, none, empty := sampleState(), sampleState(), prState{aptpl: true}
	all.kind, all.holder = writeExclusiveAll, itNexus{}
	none.kind, none.holder = 0, itNexus{}
	full := prState{aptpl: true}
	for i := range maxRegistrations {
		name := fmt.Sprintf("%s%s%012x", strings.Repeat("n", maxName), portSeparator, i)
		full.registrations = append(full.registrations, registration{itNexus{name, strings.Repeat("t", 255)}, 1, 1})
	}
	for i, s := range []prState{sampleState(), all, none, empty, {}, full} {
		b := encodeState(naa, &s)
		if len(b) > maxState {
			t.Errorf("%d: %d bytes", i, len(b))
		}
		got, err := decodeState(naa, b)
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		if diff := cmp.Diff(s, got, comparePR); diff != "" {
			t.Errorf("%d (-want +got):\n%s", i, diff)
		}
	}
	s := sampleState()
	good := encodeState(naa, &s)
	for i := range good { // no bit may change
		for bit := range 8 {
			b := bytes.Clone(good)
			b[i] ^= 1 << bit
			if _, err := decodeState(naa, b); err == nil {
				t.Fatalf("bit %d of byte %d is changed, and nobody notices", bit, i)
			}
		}
	}
	for n := range good {
		if _, err := decodeState(naa, good[:n]); err == nil {
			t.Fatalf("cut to %d bytes, and nobody notices", n)
		}
	}
	// What encodeState doesn't make, with a right sum.
	for name, spoil := range map[string]func([]byte) []byte{
		"flag":             func(b []byte) []byte { b[24] = 2; return b },
		"not to be kept":   func(b []byte) []byte { b[24] = 0; return b },
		"type":             func(b []byte) []byte { b[25] = 2; return b },
		"holder of none":   func(b []byte) []byte { b[25] = 0; return b },
		"holder of all":    func(b []byte) []byte { b[25] = 7; return b },
		"holder too high":  func(b []byte) []byte { b[27] = 3; return b },
		"no holder":        func(b []byte) []byte { b[26], b[27] = 0xff, 0xff; return b },
		"too many":         func(b []byte) []byte { b[29] = 4; return b },
		"too few":          func(b []byte) []byte { b[29] = 2; return b },
		"count":            func(b []byte) []byte { b[28] = 0xff; return b },
		"key 0":            func(b []byte) []byte { b[stateHeader+7] = 0; return b },
		"no name":          func(b []byte) []byte { b[stateHeader+10] = 0; return b },
		"name too long":    func(b []byte) []byte { b[stateHeader+10] = 255; return b },
		"bytes at the end": func(b []byte) []byte { return append(b, 0) },
		"twice": func(b []byte) []byte {
			n := (len(b) - stateHeader) / 3
			copy(b[stateHeader+n:], b[stateHeader:stateHeader+n])
			return b
		},
	} {
		b := spoil(bytes.Clone(good[:len(good)-sha256.Size]))
		sum := sha256.Sum256(b)
		if _, err := decodeState(naa, append(b, sum[:]...)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := decodeState(NAAFromUUID("y"), good); err == nil || !strings.Contains(err.Error(), "another volume") {
		t.Errorf("another unit's: %v", err)
	}
	newer := bytes.Clone(good)
	newer[7] = 2
	if _, err := decodeState(naa, newer); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("newer: %v", err)
	}
}

func newUnitWith(store Store) (*Unit, error) {
	mem, err := memdev.New(1<<20, memdev.Options{})
	if err != nil {
		return nil, err
	}
	return NewUnit(mem, UnitOptions{Identity: testIdentity("one"), State: store})
}

// badStore is a store that can't be read.
type badStore struct{ mStore }

func (*badStore) Load() ([]byte, error) { return nil, errors.New("bad sector") }
func (*badStore) String() string        { return "/the/file" }

// A unit isn't made if what was saved can't be read.
func TestDamagedState(t *testing.T) {
	for name, s := range map[string]Store{
		"unreadable": &badStore{}, "empty": &mStore{b: []byte{}}, "garbage": &mStore{b: make([]byte, 100)}, "too long": &mStore{b: make([]byte, maxState+1)},
	} {
		if _, err := newUnitWith(s); err == nil || !strings.Contains(err.Error(), "reservations") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A command whose effect can't be saved fails and has no effect.
func TestSaveFails(t *testing.T) {
	store := &mStore{}
	c := newCluster(t, UnitOptions{State: store})
	register := func(flags byte, key, newKey uint64) Result {
		return c.prOut("a", prRegister, 0, parameters(key, newKey, flags))
	}
	if r := register(0, 0, 1); r.Status != Good || store.b != nil {
		t.Errorf("%v, %d bytes saved without APTPL", r.Status, len(store.b))
	}
	store.fails = true
	wantSense(t, register(1, 1, 2), hardwareError, internalTargetFailure)
	store.fails, store.err = false, fmt.Errorf("stick: %w", ErrStoreFull)
	wantSense(t, register(1, 1, 2), illegalRequest, insufficientRegistration)
	store.fails, store.err = true, nil
	c.want("1 ", "")
	if c.unit.reservations.state.aptpl {
		t.Error("APTPL is on")
	}
	if r := register(0, 1, 1); r.Status != CheckCondition { // the failed state may be in the store
		t.Errorf("%v", r.Status)
	}
	store.fails = false
	if r := register(1, 1, 2); r.Status != Good {
		t.Errorf("%v", r.Status)
	}
	c.do("a", prReserve, exclusiveAccess, 2, 0)
	wantBytes(t, "REPORT CAPABILITIES", c.good(t, "5e 02 0000000000 ffff 00", nil), "0008 1d c1 ea 01 0000")
	u, err := newUnitWith(store)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c.unit.reservations.state, u.reservations.state, comparePR); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
	store.fails = true
	wantSense(t, c.prOut("a", prClear, 0, parameters(2, 0, 0)), hardwareError, internalTargetFailure)
	c.want("2 ", "2/3")
	store.fails = false
	c.do("a", prRegisterIgnore, 0, 0, 3) // without APTPL: nothing is kept
	if u, err = newUnitWith(store); err != nil || len(u.reservations.state.registrations) != 0 || u.reservations.guard.Load() != nil {
		t.Errorf("%+v, %v", u.reservations.state, err)
	}
}

func FuzzDecodeState(f *testing.F) {
	naa := NAAFromUUID("x")
	s := sampleState()
	f.Add(encodeState(naa, &s))
	f.Add(encodeState(naa, &prState{}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > sha256.Size { // so that the fuzzer gets past it
			sum := sha256.Sum256(b[:len(b)-sha256.Size])
			copy(b[len(b)-sha256.Size:], sum[:])
		}
		s, err := decodeState(naa, b)
		if err != nil {
			return
		}
		if again := encodeState(naa, &s); !bytes.Equal(b, again) {
			t.Errorf("%x is taken for %x", b, again)
		}
	})
}

func FuzzDecodePROut(f *testing.F) {
	f.Add(byte(prRegister), parameters(1, 2, 5))
	f.Add(byte(prRegister), append(append(parameters(0, 2, 8), 0, 0, 0, 0x2c), appendTransportID(nil, nodePort("a"))...))
	f.Add(byte(prRegisterMove), moveList(1, 2, 3, 1, nodePort("b")))
	f.Fuzz(func(t *testing.T, action byte, list []byte) {
		r, bad := decodePROut(action&7, list)
		if bad.failed() {
			return
		}
		s := sampleState()
		r.from = s.registrations[1]
		r.targets = []Port{testPort}
		for _, id := range r.ids {
			r.initiators = append(r.initiators, id.name)
			if len(id.name) > maxName+len(portSeparator)+isidChars {
				t.Errorf("name of %d bytes", len(id.name))
			}
		}
		r.kind = writeExclusive
		before := encodeState([16]byte{}, &s)
		c := s.apply(&r)
		if !bytes.Equal(before, encodeState([16]byte{}, &s)) {
			t.Error("apply changes what it is given")
		}
		if !c.conflict && !c.bad.failed() && c.state.aptpl {
			if _, err := decodeState([16]byte{}, encodeState([16]byte{}, &c.state)); err != nil {
				t.Errorf("the new state can't be saved: %v", err)
			}
		}
	})
}

func FuzzDecodeTransportID(f *testing.F) {
	f.Add(appendTransportID(nil, nodePort("a")))
	f.Add(append([]byte{0x05, 0, 0, 20}, "iqn.2006-12.example"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, size, ok := decodeTransportID(b)
		if !ok {
			return
		}
		if size > len(b) || size < minTransportID {
			t.Fatalf("%d of %d bytes", size, len(b))
		}
		if id.format == portFormat {
			if again, _, ok := decodeTransportID(appendTransportID(nil, id.name)); !ok || again != id {
				t.Errorf("%+v becomes %+v", id, again)
			}
		}
	})
}

func TestCanonicalPort(t *testing.T) {
	for in, want := range map[string]string{
		"iqn.2006-12.Example:A,i,0x1":            "iqn.2006-12.example:a,i,0x000000000001",
		"iqn.2006-12.example:a,i,0x00023D000ABC": "iqn.2006-12.example:a,i,0x00023d000abc",
		"iqn.x:y":                                "",
		"iqn.x:y,i,0x":                           "",
		"iqn.x:y,i,0x0123456789abc":              "",
		"iqn.x:y,i,0xg":                          "",
		",i,0x1":                                 "",
		"iqn x,i,0x1":                            "",
		strings.Repeat("x", 224) + ",i,0x1":      "",
	} {
		if got, ok := canonicalPort(in); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v, want %q", in, got, ok, want)
		}
	}
}
