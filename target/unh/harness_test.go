package unh_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sanstick/target"
	"sanstick/target/block/memdev"
	"sanstick/target/iscsitest"
	"sanstick/target/scsi"
)

// A target to test other than our own. It must allow any initiator. The target
// names of CHAP take user "alice" with secret "secret-of-alice-1"; the mutual
// one proves itself as "target" with "secret-of-target".
var (
	portal     = flag.String("portal", "", "address:port of a target to test in place of our own; its LUN 0 is overwritten")
	name       = flag.String("name", "iqn.2026-01.test:unh", "its iSCSI name")
	secondName = flag.String("second-name", "iqn.2026-01.test:unh-second", "the name of another target there")
	chapName   = flag.String("chap-name", "iqn.2026-01.test:unh-chap", "the name of a target there that wants CHAP")
	listen     = flag.String("listen", "127.0.0.1:0", "address:port of our own target, so that what is said can be captured")
	mutualName = flag.String("mutual-name", "iqn.2026-01.test:unh-mutual", "the name of a target there that does mutual CHAP")
)

const (
	alice        = "iqn.2026-01.test:alice"
	user         = "alice"
	userSecret   = "secret-of-alice-1"
	targetUser   = "target"
	targetSecret = "secret-of-target"
	blockSize    = 512
	diskSize     = 8 << 20
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// test is one test of a list.
type test struct {
	number, title string
	run           func(b *bench)
}

// runList runs the tests of a list, which must have exactly these numbers.
func runList(t *testing.T, tests []test, numbers string) {
	var got []string
	for _, tt := range tests {
		got = append(got, tt.number)
	}
	want := strings.Fields(numbers)
	for _, n := range want {
		if !slices.Contains(got, n) {
			t.Errorf("test %s is missing", n)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d tests, want %d", len(got), len(want))
	}
	for _, tt := range tests {
		t.Run(tt.number+" "+tt.title, func(t *testing.T) { tt.run(newBench(t)) })
	}
}

// bench is a target on loopback for one test.
type bench struct {
	*testing.T
	addr string
	isid byte // of the last connection made
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, addr: *portal}
	if b.addr == "" {
		b.addr = serve(t)
	}
	return b
}

// needsOwn ends a test that can't be run on another target than our own.
func needsOwn(t *testing.T) {
	t.Helper()
	if *portal != "" {
		t.Fatal("this is not for another target: with -portal goes -run UNH")
	}
}

// serve starts our own target with a disk.
func serve(t *testing.T) (addr string) {
	t.Helper()
	return serveUnit(t, scsi.UnitOptions{Thin: true})
}

// serveUnit starts our own target with a unit of some kind.
func serveUnit(t *testing.T, o scsi.UnitOptions) (addr string) {
	t.Helper()
	o.Identity = scsi.Identity{Serial: "UNH", NAA: scsi.NAAFromUUID("UNH")}
	size := int64(diskSize)
	if o.Disc {
		size = 2 << 30 // a DVD; it takes no memory
	}
	dev, err := memdev.New(size, memdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	unit, err := scsi.NewUnit(dev, o)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := target.New(target.Options{})
	if err != nil {
		t.Fatal(err)
	}
	luns := []target.LUN{{Number: 0, Unit: unit}}
	in, out := &target.CHAP{User: user, Secret: userSecret}, &target.CHAP{User: targetUser, Secret: targetSecret}
	for _, c := range []target.Config{
		{IQN: *name, Alias: "alias", LUNs: luns, Initiators: []string{"*"}},
		{IQN: *secondName, LUNs: luns, Initiators: []string{"*"}},
		{IQN: *chapName, LUNs: luns, Initiators: []string{"*"}, CHAP: in},
		{IQN: *mutualName, LUNs: luns, Initiators: []string{"*"}, CHAP: in, Mutual: out},
	} {
		if err := srv.Add(c); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := unit.Close(); err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// dial connects, as another initiator port each time.
func (b *bench) dial() *iscsitest.Conn {
	b.Helper()
	c, err := iscsitest.Dial(context.Background(), b.addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	b.isid++
	c.ISID[5] = b.isid
	return c
}

// session logs in with these keys, and clears the unit attentions.
func (b *bench) session(keys ...string) *iscsitest.Conn {
	b.Helper()
	c := b.dial()
	b.login(c, keys...)
	return c
}

func (b *bench) login(c *iscsitest.Conn, keys ...string) {
	b.Helper()
	if _, err := c.Login(iscsitest.Names(alice, *name, keys...)...); err != nil {
		b.Fatal(err)
	}
	b.settle(c)
}

// settle clears the unit attentions.
func (b *bench) settle(c *iscsitest.Conn) {
	b.Helper()
	for range 5 {
		if b.do(c, iscsitest.TestUnitReady()).Status == 0 {
			return
		}
	}
	b.Fatal("LUN 0 doesn't become ready")
}

func (b *bench) do(c *iscsitest.Conn, cmd iscsitest.Command) iscsitest.Result {
	b.Helper()
	r, err := c.Do(cmd)
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// good does a command that must succeed without residual.
func (b *bench) good(c *iscsitest.Conn, cmd iscsitest.Command) []byte {
	b.Helper()
	r := b.do(c, cmd)
	if r.Status != 0 || r.Overflow || r.Underflow || r.Residual != 0 {
		b.Fatalf("CDB % x: %+v", cmd.CDB, r)
	}
	return r.Data
}

func (b *bench) send(c *iscsitest.Conn, p iscsitest.PDU) {
	b.Helper()
	if err := c.Send(p); err != nil {
		b.Fatal(err)
	}
}

// want receives a PDU, which must have this operation code.
func (b *bench) want(c *iscsitest.Conn, op byte) iscsitest.PDU {
	b.Helper()
	p, err := c.Receive()
	if err != nil {
		b.Fatal(err)
	}
	if p.Op() != op {
		b.Fatalf("want operation code %#02x, got %v", op, &p)
	}
	return p
}

// ask sends a PDU and receives the answer, which must have this operation code.
func (b *bench) ask(c *iscsitest.Conn, p iscsitest.PDU, op byte) iscsitest.PDU {
	b.Helper()
	b.send(c, p)
	return b.want(c, op)
}

// Reasons of a Reject (RFC 7143 section 11.17.1).
const (
	rejectDataDigest = 0x02
	rejectSNACK      = 0x03
	rejectProtocol   = 0x04
	rejectCommand    = 0x05
	rejectInProgress = 0x07
	rejectField      = 0x09
)

// rejected sends a PDU and wants a Reject that tells its header, and one of the
// reasons.
func (b *bench) rejected(c *iscsitest.Conn, p iscsitest.PDU, reasons ...byte) {
	b.Helper()
	b.send(c, p)
	b.isReject(b.want(c, 0x3f), p, reasons...)
}

func (b *bench) isReject(r, p iscsitest.PDU, reasons ...byte) {
	b.Helper()
	if r.Op() != 0x3f || !slices.Contains(reasons, r.BHS[2]) {
		b.Errorf("want a Reject with a reason of %x, got %v", reasons, &r)
		return
	}
	if len(r.Data) < 48 || !bytes.Equal(r.Data[:4], p.BHS[:4]) || !bytes.Equal(r.Data[8:48], p.BHS[8:]) {
		b.Errorf("the Reject tells the header % x, want % x", r.Data, p.BHS)
	}
	if r.ITT() != 0xffffffff {
		b.Errorf("the task tag of a Reject is %#x", r.ITT())
	}
}

// quiet checks that nothing comes for a while.
func (b *bench) quiet(c *iscsitest.Conn) {
	b.Helper()
	if err := c.Quiet(60 * time.Millisecond); err != nil {
		b.Fatal(err)
	}
}

// gone checks that the target closes the connection.
func (b *bench) gone(c *iscsitest.Conn) {
	b.Helper()
	if err := c.Gone(5 * time.Second); err != nil {
		b.Fatal(err)
	}
}

// alive checks that a session still works.
func (b *bench) alive(c *iscsitest.Conn) {
	b.Helper()
	ping := c.NOPOut(true, []byte("ping"))
	p := b.ask(c, ping, 0x20)
	if p.ITT() != ping.ITT() || string(p.Data) != "ping" {
		b.Fatalf("a ping is answered with %v", &p)
	}
	b.settle(c)
}

// aborted checks for CHECK CONDITION, ABORTED COMMAND with one of these
// additional sense codes.
func (b *bench) aborted(r iscsitest.Result, codes ...uint32) {
	b.Helper()
	for _, code := range codes {
		if r.Status == 2 && r.SenseCode() == 0x0b0000|code {
			return
		}
	}
	b.Errorf("want ABORTED COMMAND with %x, got status %#x, sense %06x", codes, r.Status, r.SenseCode())
}

// onDisk reads blocks over a session of its own.
func (b *bench) onDisk(lba uint32, blocks uint16) []byte {
	b.Helper()
	c := b.session()
	defer c.Close()
	return b.good(c, iscsitest.Read10(lba, blocks, blockSize))
}

// fill writes blocks, and returns what it wrote.
func (b *bench) fill(lba uint32, blocks int, seed byte) []byte {
	b.Helper()
	c := b.session()
	defer c.Close()
	data := noise(seed, blocks*blockSize)
	b.good(c, iscsitest.Write10(lba, data, blockSize))
	return data
}

func (b *bench) same(what string, want, got []byte) {
	b.Helper()
	if !bytes.Equal(want, got) {
		b.Errorf("%s: the %d bytes differ from the %d that were expected", what, len(got), len(want))
	}
}

// status returns the status of a login that was refused; 0 if it wasn't.
func (b *bench) status(err error) uint16 {
	b.Helper()
	var refused *iscsitest.LoginError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &refused):
		b.Fatal(err)
	}
	return refused.Status
}

// refusedLogin checks the status of a login, and that the connection ends.
func (b *bench) refusedLogin(c *iscsitest.Conn, err error, statuses ...uint16) {
	b.Helper()
	if st := b.status(err); !slices.Contains(statuses, st) {
		b.Errorf("login status %#04x, want one of %04x", st, statuses)
		return
	}
	b.gone(c)
}

func noise(seed byte, n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(p)
	return p
}
