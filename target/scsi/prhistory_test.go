package scsi

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/target/block/memdev"
)

var mInitiators = []string{
	"iqn.2006-12.example:a,i,0x00000000000a", "iqn.2006-12.example:b,i,0x00000000000b", "iqn.2006-12.example:c,i,0x00000000000c",
	"iqn.2006-12.example:away,i,0x00000000000d",
}

var mPorts = []Port{
	{RelativeID: 1, GroupID: 1, Name: "iqn.2006-12.example:one,t,0x0001"},
	{RelativeID: 2, GroupID: 1, Name: "iqn.2006-12.example:one,t,0x0002"},
	{RelativeID: 1, GroupID: 1, Name: "iqn.2006-12.example:two,t,0x0001"},
}

// mWorld is the model, and the real thing beside it: four nexuses to two
// devices, which share the units.
type mWorld struct {
	device, initiator, port [4]int
	names                   [4]mNexus
	noStore                 [3]bool
	units                   [3]*mUnit

	stores  [3]*mStore
	real    [3]*Unit
	devices [2]*Device
	nexuses [4]*Nexus
}

// mStore is a store in memory whose saves fail when told to.
type mStore struct {
	b           []byte
	fails, keep bool // when failing: the new state is there all the same
	err         error
}

func (s *mStore) Load() ([]byte, error) { return s.b, nil }

func (s *mStore) Save(b []byte) error {
	if s.err == nil && !s.fails || s.keep {
		s.b = bytes.Clone(b)
	}
	if s.err != nil {
		return s.err
	}
	if s.fails {
		return errors.New("no space left on device")
	}
	return nil
}

func newWorld(t *testing.T) *mWorld {
	t.Helper()
	w := &mWorld{device: [4]int{0, 0, 1, 0}, initiator: [4]int{0, 1, 0, 2}, port: [4]int{0, 0, 2, 1}, noStore: [3]bool{2: true}}
	for i := range w.names {
		w.names[i] = mNexus(mInitiators[w.initiator[i]] + "|" + mPorts[w.port[i]].Name)
	}
	for i := range w.units {
		w.stores[i] = &mStore{}
		w.units[i] = &mUnit{disk: mDisk{regs: map[mNexus]uint64{}}}
	}
	w.restart(t)
	return w
}

// restart loses the power.
func (w *mWorld) restart(t *testing.T) {
	t.Helper()
	for i := range w.devices {
		w.devices[i] = NewDevice(fmt.Sprint("iqn.2006-12.example:", i))
	}
	for i, u := range w.units {
		dev, err := memdev.New(1<<20, memdev.Options{})
		if err != nil {
			t.Fatal(err)
		}
		o := UnitOptions{Identity: testIdentity(fmt.Sprint(i))}
		if !w.noStore[i] {
			o.State = w.stores[i]
		}
		if w.real[i], err = NewUnit(dev, o); err != nil {
			t.Fatal(err)
		}
		for _, d := range w.devices {
			if err := d.Attach(uint16(i), w.real[i]); err != nil {
				t.Fatal(err)
			}
		}
		d := u.disk
		w.units[i] = &mUnit{regs: maps.Clone(d.regs), kind: d.kind, holder: d.holder, aptpl: d.aptpl, disk: d, ua: map[mNexus][]int{}}
	}
	if err := w.devices[0].SetPortGroups(PortGroup{ID: 1, State: ActiveOptimized, Ports: mPorts[:2]}); err != nil {
		t.Fatal(err)
	}
	for i := range w.nexuses {
		w.login(i)
	}
}

func (w *mWorld) login(i int) {
	w.nexuses[i] = w.devices[w.device[i]].NewNexus(mInitiators[w.initiator[i]], mPorts[w.port[i]], nil)
	for _, u := range w.units {
		u.ua[w.names[i]] = []int{0x2900}
	}
}

func (w *mWorld) logout(i int) {
	w.nexuses[i].Close()
	for _, u := range w.units {
		delete(u.ua, w.names[i])
		if u.spc2 == w.names[i] {
			u.spc2 = ""
		}
	}
}

// do sends a command to the real thing.
func (w *mWorld) do(c prCommand) (int, []byte) {
	cdb, out := "00", []byte(nil)
	switch c.what {
	case "read":
		cdb = "28 00 00000000 00 0001 00"
	case "write":
		cdb, out = "2a 00 00000000 00 0001 00", make([]byte, 512)
	case "inquiry":
		cdb = "12 00 00 0060 00"
	case "reserve6":
		cdb = "16"
	case "release6":
		cdb = "57"
	case "in":
		cdb = fmt.Sprintf("5e %02x 0000000000 ffff 00", c.sa)
	case "out":
		out = c.list()
		cdb = fmt.Sprintf("5f %02x %x%x 0000 %08x 00", c.sa, c.scope, c.kind, len(out))
	}
	if s := w.stores[c.unit]; s != nil {
		s.fails, s.keep = c.fails, c.newOn
	}
	r := run(w.nexuses[c.nexus], uint16(c.unit), cdb, out)
	if r.Status == CheckCondition {
		return mCheck(int(r.Sense[2]&0xf), int(binary.BigEndian.Uint16(r.Sense[12:]))), nil
	}
	return int(r.Status), r.Data
}

func (c prCommand) list() []byte {
	bit := func(b bool, v byte) byte {
		if b {
			return v
		}
		return 0
	}
	if c.sa == 7 {
		return moveList(c.rk, c.sark, bit(c.unreg, 2)|bit(c.aptpl, 1), c.rtpi, c.others[0])
	}
	b := parameters(c.rk, c.sark, bit(c.specI, 8)|bit(c.allTG, 4)|bit(c.aptpl, 1))
	if c.specI && c.sa == 0 {
		var ids []byte
		for _, i := range c.others {
			ids = appendTransportID(ids, i)
		}
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(ids))), ids...)
	}
	return b
}

// check compares the state, and the data-in of PERSISTENT RESERVE IN.
func (w *mWorld) check(c prCommand, data []byte) string {
	u, r := w.units[c.unit], &w.real[c.unit].reservations
	regs := make(map[mNexus]uint64)
	for _, x := range r.state.registrations {
		regs[mNexus(x.nexus.initiator+"|"+x.nexus.target)] = x.key
	}
	holder := u.holder
	if u.kind == 0 {
		holder = ""
	}
	realHolder := mNexus("")
	if r.state.holder != (itNexus{}) {
		realHolder = mNexus(r.state.holder.initiator + "|" + r.state.holder.target)
	}
	type state struct {
		Regs   map[mNexus]uint64
		Kind   int
		Holder mNexus
		Gen    uint32
		APTPL  bool
	}
	diff, want, got := "", state{u.regs, u.kind, holder, u.gen, u.aptpl}, state{regs, int(r.state.kind), realHolder, r.generation, r.state.aptpl}
	if !reflect.DeepEqual(want, got) {
		diff = cmp.Diff(want, got)
	}
	if diff != "" || c.what != "in" || data == nil {
		return diff
	}
	if c.sa == 2 {
		want := []byte{0, 8, 0x1d, 0xc0, 0xea, 1, 0, 0}
		if w.noStore[c.unit] {
			want[2] = 0x1c
		}
		if u.aptpl {
			want[3] |= 1
		}
		return cmp.Diff(want, data)
	}
	if binary.BigEndian.Uint32(data) != u.gen || int(binary.BigEndian.Uint32(data[4:])) != len(data)-8 {
		return fmt.Sprintf("header %x", data[:8])
	}
	rest := data[8:]
	switch c.sa {
	case 0:
		var keys []uint64
		for ; len(rest) > 0; rest = rest[8:] {
			keys = append(keys, binary.BigEndian.Uint64(rest))
		}
		slices.Sort(keys)
		return cmp.Diff(slices.Sorted(maps.Values(u.regs)), keys)
	case 1:
		var want []byte
		if u.kind != 0 {
			key := uint64(0)
			if !allRegistrants(u.kind) {
				key = u.regs[u.holder]
			}
			want = append(binary.BigEndian.AppendUint64([]byte{}, key), 0, 0, 0, 0, 0, byte(u.kind), 0, 0)
		}
		return cmp.Diff(want, append([]byte(nil), rest...))
	}
	seen := map[mNexus]uint64{}
	for len(rest) > 0 {
		id, size, ok := decodeTransportID(rest[24:])
		if !ok || size != int(binary.BigEndian.Uint32(rest[20:])) {
			return fmt.Sprintf("TransportID %x", rest[20:])
		}
		n := mNexus("")
		for _, p := range mPorts {
			if p.RelativeID == binary.BigEndian.Uint16(rest[18:]) {
				name := mNexus(id.name + "|" + p.Name)
				if k, ok := u.regs[name]; ok && k == binary.BigEndian.Uint64(rest) && u.isHolder(name) == (rest[12] == 1) && seen[name] == 0 {
					n = name
				}
			}
		}
		if seen[n] = binary.BigEndian.Uint64(rest); n == "" || rest[12] == 1 && int(rest[13]) != u.kind {
			return fmt.Sprintf("descriptor %x", rest[:24+size])
		}
		rest = rest[24+size:]
	}
	return cmp.Diff(u.regs, seen)
}

// random makes a command that has a fair chance to do something.
func (w *mWorld) random(r *rand.Rand) prCommand {
	c := prCommand{
		nexus: r.IntN(4), unit: r.IntN(3), sa: r.IntN(4), kind: []int{1, 3, 5, 6, 7, 8}[r.IntN(6)],
		what:  []string{"out", "out", "out", "out", "out", "out", "in", "read", "write", "tur", "tur", "inquiry", "reserve6", "release6"}[r.IntN(14)],
		fails: r.IntN(40) == 0, newOn: r.IntN(2) == 0,
	}
	u := w.units[c.unit]
	if c.what != "out" {
		return c
	}
	rare := func(n int) bool { return r.IntN(n) == 0 }
	c.sa = []int{0, 0, 0, 1, 1, 2, 2, 3, 4, 4, 5, 5, 6, 6, 7, 7}[r.IntN(16)]
	if c.sa == 3 && !rare(4) {
		c.sa = 0
	}
	c.rk, c.sark = u.regs[w.names[c.nexus]], uint64(1+r.IntN(4))
	switch {
	case rare(10):
		c.rk = uint64(r.IntN(5))
	case rare(5) || c.sa == 0 && c.rk != 0 && rare(4):
		c.sark = 0
	}
	if u.kind != 0 && rare(2) {
		c.kind = u.kind
	}
	if rare(30) {
		c.kind, c.scope = r.IntN(16), r.IntN(2)
	}
	c.allTG, c.aptpl, c.unreg, c.rtpi = rare(6), !rare(3) && !w.noStore[c.unit] || rare(20), rare(3), uint16(1+r.IntN(2))
	if rare(20) {
		c.rtpi = 3
	}
	c.specI = c.sa == 0 && rare(5) || rare(100) && c.sa != 7
	c.others = []string{mInitiators[r.IntN(4)]}
	if c.specI && rare(2) {
		c.others = append(c.others, mInitiators[r.IntN(4)])
	}
	return c
}

// Random histories on four nexuses and three units agree with the model. Set
// PR_MODEL_COMMANDS for more of them, PR_MODEL_SEED for others.
func TestReservationModel(t *testing.T) {
	number := func(name string, otherwise uint64) uint64 {
		if s := os.Getenv(name); s != "" {
			n, err := strconv.ParseUint(s, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		return otherwise
	}
	seed, n := number("PR_MODEL_SEED", 1), number("PR_MODEL_COMMANDS", 100_000)
	r := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t)
	var last []string
	answers, restarts := map[int]int{}, 0
	for i := range n {
		switch r.IntN(300) {
		case 0:
			w.restart(t)
			restarts++
			last = append(last, "restart")
		case 1, 2, 3:
			k := r.IntN(4)
			w.logout(k)
			w.login(k)
			last = append(last, fmt.Sprint("login of ", k))
		}
		c := w.random(r)
		want := w.answer(c)
		got, data := w.do(c)
		answers[got]++
		last = append(last, fmt.Sprintf("%+v: %#x", c, want))
		last = last[max(0, len(last)-12):]
		diff := w.check(c, data)
		if got != want || diff != "" {
			t.Fatalf("seed %d, command %d: answer %#x, want %#x; (-model +real)\n%s\nhistory:\n%s", seed, i, got, want, diff, joinLines(last))
		}
	}
	t.Logf("%d commands, %d restarts, answers %#x", n, restarts, answers)
	for _, a := range []int{mGood, mConflict, 0x02062a03, 0x02062a04, 0x02062a05, 0x02052400, 0x02052600, 0x02052604, 0x02044400} {
		if answers[a] < int(n/5000) {
			t.Errorf("answer %#x came only %d times: the histories don't test it", a, answers[a])
		}
	}
}

func joinLines(lines []string) string {
	var b bytes.Buffer
	for _, l := range lines {
		fmt.Fprintln(&b, l)
	}
	return b.String()
}
