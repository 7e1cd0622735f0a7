package scsi

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/target/block"
	"sanstick/target/block/faultdev"
	"sanstick/target/block/memdev"
)

const (
	testName = "iqn.2006-12.example:disk"
	testSize = 4 << 20
)

var testPort = Port{RelativeID: 1, GroupID: 2, Name: testName + ",t,0x0001"}

// rig is a target device with one unit at LUN 0, and a nexus that has nothing
// left to be told.
type rig struct {
	mem   *memdev.Device
	fault *faultdev.Device
	unit  *Unit
	dev   *Device
	nexus *Nexus
}

func testIdentity(n string) Identity {
	return Identity{Serial: SerialFromUUID(n), NAA: NAAFromUUID(n)}
}

func newRig(t testing.TB, m memdev.Options, o UnitOptions) *rig {
	t.Helper()
	return newSizedRig(t, testSize, m, o)
}

func newSizedRig(t testing.TB, size int64, m memdev.Options, o UnitOptions) *rig {
	t.Helper()
	mem, err := memdev.New(size, m)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{mem: mem, fault: faultdev.New(mem)}
	r.unit = newTestUnit(t, faultdev.Starter{Device: r.fault}, "one", o)
	r.dev = NewDevice(testName)
	if err := r.dev.Attach(0, r.unit); err != nil {
		t.Fatal(err)
	}
	r.nexus = r.newNexus(t)
	return r
}

func newTestUnit(t testing.TB, d block.Device, name string, o UnitOptions) *Unit {
	t.Helper()
	o.Identity = testIdentity(name)
	u, err := NewUnit(d, o)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// newNexus makes a nexus and takes the unit attention that it begins with from
// every unit.
func (r *rig) newNexus(t testing.TB) *Nexus {
	t.Helper()
	n := r.dev.NewNexus("iqn.2006-12.example:host,i,0x1", testPort, nil)
	for lun := range *n.paths.Load() {
		wantSense(t, run(n, lun, "00", nil), unitAttention, powerOnReset)
	}
	return n
}

// cdb reads hexadecimal digits; spaces don't count.
func cdb(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return append(b, make([]byte, max(0, 16-len(b)))...)
}

// run does a command, as a transport would.
func run(n *Nexus, lun uint16, command string, out []byte) Result {
	return n.NewTask(encodeLUN(lun), cdb(command)).Run(out, nil)
}

// allRigs are a rig for each kind of unit.
func allRigs(t testing.TB) []*rig {
	return []*rig{
		newRig(t, memdev.Options{}, UnitOptions{Thin: true}),
		newRig(t, memdev.Options{}, UnitOptions{Removable: true}),
		newRig(t, memdev.Options{}, UnitOptions{Disc: true}),
	}
}

// rigWith returns a rig whose unit has a command.
func rigWith(t testing.TB, c *command) *rig {
	t.Helper()
	for _, r := range allRigs(t) {
		if r.offers(c) {
			return r
		}
	}
	t.Fatalf("no rig has %s", c.name)
	return nil
}

func (r *rig) offers(c *command) bool { return r.nexus.NewTask([8]byte{}, nil).offered(c) }

// offeredBy returns how many commands the unit of a rig has.
func offeredBy(r *rig) int {
	n := 0
	for _, c := range rows() {
		if r.offers(&c) {
			n++
		}
	}
	return n
}

func (r *rig) run(command string, out []byte) Result { return run(r.nexus, 0, command, out) }

// good does a command that must succeed, and returns its data-in.
func (r *rig) good(t testing.TB, command string, out []byte) []byte {
	t.Helper()
	res := r.run(command, out)
	if res.Status != Good || len(res.Sense) != 0 {
		t.Fatalf("%s: %v, sense %x", command, res.Status, res.Sense)
	}
	return res.Data
}

// wantSense checks that a command failed in a certain way, with sense data in
// fixed format.
func wantSense(t testing.TB, r Result, key senseKey, c code) {
	t.Helper()
	if r.Status != CheckCondition || len(r.Data) != 0 || len(r.Sense) < 18 {
		t.Fatalf("got %v, %d bytes, sense %x, want CHECK CONDITION %x/%04x", r.Status, len(r.Data), r.Sense, key, c)
	}
	if k, got := senseKey(r.Sense[2]&0xf), code(binary.BigEndian.Uint16(r.Sense[12:])); k != key || got != c {
		t.Fatalf("got sense %x/%04x, want %x/%04x", k, got, key, c)
	}
}

func wantBytes(t testing.TB, what string, got []byte, want string) {
	t.Helper()
	w, err := hex.DecodeString(strings.Join(strings.Fields(want), ""))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(hex.Dump(w), hex.Dump(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// afterMoment returns a channel that is ready after a little time, for checks
// that something does not happen.
func afterMoment() <-chan time.Time { return time.After(20 * time.Millisecond) }

// durable is a device that says whether it has a write cache.
type durable struct {
	block.Device
	cached bool
}

func (d durable) Info() block.Info {
	i := d.Device.Info()
	i.WriteCache = d.cached
	return i
}

func hexOf(s string) string { return hex.EncodeToString([]byte(s)) }

func naaOf(uuid string) []byte {
	naa := NAAFromUUID(uuid)
	return naa[:]
}
