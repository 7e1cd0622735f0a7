package iscsi_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/target/block/faultdev"
	"sanstick/target/iscsi"
	"sanstick/target/iscsitest"
)

// What section 11.3 calls an error is rejected, with the header it is about.
func TestCommandFlags(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session()
	for _, tt := range []struct {
		name   string
		change func(p *iscsitest.PDU)
		reason byte
	}{
		{"neither W nor F", func(p *iscsitest.PDU) { p.BHS[1] = 0x41 }, 9},
		{"data expected, neither R nor W", func(p *iscsitest.PDU) { p.Put32(20, 512) }, 9},
		{"bidirectional", func(p *iscsitest.PDU) { p.BHS[1] |= 0x60 }, 5},
		{"bidirectional, read length", func(p *iscsitest.PDU) {
			p.BHS[1] |= 0x60
			p.AHS = []byte{0, 5, 2, 0, 0, 0, 2, 0}
		}, 5},
		{"read length, not bidirectional", func(p *iscsitest.PDU) { p.AHS = []byte{0, 5, 2, 0, 0, 0, 2, 0} }, 9},
	} {
		p, _ := c.Request(iscsitest.TestUnitReady())
		tt.change(&p)
		b.send(c, p)
		r := b.want(c, 0x3f)
		p.BHS[4] = byte(len(p.AHS) / 4)
		if r.BHS[2] != tt.reason || !bytes.Equal(r.Data, p.BHS[:]) || r.U32(16) != 0xffffffff || r.U32(28) != c.CmdSN {
			t.Errorf("%s: %v with % x", tt.name, &r, r.Data)
		}
	}
	for attr := byte(4); attr < 8; attr++ {
		cmd := iscsitest.Write10(0, noise(1, 512), 512)
		cmd.Attr = attr
		if r := b.do(c, cmd); r.SenseCode() != 0x054900 {
			t.Errorf("attribute %d: %+v", attr, r)
		}
	}
	if n := b.disks[0].Calls(faultdev.Write); n != 0 {
		t.Errorf("%d writes", n)
	}
	// An extended CDB is taken as long as it goes.
	for n, reason := range map[int]byte{1: 0, 244: 0, 245: 9} {
		p, _ := c.Request(iscsitest.TestUnitReady())
		p.AHS = append([]byte{byte((n + 1) >> 8), byte(n + 1), 1, 0}, make([]byte, n+-n&3)...)
		b.send(c, p)
		r, err := c.Receive()
		if err != nil || reason == 0 && (r.Op() != 0x21 || r.BHS[3] != 0) || reason != 0 && (r.Op() != 0x3f || r.BHS[2] != reason) {
			t.Errorf("extended CDB of %d more bytes: %v %v", n, &r, err)
		}
	}
	if got := b.srv.Stats(); got.Rejects != 6 || got.Sessions != 1 || got.Panics != 0 {
		t.Errorf("%+v", got)
	}
}

// The LUN of solicited data must be the command's.
func TestLUNOfData(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session("ImmediateData=No")
	itt, err := c.Start(iscsitest.Write10(0, noise(1, 512), 512))
	if err != nil {
		t.Fatal(err)
	}
	r2t := b.want(c, 0x31)
	b.send(c, c.DataOut(itt, r2t.U32(20), 1, 0, 0, noise(1, 512)))
	if p := b.want(c, 0x21); p.BHS[3] != 2 {
		t.Errorf("%v", &p)
	}
	if n := b.disks[0].Calls(faultdev.Write) + b.disks[1].Calls(faultdev.Write); n != 0 {
		t.Errorf("%d writes", n)
	}
}

// A text negotiation counts when it is over, and a key comes once in it.
func TestTextRules(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session()
	ask := func(p iscsitest.PDU, op byte) iscsitest.PDU {
		t.Helper()
		b.send(c, p)
		return b.want(c, op)
	}
	first := func(flags byte, keys ...string) iscsitest.PDU {
		p := c.TextRequest(0xffffffff, keys...)
		p.BHS[1] = flags
		return p
	}
	next := func(p, r iscsitest.PDU, keys ...string) iscsitest.PDU {
		n := c.TextRequest(r.U32(20), keys...)
		n.Put32(16, p.ITT())
		return n
	}
	segment := func() int {
		t.Helper()
		r := b.do(c, iscsitest.Read10(0, 2, 512))
		if r.Status != 0 {
			t.Errorf("%+v", r)
		}
		itt, err := c.Start(iscsitest.Read10(0, 2, 512))
		if err != nil {
			t.Fatal(err)
		}
		p := b.want(c, 0x25)
		if p.BHS[1]&1 == 0 {
			b.want(c, 0x25)
		}
		if p.ITT() != itt {
			t.Errorf("%v", &p)
		}
		return len(p.Data)
	}
	// Declared, not over yet, and forgotten by a new request.
	p := first(0, "MaxRecvDataSegmentLength=512")
	r := ask(p, 0x24)
	if r.BHS[1]&0x80 != 0 || r.U32(20) == 0xffffffff {
		t.Fatalf("%v", &r)
	}
	if n := segment(); n != 1024 {
		t.Errorf("in force too early: %d", n)
	}
	ask(first(0x80, "X-a=1"), 0x24)
	ask(next(p, r), 0x3f) // what was forgotten can't be continued
	if n := segment(); n != 1024 {
		t.Errorf("in force after a reset: %d", n)
	}
	// Over several requests.
	p = first(0, "MaxRecvDataSegmentLength=512")
	r = ask(p, 0x24)
	r = ask(next(p, r), 0x24)
	if r.BHS[1]&0x80 == 0 || r.U32(20) != 0xffffffff {
		t.Errorf("%v", &r)
	}
	if n := segment(); n != 512 {
		t.Errorf("not in force: %d", n)
	}
	// Twice, in one request and over two.
	ask(first(0x80, "MaxRecvDataSegmentLength=1024", "MaxRecvDataSegmentLength=1024"), 0x3f)
	p = first(0, "MaxRecvDataSegmentLength=1024")
	r = ask(p, 0x24)
	if r = ask(next(p, r, "MaxRecvDataSegmentLength=1024"), 0x3f); r.BHS[2] != 4 {
		t.Errorf("%v", &r)
	}
	if n := segment(); n != 512 {
		t.Errorf("in force after an error: %d", n)
	}
	// The task tag stays.
	p = first(0x40, "MaxRecvData")
	r = ask(p, 0x24)
	wrong := next(p, r)
	wrong.Put32(16, p.ITT()+7)
	ask(wrong, 0x3f)
	// What was settled in login stays so.
	keys := []string{"HeaderDigest=CRC32C", "MaxConnections=1", "InitialR2T=Yes", "ImmediateData=No", "MaxBurstLength=512",
		"FirstBurstLength=512", "DefaultTime2Wait=1", "MaxOutstandingR2T=1", "ErrorRecoveryLevel=0", "SessionType=Normal",
		"InitiatorName=" + alice, "TargetName=" + open, "AuthMethod=None"}
	r = ask(first(0x80, keys...), 0x24)
	got := iscsitest.Keys(r.Data)
	for _, k := range keys {
		name, _, _ := strings.Cut(k, "=")
		if got[name] != "Reject" {
			t.Errorf("%s: %q", k, got[name])
		}
	}
	// No tag, and both flags.
	bad := first(0x80, "X-a=1")
	bad.Put32(16, 0xffffffff)
	ask(bad, 0x3f)
	ask(first(0xc0, "X-a=1"), 0x3f)
}

// A discovery session takes text requests and a logout (section 4.3).
func TestDiscoveryOnly(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.dial()
	if _, err := c.Login("InitiatorName="+alice, "SessionType=Discovery"); err != nil {
		t.Fatal(err)
	}
	nop := iscsitest.PDU{}
	nop.BHS[0], nop.BHS[1] = 0x40, 0x80
	nop.Put32(16, 5)
	nop.Put32(20, 0xffffffff)
	logout := c.Logout()
	logout.BHS[1] = 0x81
	command, _ := c.Request(iscsitest.TestUnitReady())
	for _, p := range []iscsitest.PDU{nop, logout, command, c.DataOut(9, 9, 0, 0, 0, make([]byte, 12)), c.Manage(iscsitest.WarmReset, 0, 0)} {
		b.send(c, p)
		if r := b.want(c, 0x3f); !bytes.Equal(r.Data[:1], p.BHS[:1]) {
			t.Errorf("%v", &r)
		}
	}
	b.send(c, c.Logout())
	b.want(c, 0x26)
}

// Requests with a reserved task tag, and those with segments that they can't
// have, are rejected and use their CmdSN up.
func TestReservedTags(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session()
	tmf, logout, ahs := c.Manage(iscsitest.LUNReset, 0, 0), c.Logout(), c.TextRequest(0xffffffff, "SendTargets=")
	tmf.Put32(16, 0xffffffff)
	logout.Put32(16, 0xffffffff)
	ahs.AHS = []byte{0, 1, 1, 0}
	for _, p := range []iscsitest.PDU{tmf, logout, ahs} {
		p.BHS[0] &^= 0x40
		p.Put32(24, c.CmdSN)
		c.CmdSN++
		b.send(c, p)
		if r := b.want(c, 0x3f); r.BHS[2] != 9 || r.U32(28) != c.CmdSN {
			t.Errorf("%v", &r)
		}
	}
	if r := b.do(c, iscsitest.TestUnitReady()); r.Status != 0 {
		t.Errorf("%+v", r)
	}
}

// The task management functions that there aren't are said not to be there.
func TestUnsupportedFunctions(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session()
	want := map[byte]byte{0: 5, 3: 5, 8: 4, 9: 5, 0x7f: 5}
	for f, code := range want {
		b.send(c, c.Manage(f, 0, 0))
		if r := b.want(c, 0x22); r.BHS[2] != code {
			t.Errorf("function %d: %v", f, &r)
		}
	}
}

// However many sessions have work, few commands run at once; but one of each.
func TestWorkersOfAll(t *testing.T) {
	b := start(t, iscsi.Options{MaxWorkers: 4})
	all := b.many(6)
	arrived, release := b.disks[0].Hold(faultdev.Read)
	for _, c := range all {
		for range 8 {
			if _, err := c.Start(iscsitest.Read10(0, 1, 512)); err != nil {
				t.Fatal(err)
			}
		}
	}
	n := 0
	for late := time.After(300 * time.Millisecond); ; n++ {
		select {
		case <-arrived:
			continue
		case <-late:
		}
		break
	}
	if n < 6 || n > 4+6 {
		t.Errorf("%d commands at once", n)
	}
	release()
	for _, c := range all {
		for range 8 {
			b.want(c, 0x25)
		}
	}
}

// Nobody can have the target answer its own challenges: no secret serves both
// ways, not even in two targets.
func TestSecretsOfBothWays(t *testing.T) {
	b := start(t, iscsi.Options{})
	one, two := iscsi.Credentials{User: "a", Secret: "one secret of many"}, iscsi.Credentials{User: "b", Secret: "two secrets of many"}
	add := func(name string, in, out *iscsi.Credentials) error {
		return b.srv.Add(iscsi.Target{Name: "iqn.2026-01.test:" + name, CHAP: in, Mutual: out})
	}
	if err := add("first", &one, &two); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"same": add("second", &two, &two), "in is out": add("third", &two, nil), "out is in": add("fourth", &iscsi.Credentials{User: "c", Secret: "three secrets of many"}, &one),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.Contains(err.Error(), "of many") {
			t.Errorf("the error tells the secret: %v", err)
		}
	}
	if err := add("fifth", &one, &two); err != nil {
		t.Error(err)
	}
}

// syncBuffer is where a log goes.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) lines() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Count(s.b.Bytes(), []byte("\n"))
}

// Whoever guesses secrets waits for the answer, and doesn't fill the log. Those
// who know theirs don't wait.
func TestGuessing(t *testing.T) {
	var log syncBuffer
	b := start(t, iscsi.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	guess := func(secret string) time.Duration {
		c := b.dial()
		defer c.Close()
		begin := time.Now()
		_, err := c.LoginCHAP(iscsitest.CHAP{Algorithm: 5, User: "alice", Secret: secret}, iscsitest.Names(alice, locked))
		if secret == "alice-secret-123" {
			if err != nil {
				t.Fatal(err)
			}
		} else {
			refused(t, err, 0x0201)
		}
		return time.Since(begin)
	}
	for range 7 {
		guess("wrong-secret-123")
	}
	if d := guess("wrong-secret-123"); d < 300*time.Millisecond || d > patience {
		t.Errorf("the eighth guess took %v", d)
	}
	right := patience
	for range 5 { // the machine may be busy, but not always
		right = min(right, guess("alice-secret-123"))
	}
	if right > 300*time.Millisecond {
		t.Errorf("the right secret took %v", right)
	}
	for range 400 {
		c := b.dial()
		c.Write(make([]byte, 48))
		b.closed(c)
		c.Close()
	}
	if n := log.lines(); n > 150 {
		t.Errorf("%d lines", n)
	}
	for range 2000 { // the connections end a little later, on a busy machine
		if b.srv.Stats().LoginsFailed == 408 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	got := b.srv.Stats()
	want := iscsi.Stats{Connections: 413, LoginsFailed: 408, AuthFailures: 8, Sessions: got.Sessions}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
