package unh_test

import (
	"fmt"
	"strings"

	"github.com/google/go-cmp/cmp"

	"sanstick/target/iscsitest"
)

const noTag = 0xffffffff

// text exchanges one text request.
func (b *bench) text(c *iscsitest.Conn, keys ...string) map[string]string {
	b.Helper()
	req := c.TextRequest(noTag, keys...)
	p := b.ask(c, req, 0x24)
	if p.ITT() != req.ITT() || p.BHS[1] != 0x80 || p.U32(20) != noTag {
		b.Errorf("want a final text response, got %v", &p)
	}
	return iscsitest.Keys(p.Data)
}

func (b *bench) keys(what string, want, got map[string]string) {
	b.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		b.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// discover starts a discovery session.
func (b *bench) discover() *iscsitest.Conn {
	b.Helper()
	c := b.dial()
	if _, err := c.Login("InitiatorName="+alice, "SessionType=Discovery"); err != nil {
		b.Fatal(err)
	}
	return c
}

// here is a target as SendTargets tells it.
func (b *bench) here(iqn string) map[string]string {
	return map[string]string{"TargetName": iqn, "TargetAddress": b.addr + ",1"}
}

// texts is group 17.
var texts = []test{
	{"17.1", "the fields of a text response", func(b *bench) {
		c := b.session()
		req := c.TextRequest(noTag, "SendTargets=")
		req.BHS[0] &^= 0x40
		c.CmdSN++
		next := c.ExpStatSN
		p := b.ask(c, req, 0x24)
		if p.BHS[1] != 0x80 || p.ITT() != req.ITT() || p.U32(20) != noTag || p.U32(24) != next || p.U32(28) != c.CmdSN {
			b.Errorf("got %v", &p)
		}
		b.alive(c)
	}},
	{"17.2", "a request without F bit gets an answer without", func(b *bench) {
		c := b.session()
		req := c.TextRequest(noTag, "SendTargets=")
		req.BHS[1] = 0
		p := b.ask(c, req, 0x24)
		if p.BHS[1]&0x80 != 0 || p.U32(20) == noTag || p.ITT() != req.ITT() {
			b.Fatalf("got %v", &p)
		}
		data := p.Data
		end := c.TextRequest(p.U32(20))
		end.Put32(16, req.ITT())
		p = b.ask(c, end, 0x24)
		if p.BHS[1] != 0x80 || p.U32(20) != noTag {
			b.Errorf("got %v", &p)
		}
		b.keys("answer", b.here(*name), iscsitest.Keys(append(data, p.Data...)))
		b.alive(c)
	}},
	{"17.3.1", "SendTargets=All in a discovery session", func(b *bench) {
		c := b.discover()
		got := b.text(c, "SendTargets=All")
		for _, iqn := range []string{*name, *secondName} {
			if !strings.Contains(" "+got["TargetName"]+" ", " "+iqn+" ") {
				b.Errorf("no %s in %v", iqn, got)
			}
		}
		// Nothing but text, pings and logout there.
		p, _ := c.Request(iscsitest.TestUnitReady())
		b.rejected(c, p, rejectProtocol, rejectCommand)
		b.rejected(c, c.Manage(iscsitest.LUNReset, 0, noTag), rejectProtocol, rejectCommand)
		if p := b.ask(c, c.Logout(), 0x26); p.BHS[2] != 0 {
			b.Errorf("logout: %v", &p)
		}
	}},
	{"17.3.2", "SendTargets=All in a normal session", func(b *bench) {
		c := b.session()
		b.keys("answer", map[string]string{"SendTargets": "Reject"}, b.text(c, "SendTargets=All"))
		b.alive(c)
	}},
	{"17.3.3", "SendTargets with a name in a discovery session", func(b *bench) {
		c := b.discover()
		b.keys("answer", b.here(*secondName), b.text(c, "SendTargets="+*secondName))
		b.keys("no such target", map[string]string{}, b.text(c, "SendTargets=iqn.2026-01.test:nothing"))
	}},
	{"17.3.4", "SendTargets without value in a normal session", func(b *bench) {
		c := b.session()
		b.keys("answer", b.here(*name), b.text(c, "SendTargets="))
	}},
	{"17.3.5", "SendTargets with a name in a normal session", func(b *bench) {
		c := b.session()
		b.keys("its own", b.here(*name), b.text(c, "SendTargets="+*name))
		if got := b.text(c, "SendTargets="+*secondName); got["TargetName"] != "" {
			b.Errorf("told of another target: %v", got)
		}
	}},
	{"17.4.1", "keys that nobody knows, and keys of login", func(b *bench) {
		c := b.session()
		want := map[string]string{"X-com.example.key": "NotUnderstood", "Foo": "NotUnderstood"}
		b.keys("unknown", want, b.text(c, "X-com.example.key=1", "Foo="))
		for _, k := range []string{"MaxBurstLength=512", "HeaderDigest=CRC32C", "TargetName=" + *name, "AuthMethod=None", "MaxConnections=2"} {
			key, _, _ := strings.Cut(k, "=")
			req := c.TextRequest(noTag, k)
			switch p, err := c.Exchange(req); {
			case err != nil:
				b.Fatal(err)
			case p.Op() == 0x3f:
			case p.Op() != 0x24 || iscsitest.Keys(p.Data)[key] != "Reject":
				b.Errorf("%s: %v, %q", k, &p, p.Data)
			}
		}
		b.alive(c)
	}},
	{"17.4.2", "MaxRecvDataSegmentLength in the full feature phase", func(b *bench) {
		c := b.session("MaxRecvDataSegmentLength=8192")
		if got := b.text(c, "MaxRecvDataSegmentLength=512"); got["MaxRecvDataSegmentLength"] == "Reject" {
			b.Errorf("got %v", got)
		}
		for _, p := range b.read(c, iscsitest.Read10(0, 8, blockSize)).pdus {
			if len(p.Data) > 512 {
				b.Fatalf("%d bytes in a Data-In PDU", len(p.Data))
			}
		}
		// An inadmissible value changes nothing.
		if got := b.text(c, "MaxRecvDataSegmentLength=511"); got["MaxRecvDataSegmentLength"] != "Reject" {
			b.Errorf("511: %v", got)
		}
		b.alive(c)
	}},
	{"17.5", "tags of a text request", func(b *bench) {
		c := b.session()
		p := c.TextRequest(noTag, "SendTargets=")
		p.Put32(16, noTag)
		b.rejected(c, p, rejectField, rejectProtocol)
		b.rejected(c, c.TextRequest(4711, "SendTargets="), rejectField, rejectProtocol)
		b.alive(c)
	}},
	{"17.6", "a key twice in one negotiation", func(b *bench) {
		c := b.session("MaxRecvDataSegmentLength=4096")
		req := c.TextRequest(noTag, "MaxRecvDataSegmentLength=512", "MaxRecvDataSegmentLength=16384")
		switch p, err := c.Exchange(req); {
		case err != nil:
			b.Fatal(err)
		case p.Op() == 0x3f:
			b.isReject(p, req, rejectProtocol)
		case !strings.Contains(iscsitest.Keys(p.Data)["MaxRecvDataSegmentLength"], "Reject"):
			b.Errorf("got %v, %q", &p, p.Data)
		}
		for _, p := range b.read(c, iscsitest.Read10(0, 64, blockSize)).pdus {
			if len(p.Data) > 4096 {
				b.Fatalf("%d bytes in a Data-In PDU", len(p.Data))
			}
		}
		b.alive(c)
	}},
	{"17.7.1", "a negotiation is begun anew", func(b *bench) {
		c := b.session()
		req := c.TextRequest(noTag, "SendTargets=")
		req.BHS[1] = 0
		p := b.ask(c, req, 0x24)
		old := p.U32(20)
		b.keys("new one", b.here(*name), b.text(c, "SendTargets="))
		b.rejected(c, c.TextRequest(old), rejectField, rejectProtocol) // forgotten
		b.alive(c)
	}},
	{"17.7.2", "a negotiation that was reset changes nothing", func(b *bench) {
		c := b.session("MaxRecvDataSegmentLength=4096")
		req := c.TextRequest(noTag, "MaxRecvDataSegmentLength=512")
		req.BHS[1] = 0x40 // to be continued, and never is
		p := b.ask(c, req, 0x24)
		if p.BHS[1] != 0 || p.U32(20) == noTag || len(p.Data) != 0 {
			b.Fatalf("got %v", &p)
		}
		b.keys("new one", b.here(*name), b.text(c, "SendTargets="))
		long := false
		for _, p := range b.read(c, iscsitest.Read10(0, 64, blockSize)).pdus {
			long = long || len(p.Data) > 512
		}
		if !long {
			b.Error("the value of a negotiation that wasn't finished is in force")
		}
	}},
	{"17.7.3", "a negotiation that fails", func(b *bench) {
		c := b.session()
		p := c.TextRequest(noTag)
		p.Data = []byte("no equals sign\x00")
		b.rejected(c, p, rejectProtocol, rejectField)
		p = c.TextRequest(noTag)
		p.Data = []byte(strings.Repeat("K", 64) + "=1\x00")
		b.rejected(c, p, rejectProtocol, rejectField)
		b.keys("afterwards", b.here(*name), b.text(c, "SendTargets="))
		b.alive(c)
	}},
	{"17.8.1", "a request in several PDUs", func(b *bench) {
		c := b.session()
		whole := iscsitest.Text("SendTargets=", "Foo=bar")
		ttt := uint32(noTag)
		itt := c.NextITT()
		for i, part := range [][]byte{whole[:4], whole[4:12], whole[12:18], whole[18:]} { // keys are split
			p := c.TextRequest(ttt)
			p.Put32(16, itt)
			p.Data = part
			if i < 3 {
				p.BHS[1] = 0x40
			}
			got := b.ask(c, p, 0x24)
			if i < 3 {
				if got.BHS[1] != 0 || len(got.Data) != 0 || got.U32(20) == noTag {
					b.Fatalf("part %d: %v", i, &got)
				}
				ttt = got.U32(20)
				continue
			}
			want := b.here(*name)
			want["Foo"] = "NotUnderstood"
			b.keys("answer", want, iscsitest.Keys(got.Data))
		}
		b.alive(c)
	}},
	{"17.8.2", "C bit together with F bit", func(b *bench) {
		c := b.session()
		p := c.TextRequest(noTag, "SendTargets=")
		p.BHS[1] = 0xc0
		b.rejected(c, p, rejectProtocol, rejectField)
		b.alive(c)
	}},
	{"17.8.3", "an answer in several PDUs", func(b *bench) {
		c := b.session("MaxRecvDataSegmentLength=512")
		var keys []string
		want := map[string]string{}
		for i := range 40 {
			k := fmt.Sprintf("X-com.example.%02d", i)
			keys = append(keys, k+"=")
			want[k] = "NotUnderstood"
		}
		req := c.TextRequest(noTag, keys...)
		p := b.ask(c, req, 0x24)
		data, parts := p.Data, 1
		for ; p.BHS[1]&0x40 != 0; parts++ {
			if p.BHS[1]&0x80 != 0 || len(p.Data) > 512 || p.U32(20) == noTag {
				b.Fatalf("got %v", &p)
			}
			next := c.TextRequest(p.U32(20))
			next.Put32(16, req.ITT())
			p = b.ask(c, next, 0x24)
			data = append(data, p.Data...)
		}
		if p.BHS[1] != 0x80 || parts < 2 {
			b.Errorf("%d parts, the last is %v", parts, &p)
		}
		b.keys("answer", want, iscsitest.Keys(data))
		b.alive(c)
	}},
}

// digests is groups 18 and 19.
var digests = []test{
	{"18.1", "a header with a wrong digest ends the connection", func(b *bench) {
		for _, keys := range [][]string{
			{"HeaderDigest=CRC32C,None", "DataDigest=None"}, {"HeaderDigest=None", "DataDigest=CRC32C"}, {"HeaderDigest=CRC32C", "DataDigest=CRC32C"},
		} {
			c := b.session(keys...)
			data := noise(80, 21*blockSize)
			b.good(c, iscsitest.Write10(0, data, blockSize))
			b.same("data", data, b.good(c, iscsitest.Read10(0, 21, blockSize)))
			if p := b.ask(c, c.NOPOut(true, []byte("odd")), 0x20); string(p.Data) != "odd" { // padding
				b.Errorf("got %v", &p)
			}
			if c.HeaderDigest {
				p, _ := c.Request(iscsitest.Write10(0, noise(81, blockSize), blockSize))
				if err := c.SendSpoiled(p, iscsitest.SpoilHeaderDigest); err != nil {
					b.Fatal(err)
				}
				b.gone(c)
				b.same("medium", data, b.onDisk(0, 21))
			}
		}
	}},
	{"18.2.1", "Data-Out with a wrong data digest", func(b *bench) {
		before := b.fill(0, 2, 82)
		c := b.session(append(solicited, "DataDigest=CRC32C")...)
		data := noise(83, 2*blockSize)
		p, r2t := b.pending(c, 0, data)
		d := c.DataOut(p.ITT(), r2t.U32(20), 0, 0, 0, data)
		if err := c.SendSpoiled(d, iscsitest.SpoilDataDigest); err != nil {
			b.Fatal(err)
		}
		b.spoiled(c, p, d)
		b.same("medium", before, b.onDisk(0, 2))
	}},
	{"18.2.2", "immediate data with a wrong data digest", func(b *bench) {
		before := b.fill(0, 2, 84)
		c := b.session("ImmediateData=Yes", "DataDigest=CRC32C")
		p, _ := c.Request(iscsitest.Write10(0, noise(85, 2*blockSize), blockSize))
		if err := c.SendSpoiled(p, iscsitest.SpoilDataDigest); err != nil {
			b.Fatal(err)
		}
		b.spoiled(c, p, p)
		ping := c.NOPOut(true, []byte("ping"))
		if err := c.SendSpoiled(ping, iscsitest.SpoilDataDigest); err != nil {
			b.Fatal(err)
		}
		b.isReject(b.want(c, 0x3f), ping, rejectDataDigest)
		b.alive(c)
		b.same("medium", before, b.onDisk(0, 2))
	}},
	{"19.1", "nothing moves beyond the expected length", func(b *bench) {
		data := b.fill(0, 8, 86)
		c := b.session(solicited...)
		for _, edtl := range []int{1, 511, 512, 513, 700, 4095, 4096, 5000} {
			cmd := iscsitest.Read10(0, 8, blockSize)
			cmd.In = edtl
			if r := b.do(c, cmd); len(r.Data) > edtl || string(r.Data) != string(data[:len(r.Data)]) {
				b.Errorf("READ with length %d: %d bytes", edtl, len(r.Data))
			}
			cmd = iscsitest.Write10(16, make([]byte, 8*blockSize), blockSize)
			cmd.Out = noise(87, edtl)
			r := b.do(c, cmd) // an R2T beyond Out is an error there
			if r.Status == 0 && edtl < 4096 && (!r.Overflow || r.Residual != uint32(4096-edtl)) {
				b.Errorf("WRITE with length %d: %+v", edtl, r)
			}
		}
		b.alive(c)
	}},
}

// spoiled receives the Reject for a PDU whose data digest was wrong, and the
// end of its command, in whichever order.
func (b *bench) spoiled(c *iscsitest.Conn, command, bad iscsitest.PDU) {
	b.Helper()
	rejected := false
	for {
		p, err := c.Receive()
		if err != nil {
			b.Fatal(err)
		}
		switch {
		case p.Op() == 0x3f && !rejected:
			b.isReject(p, bad, rejectDataDigest)
			rejected = true
		case p.Op() == 0x31: // asks for the data after all
			b.satisfy(c, p, make([]byte, 1<<16)[:p.U32(40)+p.U32(44)])
		case p.Op() == 0x21 && p.ITT() == command.ITT():
			if p.BHS[3] != 2 || len(p.Data) < 16 || p.Data[4]&15 != 0x0b || p.Data[14] != 0x47 && p.Data[14] != 0x0c {
				b.Errorf("the command ends with %v, % x", &p, p.Data)
			}
			if !rejected {
				b.isReject(b.want(c, 0x3f), bad, rejectDataDigest)
			}
			b.alive(c)
			return
		default:
			b.Fatalf("unexpected %v", &p)
		}
	}
}
