package unh_test

import (
	"strings"
	"testing"

	"sanstick/target/iscsitest"
)

// loginNumbers are the tests of the login phase.
const loginNumbers = `1.1 1.2 2.1 2.2 2.3 3.1 3.2 3.3 4.1 4.2 5.1 6.1 6.2 6.3 7.1 7.2 7.3 7.4 7.5 7.6 8.1 8.2 9.1 9.2 9.3 10.1
	11.1 11.2 12.1 13.1 13.2 13.3 14.1 15.1 16.1 16.2 16.3 17.1 18.1 19.1 20.1 21.1 22.1 23.1 24.1 25.1 25.2 26.1 26.2 27.1`

// TestUNHLogin is the login phase list.
func TestUNHLogin(t *testing.T) { runList(t, append(logins, values...), loginNumbers) }

// Stages, for short.
const (
	security    = iscsitest.Security
	operational = iscsitest.Operational
	fullFeature = iscsitest.FullFeature
)

// step sends one login request, which must be accepted.
func (b *bench) step(c *iscsitest.Conn, stage, to byte, keys ...string) (iscsitest.PDU, map[string]string) {
	b.Helper()
	p, got, err := c.LoginStep(stage, to, keys...)
	if err != nil {
		b.Fatal(err)
	}
	return p, got
}

// refused sends one login request that must be refused with one of the
// statuses.
func (b *bench) refused(c *iscsitest.Conn, stage, to byte, keys []string, statuses ...uint16) {
	b.Helper()
	_, _, err := c.LoginStep(stage, to, keys...)
	b.refusedLogin(c, err, statuses...)
}

func names(more ...string) []string { return iscsitest.Names(alice, *name, more...) }

// answered logs in with keys and compares what the target says to them.
func (b *bench) answered(want map[string]string, keys ...string) {
	b.Helper()
	c := b.dial()
	defer c.Close()
	_, got := b.step(c, operational, 0, append(names(), keys...)...)
	for _, unasked := range []string{"TargetPortalGroupTag", "TargetAlias"} {
		delete(got, unasked)
	}
	if _, asked := want["MaxRecvDataSegmentLength"]; !asked {
		delete(got, "MaxRecvDataSegmentLength")
	}
	b.keys(strings.Join(keys, " "), want, got)
	if p, _ := b.step(c, operational, fullFeature); p.BHS[1]&0x83 != 0x83 {
		b.Errorf("%v: no way to the full feature phase: %v", keys, &p)
	}
	c.HeaderDigest, c.DataDigest = got["HeaderDigest"] == "CRC32C", got["DataDigest"] == "CRC32C"
	b.settle(c)
}

// one is an answer of one key.
func one(key, value string) map[string]string { return map[string]string{key: value} }

// logins is groups 1 to 8 and 21 to 27: the course of a login.
var logins = []test{
	{"1.1", "login through both stages", func(b *bench) {
		c := b.dial()
		p, got := b.step(c, security, operational, names("AuthMethod=CHAP,None")...)
		if p.BHS[1] != 0x81 || got["AuthMethod"] != "None" {
			b.Errorf("security: %v, %v", &p, got)
		}
		p, _ = b.step(c, operational, fullFeature, "HeaderDigest=None", "DataDigest=None")
		if p.BHS[1] != 0x87 {
			b.Errorf("operational: %v", &p)
		}
		b.settle(c)
		b.alive(c)
	}},
	{"1.2", "login straight to the operational stage, or past it", func(b *bench) {
		b.alive(b.session())
		c := b.dial()
		if p, _ := b.step(c, security, fullFeature, names("AuthMethod=None")...); p.BHS[1] != 0x83 {
			b.Errorf("got %v", &p)
		}
		b.alive(c)
	}},
	{"2.1", "TSIH is given at the end", func(b *bench) {
		c, d := b.dial(), b.dial()
		p, _ := b.step(c, security, operational, names("AuthMethod=None")...)
		if p.U16(14) != 0 {
			b.Errorf("TSIH %d before the end", p.U16(14))
		}
		p, _ = b.step(c, operational, fullFeature)
		q, _ := b.step(d, operational, fullFeature, names()...)
		if p.U16(14) == 0 || q.U16(14) == 0 || p.U16(14) == q.U16(14) {
			b.Errorf("TSIHs %d and %d of two sessions", p.U16(14), q.U16(14))
		}
	}},
	{"2.2", "TSIH of no session", func(b *bench) {
		c := b.dial()
		c.TSIH = 0x7777
		b.refused(c, operational, fullFeature, names(), 0x020a)
	}},
	{"2.3", "TSIH of a session there is: no second connection", func(b *bench) {
		old := b.session()
		c := b.dial()
		c.ISID, c.TSIH = old.ISID, old.TSIH
		p := c.LoginRequest(operational, fullFeature, names()...)
		p.Put16(20, 1) // CID
		_, _, err := c.LoginExchange(p)
		b.refusedLogin(c, err, 0x0206, 0x0208)
		// With another ISID it is none of theirs.
		c = b.dial()
		c.TSIH = old.TSIH
		b.refused(c, operational, fullFeature, names(), 0x020a)
		b.alive(old)
	}},
	{"3.1", "T bit only where it was asked for", func(b *bench) {
		c := b.dial()
		for i, stage := range []byte{security, operational} {
			keys := []string{}
			if i == 0 {
				keys = names("AuthMethod=None")
			}
			if p, _ := b.step(c, stage, 0, keys...); p.BHS[1]&0x83 != 0 || p.BHS[1]>>2&3 != stage {
				b.Errorf("stage %d, no T bit: %v", stage, &p)
			}
			if p, _ := b.step(c, stage, stage*2+1); p.BHS[1] != 0x80|stage<<2|stage*2+1 {
				b.Errorf("stage %d, T bit: %v", stage, &p)
			}
		}
		b.alive(c)
	}},
	{"3.2", "T bit too early", func(b *bench) {
		c := b.dial()
		p, got := b.step(c, security, operational, iscsitest.Names(alice, *chapName, "AuthMethod=CHAP")...)
		if p.BHS[1]&0x80 != 0 || got["AuthMethod"] != "CHAP" {
			b.Errorf("transit before authentication: %v, %v", &p, got)
		}
	}},
	{"3.3", "stages that don't exist, or go back", func(b *bench) {
		for _, flags := range []byte{0x80 | 2<<2 | 3, 0x80 | 3<<2 | 3, 0x80 | 1<<2 | 2, 0x80 | 1<<2 | 1, 0x80 | 1<<2, 0x80 | 0<<2 | 2} {
			c := b.dial()
			p := c.LoginRequest(operational, fullFeature, names()...)
			p.BHS[1] = flags
			_, _, err := c.LoginExchange(p)
			b.refusedLogin(c, err, 0x0200, 0x020b)
		}
		c := b.dial()
		b.step(c, operational, 0, names()...)
		b.refused(c, security, operational, []string{"AuthMethod=None"}, 0x0200, 0x020b)
	}},
	{"4.1", "StatSN in login", func(b *bench) {
		c := b.dial()
		p, _ := b.step(c, security, 0, names("AuthMethod=None")...)
		sn := p.U32(24)
		for i, to := range []byte{0, operational, fullFeature} {
			stage := byte(security)
			if i == 2 {
				stage = operational
			}
			p, _ := b.step(c, stage, to)
			if sn++; p.U32(24) != sn {
				b.Errorf("StatSN %d, want %d", p.U32(24), sn)
			}
		}
	}},
	{"4.2", "StatSN goes on after login", func(b *bench) {
		c := b.dial()
		p, _ := b.step(c, operational, fullFeature, names()...)
		if q := b.ask(c, c.NOPOut(true, nil), 0x20); q.U32(24) != p.U32(24)+1 {
			b.Errorf("StatSN %d after %d", q.U32(24), p.U32(24))
		}
	}},
	{"5.1", "CmdSN of login is that of the first command", func(b *bench) {
		c := b.dial()
		c.CmdSN = 0xfffffffe
		p, _ := b.step(c, operational, 0, names()...)
		if p.U32(28) != c.CmdSN {
			b.Errorf("ExpCmdSN %#x, want %#x", p.U32(28), c.CmdSN)
		}
		if p, _ := b.step(c, operational, fullFeature); p.U32(28) != c.CmdSN || after(p.U32(28)-1, p.U32(32)) {
			b.Errorf("ExpCmdSN %#x, MaxCmdSN %#x", p.U32(28), p.U32(32))
		}
		b.alive(c)
	}},
	{"6.1", "a key twice in a request", func(b *bench) {
		b.refused(b.dial(), operational, fullFeature, names("MaxBurstLength=4096", "MaxBurstLength=4096"), 0x0200)
		b.refused(b.dial(), operational, fullFeature, names("MaxRecvDataSegmentLength=4096", "MaxRecvDataSegmentLength=512"), 0x0200)
	}},
	{"6.2", "a key twice in a login", func(b *bench) {
		c := b.dial()
		b.step(c, operational, 0, names("ImmediateData=Yes")...)
		b.refused(c, operational, fullFeature, []string{"ImmediateData=Yes"}, 0x0200)
	}},
	{"6.3", "names stay the same", func(b *bench) {
		c := b.dial()
		b.step(c, operational, 0, names()...)
		b.refused(c, operational, fullFeature, []string{"InitiatorName=" + alice + "x"}, 0x0200)
		c = b.dial()
		b.step(c, operational, 0, names()...)
		b.refused(c, operational, fullFeature, []string{"TargetName=" + *secondName}, 0x0200)
	}},
	{"7.1", "the fields of a login response", func(b *bench) {
		c := b.dial()
		p := c.LoginRequest(security, operational, names("AuthMethod=None")...)
		p.Put32(16, 0xabcd)
		p.BHS[2] = 5 // version max
		got, _, err := c.LoginExchange(p)
		if err != nil {
			b.Fatal(err)
		}
		if got.BHS[2] != 0 || got.BHS[3] != 0 || string(got.BHS[8:14]) != string(p.BHS[8:14]) || got.ITT() != 0xabcd || got.U16(36) != 0 {
			b.Errorf("got %v", &got)
		}
		// ISID, ITT and CID stay the same in all requests of a login.
		for _, spoil := range []func(*iscsitest.PDU){
			func(p *iscsitest.PDU) { p.BHS[13]++ },
			func(p *iscsitest.PDU) { p.Put32(16, 0xabce) },
			func(p *iscsitest.PDU) { p.Put16(20, 3) },
			func(p *iscsitest.PDU) { p.Put16(14, 9) },
		} {
			c := b.dial()
			b.step(c, operational, 0, names()...)
			p := c.LoginRequest(operational, fullFeature)
			spoil(&p)
			_, _, err := c.LoginExchange(p)
			b.refusedLogin(c, err, 0x0200, 0x020a)
		}
	}},
	{"7.2", "the first of a list that is supported", func(b *bench) {
		b.answered(one("HeaderDigest", "CRC32C"), "HeaderDigest=CRC32C,None")
		b.answered(one("DataDigest", "None"), "DataDigest=Foo,None,CRC32C")
	}},
	{"7.3", "no method of authentication in common", func(b *bench) {
		b.refused(b.dial(), security, operational, names("AuthMethod=KRB5,SRP"), 0x0201, 0x0200)
	}},
	{"7.4", "a number out of range", func(b *bench) {
		b.answered(one("FirstBurstLength", "Reject"), "FirstBurstLength=16777216")
		b.answered(one("FirstBurstLength", "Reject"), "FirstBurstLength=511")
	}},
	{"7.5", "a value that is no boolean", func(b *bench) {
		b.answered(one("ImmediateData", "Reject"), "ImmediateData=Maybe")
		b.answered(one("ImmediateData", "Reject"), "ImmediateData=yes")
	}},
	{"7.6", "a key that nobody knows", func(b *bench) {
		b.answered(map[string]string{"Foo": "NotUnderstood", "X-com.example.k": "NotUnderstood"}, "Foo=bar", "X-com.example.k=")
	}},
	{"8.1", "something else than a login request", func(b *bench) {
		for _, make := range []func(c *iscsitest.Conn) iscsitest.PDU{
			func(c *iscsitest.Conn) iscsitest.PDU { return c.NOPOut(true, nil) },
			func(c *iscsitest.Conn) iscsitest.PDU { return c.TextRequest(noTag, "SendTargets=All") },
			func(c *iscsitest.Conn) iscsitest.PDU { p, _ := c.Request(iscsitest.TestUnitReady()); return p },
		} {
			c := b.dial()
			b.send(c, make(c))
			b.gone(c)
			c = b.dial() // in the middle of a login, too
			b.step(c, security, 0, names("AuthMethod=None")...)
			b.send(c, make(c))
			b.gone(c)
		}
	}},
	{"8.2", "text that isn't key=value", func(b *bench) {
		for _, text := range []string{"InitiatorName\x00", "=x\x00", strings.Repeat("K", 64) + "=1\x00", "HeaderDigest=" + strings.Repeat("N", 256) + "\x00", "a b=1\x00"} {
			c := b.dial()
			p := c.LoginRequest(operational, fullFeature, names()...)
			p.Data = append(p.Data, text...)
			_, _, err := c.LoginExchange(p)
			b.refusedLogin(c, err, 0x0200)
		}
	}},
	{"11.1", "names that are missing, wrong or written otherwise", func(b *bench) {
		b.refused(b.dial(), operational, fullFeature, []string{"TargetName=" + *name}, 0x0207)
		b.refused(b.dial(), operational, fullFeature, []string{"InitiatorName=" + alice}, 0x0207)
		b.refused(b.dial(), operational, fullFeature, iscsitest.Names(alice, *name+"x"), 0x0203)
		b.refused(b.dial(), operational, fullFeature, iscsitest.Names("", *name), 0x0200, 0x0207)
		b.refused(b.dial(), operational, fullFeature, iscsitest.Names(alice, "not a name"), 0x0200, 0x0203)
		c := b.dial() // RFC 3722 folds case
		b.step(c, operational, fullFeature, iscsitest.Names(strings.ToUpper(alice), strings.ToUpper(*name))...)
		b.alive(c)
	}},
	{"11.2", "discovery needs no TargetName", func(b *bench) {
		c := b.discover()
		if got := b.text(c, "SendTargets="+*name); got["TargetName"] != *name {
			b.Errorf("got %v", got)
		}
	}},
	{"21.1", "SessionType", func(b *bench) {
		c := b.dial() // Normal is the default
		b.step(c, operational, fullFeature, "InitiatorName="+alice, "TargetName="+*name)
		b.alive(c)
		b.refused(b.dial(), operational, fullFeature, []string{"InitiatorName=" + alice, "SessionType=Foo"}, 0x0209, 0x0200)
		// Keys of normal sessions don't matter in discovery.
		c = b.dial()
		_, got := b.step(c, operational, fullFeature, "InitiatorName="+alice, "SessionType=Discovery", "MaxBurstLength=4096", "InitialR2T=No", "MaxConnections=4")
		for _, k := range []string{"MaxBurstLength", "InitialR2T", "MaxConnections"} {
			if got[k] != "Irrelevant" {
				b.Errorf("%s=%s in a discovery session", k, got[k])
			}
		}
	}},
	{"22.1", "AuthMethod", func(b *bench) {
		c := b.dial()
		if _, got := b.step(c, security, operational, names("AuthMethod=Foo,None")...); got["AuthMethod"] != "None" {
			b.Errorf("got %v", got)
		}
		b.refused(b.dial(), security, operational, iscsitest.Names(alice, *chapName, "AuthMethod=None"), 0x0201)
		b.refused(b.dial(), operational, fullFeature, iscsitest.Names(alice, *chapName, "AuthMethod=CHAP"), 0x0201, 0x0200)
	}},
	{"23.1", "TargetPortalGroupTag in the first response", func(b *bench) {
		for _, stage := range []byte{security, operational} {
			c := b.dial()
			if _, got := b.step(c, stage, 0, names()...); got["TargetPortalGroupTag"] != "1" {
				b.Errorf("stage %d: %v", stage, got)
			}
		}
		c := b.dial()
		if _, got := b.step(c, operational, 0, "InitiatorName="+alice, "SessionType=Discovery"); got["TargetPortalGroupTag"] != "" {
			b.Errorf("discovery: %v", got)
		}
	}},
	{"24.1", "version", func(b *bench) {
		c := b.dial()
		p := c.LoginRequest(operational, fullFeature, names()...)
		p.BHS[2], p.BHS[3] = 2, 1 // max, min
		_, _, err := c.LoginExchange(p)
		b.refusedLogin(c, err, 0x0205)
	}},
	{"25.1", "a login of the same initiator port ends the old session", func(b *bench) {
		before := b.fill(0, 1, 90)
		old := b.session(solicited...)
		data := noise(91, blockSize)
		_, r2t := b.pending(old, 0, data)
		c := b.dial()
		c.ISID = old.ISID
		b.login(c)
		_ = old.SendData(r2t.ITT(), r2t.U32(20), 0, data, 0)
		b.gone(old)
		b.alive(c)
		b.same("medium", before, b.onDisk(0, 1))
		// A login that is refused ends nothing.
		d := b.dial()
		d.ISID = c.ISID
		b.refused(d, operational, fullFeature, names("MaxBurstLength=1", "MaxBurstLength=1"), 0x0200)
		b.alive(c)
	}},
	{"25.2", "another ISID is another session", func(b *bench) {
		c, d := b.session(), b.session()
		b.alive(c)
		b.alive(d)
	}},
	{"26.1", "a login request in several PDUs", func(b *bench) {
		c := b.dial()
		whole := iscsitest.Text(names("MaxBurstLength=4096")...)
		for i, part := range [][]byte{whole[:5], whole[5:40], whole[40:]} {
			p := c.LoginRequest(operational, fullFeature)
			p.Data = part
			if i < 2 {
				p.BHS[1] = operational<<2 | 0x40
			}
			got, keys, err := c.LoginExchange(p)
			if err != nil {
				b.Fatal(err)
			}
			if i < 2 && (got.BHS[1]&0xc0 != 0 || len(got.Data) != 0) {
				b.Fatalf("part %d: %v", i, &got)
			}
			if i == 2 && keys["MaxBurstLength"] != "4096" {
				b.Errorf("got %v", keys)
			}
		}
		b.alive(c)
	}},
	{"26.2", "C bit together with T bit", func(b *bench) {
		c := b.dial()
		p := c.LoginRequest(operational, fullFeature, names()...)
		p.BHS[1] |= 0x40
		_, _, err := c.LoginExchange(p)
		b.refusedLogin(c, err, 0x0200)
	}},
	{"27.1", "a second login on a connection", func(b *bench) {
		c := b.session()
		p := c.LoginRequest(operational, fullFeature, names()...)
		b.rejected(c, p, rejectProtocol, rejectCommand)
		b.alive(c)
	}},
}
