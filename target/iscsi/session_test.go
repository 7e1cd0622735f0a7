package iscsi_test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"sanstick/target/block/faultdev"
	"sanstick/target/iscsi"
	"sanstick/target/iscsitest"
)

func refused(t *testing.T, err error, status uint16) {
	t.Helper()
	var le *iscsitest.LoginError
	if !errors.As(err, &le) || le.Status != status {
		t.Errorf("error %v, want login status %#04x", err, status)
	}
}

func TestWhoMayLogIn(t *testing.T) {
	b := start(t, iscsi.Options{})
	good := iscsitest.CHAP{Algorithm: 7, User: "alice", Secret: "alice-secret-123", TargetUser: "target", TargetSecret: "target-secret-123"}
	oneWay, md5, wrong := good, good, good
	oneWay.TargetSecret = ""
	md5.Algorithm = 5
	wrong.Secret = "alice-secret-124"

	for name, chap := range map[string]iscsitest.CHAP{"mutual": good, "one way": oneWay, "MD5": md5} {
		c := b.dial()
		if _, err := c.LoginCHAP(chap, iscsitest.Names(alice, locked)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		c.Close()
	}
	c := b.dial()
	_, err := c.LoginCHAP(wrong, iscsitest.Names(alice, locked))
	refused(t, err, 0x0201)
	b.closed(c)
	c = b.dial()
	_, err = c.Login(iscsitest.Names(alice, locked)...)
	refused(t, err, 0x0201)
	c = b.dial()
	_, err = c.LoginCHAP(good, iscsitest.Names(bob, locked))
	refused(t, err, 0x0202)
	c = b.dial()
	_, err = c.Login(iscsitest.Names(alice, "iqn.x:none")...)
	refused(t, err, 0x0203)
	c = b.dial()
	c.TSIH = 77
	_, err = c.Login(iscsitest.Names(alice, open)...)
	refused(t, err, 0x020a)
}

func TestDiscovery(t *testing.T) {
	b := start(t, iscsi.Options{})
	list := func(initiator, what string, keys ...string) map[string]string {
		t.Helper()
		c := b.dial()
		defer c.Close()
		if _, err := c.Login(append(keys, "InitiatorName="+initiator, "SessionType=Discovery")...); err != nil {
			t.Fatal(err)
		}
		text := []byte{}
		p := c.TextRequest(0xffffffff, "SendTargets="+what)
		for {
			b.send(c, p)
			r := b.want(c, 0x24)
			text = append(text, r.Data...)
			if r.BHS[1]&0x80 != 0 {
				if r.U32(20) != 0xffffffff || r.BHS[1]&0x40 != 0 {
					t.Errorf("%v", &r)
				}
				return iscsitest.Keys(text)
			}
			itt := p.ITT()
			p = c.TextRequest(r.U32(20))
			p.Put32(16, itt)
		}
	}
	here := b.addr + ",1"
	for _, tt := range []struct{ initiator, what, names string }{
		{alice, "All", locked + " " + open},
		{bob, "All", open},
		{alice, locked, locked},
		{bob, locked, ""},
		{alice, "iqn.x:none", ""},
	} {
		got := list(tt.initiator, tt.what)
		want := strings.TrimSpace(strings.Repeat(here+" ", len(strings.Fields(tt.names))))
		if got["TargetName"] != tt.names || got["TargetAddress"] != want {
			t.Errorf("%s asks for %s: %v", tt.initiator, tt.what, got)
		}
	}
	if got := list(alice, ""); got["SendTargets"] != "Reject" {
		t.Errorf("empty in discovery: %v", got)
	}
	// Many targets through a small window of 512 bytes.
	var want []string
	for i := range 40 {
		name := fmt.Sprintf("iqn.2026-01.test:many-%02d", i)
		if err := b.srv.Add(iscsi.Target{Name: name, Initiators: []string{"iqn.x:carol"}}); err != nil {
			t.Fatal(err)
		}
		want = append(want, name)
	}
	got := list("iqn.x:carol", "All", "MaxRecvDataSegmentLength=512")
	if got["TargetName"] != strings.Join(append(want, open), " ") {
		t.Errorf("got %v", got["TargetName"])
	}
	// No SCSI in a discovery session.
	c := b.dial()
	if _, err := c.Login("InitiatorName="+alice, "SessionType=Discovery"); err != nil {
		t.Fatal(err)
	}
	p, _ := c.Request(iscsitest.TestUnitReady())
	b.send(c, p)
	b.want(c, 0x3f)
	b.send(c, c.Manage(iscsitest.LUNReset, 0, 0))
	b.want(c, 0x3f)
	b.send(c, c.Logout())
	b.want(c, 0x26)
	b.closed(c)
}

func TestAdvertise(t *testing.T) {
	b := start(t, iscsi.Options{Advertise: func(net.Addr) []string { return []string{"10.0.0.1:3260", "[fd00::1]:3260"} }})
	c := b.session()
	b.send(c, c.TextRequest(0xffffffff, "SendTargets="))
	r := b.want(c, 0x24)
	if got := iscsitest.Keys(r.Data); got["TargetName"] != open || got["TargetAddress"] != "10.0.0.1:3260,1 [fd00::1]:3260,1" {
		t.Errorf("got %v", got)
	}
	for _, what := range []string{"All", "x y"} {
		b.send(c, c.TextRequest(0xffffffff, "SendTargets="+what))
		r = b.want(c, 0x24)
		if got := iscsitest.Keys(r.Data); got["SendTargets"] != "Reject" {
			t.Errorf("%s: %v", what, got)
		}
	}
	b.send(c, c.TextRequest(0xffffffff, "SendTargets="+locked))
	if r = b.want(c, 0x24); len(r.Data) != 0 {
		t.Errorf("another target's address in a normal session: %q", r.Data)
	}
}

func TestText(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session()
	// A request in parts, cut within a key.
	p := c.TextRequest(0xffffffff)
	p.BHS[1], p.Data = 0x40, []byte("MaxRecvDataSeg")
	b.send(c, p)
	r := b.want(c, 0x24)
	if r.BHS[1]&0x80 != 0 || r.U32(20) == 0xffffffff || len(r.Data) != 0 {
		t.Fatalf("%v", &r)
	}
	itt := p.ITT()
	p = c.TextRequest(r.U32(20))
	p.Put32(16, itt)
	p.Data = []byte("mentLength=512\x00X-odd=1\x00MaxBurstLength=512\x00")
	b.send(c, p)
	r = b.want(c, 0x24)
	if got := iscsitest.Keys(r.Data); r.BHS[1]&0x80 == 0 || len(got) != 2 || got["X-odd"] != "NotUnderstood" || got["MaxBurstLength"] != "Reject" {
		t.Fatalf("%v %q", &r, r.Data)
	}
	// The new limit holds.
	itt, err := c.Start(iscsitest.Read10(0, 2, 512))
	if err != nil {
		t.Fatal(err)
	}
	if d := b.want(c, 0x25); d.ITT() != itt || len(d.Data) != 512 {
		t.Errorf("%v", &d)
	}
	b.want(c, 0x25)
	// What is wrong is rejected.
	bad := c.TextRequest(0xffffffff)
	bad.Data = []byte("nonsense\x00")
	b.send(c, bad)
	b.want(c, 0x3f)
	b.send(c, c.TextRequest(4711, "SendTargets="))
	b.want(c, 0x3f)
	// And so is what never ends.
	p = c.TextRequest(0xffffffff)
	p.BHS[1], p.Data = 0x40, make([]byte, 4096)
	for i := 0; ; i++ {
		b.send(c, p)
		r, err := c.Receive()
		if err != nil || i > 20 {
			t.Fatal(i, err)
		}
		if r.Op() == 0x3f {
			break
		}
		p.Put32(20, r.U32(20))
	}
}

func TestNOP(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session("MaxRecvDataSegmentLength=1024")
	for _, immediate := range []bool{true, false} {
		p := iscsitest.PDU{Data: noise(1, 3000)}
		p.BHS[1] = 0x80
		if immediate {
			p.BHS[0] = 0x40
		}
		p.Put32(16, c.NextITT())
		p.Put32(20, 0xffffffff)
		p.Put32(24, c.CmdSN)
		if !immediate {
			c.CmdSN++
		}
		b.send(c, p)
		r := b.want(c, 0x20)
		if r.ITT() != p.ITT() || r.U32(20) != 0xffffffff || r.U32(28) != c.CmdSN {
			t.Errorf("%v", &r)
		}
		same(t, "echo", p.Data[:1024], r.Data)
	}
	p := iscsitest.PDU{}
	p.BHS[0], p.BHS[1] = 0x40, 0x80
	p.Put32(16, 0xffffffff)
	p.Put32(20, 0xffffffff)
	b.send(c, p)
	b.quiet(c)
}

func TestLogout(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session()
	p := c.Logout()
	p.BHS[1] = 0x82 // remove for recovery
	b.send(c, p)
	if r := b.want(c, 0x26); r.BHS[2] != 2 {
		t.Errorf("%v", &r)
	}
	p.BHS[1] = 0x81
	p.Put16(20, 99) // another connection
	b.send(c, p)
	if r := b.want(c, 0x26); r.BHS[2] != 1 {
		t.Errorf("%v", &r)
	}
	// A running write is waited for; its answer is not sent.
	arrived, release := b.disks[0].Hold(faultdev.Write)
	if _, err := c.Start(iscsitest.Write10(0, noise(1, 512), 512)); err != nil {
		t.Fatal(err)
	}
	<-arrived
	b.send(c, c.Logout())
	b.quiet(c)
	release()
	if r := b.want(c, 0x26); r.BHS[2] != 0 {
		t.Errorf("%v", &r)
	}
	b.closed(c)
}

// A new login of the same initiator port ends the old session, once it has
// proven who it is, and after the old one's writes (section 6.3.5).
func TestReinstatement(t *testing.T) {
	b := start(t, iscsi.Options{})
	chap := iscsitest.CHAP{Algorithm: 5, User: "alice", Secret: "alice-secret-123"}
	victim := b.dial()
	if _, err := victim.LoginCHAP(chap, iscsitest.Names(alice, locked)); err != nil {
		t.Fatal(err)
	}
	// Nobody who can't authenticate disturbs it.
	for _, login := range []func(c *iscsitest.Conn) error{
		func(c *iscsitest.Conn) error { _, err := c.Login(iscsitest.Names(alice, locked)...); return err },
		func(c *iscsitest.Conn) error {
			wrong := chap
			wrong.Secret = "wrong-secret-123"
			_, err := c.LoginCHAP(wrong, iscsitest.Names(alice, locked))
			return err
		},
		func(c *iscsitest.Conn) error {
			c.TSIH = victim.TSIH
			_, err := c.Login(iscsitest.Names(alice, locked)...)
			return err
		},
		func(c *iscsitest.Conn) error { _, err := c.Login(iscsitest.Names(bob, locked)...); return err },
	} {
		if err := login(b.dial()); err == nil {
			t.Fatal("logged in")
		}
	}
	if _, err := victim.Do(iscsitest.TestUnitReady()); err != nil {
		t.Fatalf("victim: %v", err)
	}
	if _, err := victim.Do(iscsitest.TestUnitReady()); err != nil {
		t.Fatalf("victim: %v", err)
	}

	// The true owner waits for the write that is running.
	arrived, release := b.disks[0].Hold(faultdev.Write)
	if _, err := victim.Start(iscsitest.Write10(0, noise(1, 512), 512)); err != nil {
		t.Fatal(err)
	}
	<-arrived
	owner := b.dial()
	done := make(chan error, 1)
	go func() {
		_, err := owner.LoginCHAP(chap, iscsitest.Names(alice, locked))
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("login did not wait for the old session: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	b.closed(victim)
	if r, err := owner.Do(iscsitest.TestUnitReady()); err != nil || r.SenseCode() != 0x062900 {
		t.Errorf("first command of the new session: %+v, %v", r, err)
	}
	// Another ISID is another session.
	second := b.dial()
	second.ISID[5] = 99
	if _, err := second.LoginCHAP(chap, iscsitest.Names(alice, locked)); err != nil {
		t.Fatal(err)
	}
	if _, err := owner.Do(iscsitest.TestUnitReady()); err != nil {
		t.Error(err)
	}
	if ss := b.srv.Sessions(); len(ss) != 2 || ss[0].Initiator != alice || ss[0].Target != locked {
		t.Errorf("sessions: %+v", ss)
	}
}

// With the TSIH, the connection is replaced and the session goes on: the same
// nexus, and the command numbers where they were (section 6.3.4).
func TestConnectionReinstatement(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session()
	again := b.dial()
	again.TSIH, again.CmdSN = c.TSIH, c.CmdSN
	if _, err := again.Login(iscsitest.Names(alice, open)...); err != nil {
		t.Fatal(err)
	}
	b.closed(c)
	if again.TSIH != c.TSIH {
		t.Errorf("TSIH %d, want %d", again.TSIH, c.TSIH)
	}
	if r := b.do(again, iscsitest.TestUnitReady()); r.Status != 0 {
		t.Errorf("a unit attention in a session that goes on: %+v", r)
	}
}

// What an initiator held is free once it has hung up and logs in again, from
// another port too, even if a command keeps the old session for a while. A
// device that doesn't come back keeps nobody out.
func TestLoginAfterHangUp(t *testing.T) {
	for _, stuck := range []bool{false, true} {
		b := start(t, iscsi.Options{})
		c := b.session()
		b.good(c, iscsitest.Command{CDB: []byte{0x16, 0, 0, 0, 0, 0}}) // RESERVE (6)
		arrived, release := b.disks[0].Hold(faultdev.Write)
		if _, err := c.Start(iscsitest.Write10(0, noise(1, 512), 512)); err != nil {
			t.Fatal(err)
		}
		<-arrived
		c.Close()
		if stuck {
			defer release()
		} else {
			time.AfterFunc(100*time.Millisecond, release)
		}
		again := b.dial()
		again.ISID[5] ^= 0x55
		if _, err := again.Login(iscsitest.Names(alice, open)...); err != nil {
			t.Fatal(err)
		}
		if n, want := len(b.srv.Sessions()), map[bool]int{false: 1, true: 2}[stuck]; n != want {
			t.Errorf("stuck %v: %d sessions, want %d", stuck, n, want)
		}
	}
}

func TestRemove(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session()
	if err := b.srv.Remove(open); err != nil {
		t.Fatal(err)
	}
	b.closed(c)
	c = b.dial()
	_, err := c.Login(iscsitest.Names(alice, open)...)
	refused(t, err, 0x0203)
	if err := b.srv.Remove(open); err == nil {
		t.Error("removed twice")
	}
}

func TestAddRefuses(t *testing.T) {
	srv := iscsi.NewServer(iscsi.Options{})
	good := &iscsi.Credentials{User: "u", Secret: "123456789012"}
	for name, target := range map[string]iscsi.Target{
		"no name":           {},
		"bad initiator":     {Name: "iqn.x:y", Initiators: []string{"a b"}},
		"short secret":      {Name: "iqn.x:y", CHAP: &iscsi.Credentials{User: "u", Secret: "12345678901"}},
		"no user":           {Name: "iqn.x:y", CHAP: &iscsi.Credentials{Secret: "123456789012"}},
		"mutual only":       {Name: "iqn.x:y", Mutual: good},
		"same secret twice": {Name: "iqn.x:y", CHAP: good, Mutual: &iscsi.Credentials{User: "t", Secret: good.Secret}},
		"alias":             {Name: "iqn.x:y", Alias: "a\nb"},
	} {
		if err := srv.Add(target); err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.Contains(err.Error(), "12345678901") {
			t.Errorf("%s: the error tells the secret: %v", name, err)
		}
	}
}
