package iscsi_test

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sanstick/target/iscsi"
	"sanstick/target/iscsitest"
	"sanstick/target/scsi"
)

// rawLogin makes a login request for stage 1 to 3 with this text.
func rawLogin(c *iscsitest.Conn, text []byte) iscsitest.PDU {
	p := iscsitest.PDU{Data: text}
	p.BHS[0], p.BHS[1] = 0x43, 0x87
	copy(p.BHS[8:], c.ISID[:])
	p.Put32(24, c.CmdSN)
	return p
}

// loginText sends a login with this text and returns the status and the answer.
func (b *bench) loginText(text []byte) (status uint16, answer []byte) {
	b.t.Helper()
	c := b.dial()
	defer c.Close()
	b.send(c, rawLogin(c, text))
	p := b.want(c, 0x23)
	return p.U16(36), p.Data
}

// alive checks that nothing has gone wrong inside.
func (b *bench) alive() {
	b.t.Helper()
	c := b.dial()
	defer c.Close()
	c.ISID[5] = 0xee
	b.login(c, alice)
	if n := b.srv.Stats().Panics; n != 0 {
		b.t.Errorf("%d panics", n)
	}
}

func TestBug_CVE_2013_2850_LongUnknownKey(t *testing.T) {
	b := start(t, iscsi.Options{})
	names := iscsitest.Text(iscsitest.Names(alice, open)...)
	for n, want := range map[int]uint16{1: 0, 62: 0, 63: 0, 64: 0x200, 255: 0x200, 4000: 0x200, 7900: 0x200} {
		key := strings.Repeat("k", n)
		st, answer := b.loginText(append(names[:len(names):len(names)], key+"=v\x00"...))
		if st != want || want == 0 && iscsitest.Keys(answer)[key] != "NotUnderstood" || len(answer) > 8192 {
			t.Errorf("key of %d bytes: status %#04x, %d bytes of answer", n, st, len(answer))
		}
	}
	for n, want := range map[int]uint16{255: 0, 2100: 0, 2101: 0x200, 7900: 0x200} {
		if st, _ := b.loginText(append(names[:len(names):len(names)], "X-a="+strings.Repeat("v", n)...)); st != want {
			t.Errorf("value of %d bytes: status %#04x", n, st)
		}
	}
	b.alive()
}

func TestBug_LIO_bf33e01f8838_ManyUnknownPairs(t *testing.T) {
	b := start(t, iscsi.Options{})
	bomb := []byte(strings.Repeat("a=b\x00", 2048)) // 8192 bytes
	if st, answer := b.loginText(bomb); st != 0x200 || len(answer) != 0 {
		t.Errorf("status %#04x, %d bytes of answer", st, len(answer))
	}
	names := iscsitest.Text(iscsitest.Names(alice, open)...)
	for n, want := range map[int]uint16{16: 0, 17: 0x200} {
		text := names
		for i := range n {
			text = append(text, fmt.Sprintf("X-%d=b\x00", i)...)
		}
		if st, answer := b.loginText(text); st != want || len(answer) > 8192 {
			t.Errorf("%d unknown keys: status %#04x, %d bytes of answer", n, st, len(answer))
		}
	}
	c := b.session()
	p := c.TextRequest(0xffffffff)
	p.Data = bomb
	b.send(c, p)
	b.want(c, 0x3f)
	b.alive()
}

// A continued request ends somewhere: at 16 parts, and at 64 KiB.
func TestBug_ContinueBitBomb(t *testing.T) {
	b := start(t, iscsi.Options{})
	for _, size := range []int{0, 1, 8192} {
		c := b.dial()
		p := rawLogin(c, []byte(strings.Repeat("a", size)))
		p.BHS[1] = 0x44
		parts := 0
		for ; parts < 100; parts++ {
			b.send(c, p)
			if r := b.want(c, 0x23); r.U16(36) != 0 {
				break
			}
		}
		if parts > 16 || parts*size > 64<<10 {
			t.Errorf("%d parts of %d bytes", parts, size)
		}
		b.closed(c)
	}
	b.alive()
}

func TestBug_CVE_2026_90011_TextWithoutEnd(t *testing.T) {
	b := start(t, iscsi.Options{})
	names := iscsitest.Text(iscsitest.Names(alice, open)...)
	for n := 8185; n <= 8192; n++ {
		last := "InitialR2T=No" // and no NUL
		text := append(names[:len(names):len(names)], make([]byte, n-len(names)-len(last))...)
		text = append(text, last...)
		if st, answer := b.loginText(text); st != 0 || iscsitest.Keys(answer)["InitialR2T"] != "No" {
			t.Errorf("%d bytes: status %#04x, %q", n, st, answer)
		}
		// All of it one value.
		text = append(append(names[:len(names):len(names)], "X-a="...), []byte(strings.Repeat("v", n-len(names)-4))...)
		if st, _ := b.loginText(text); st != 0x200 {
			t.Errorf("%d bytes, one long value: status %#04x", n, st)
		}
	}
	c := b.dial()
	if err := c.Send(rawLogin(c, make([]byte, 8193))); err == nil {
		b.closed(c)
	}
	b.alive()
}

// challenge takes a login to the challenge and returns it.
func (b *bench) challenge(c *iscsitest.Conn, target string) (id byte, challenge []byte) {
	b.t.Helper()
	if _, _, err := c.LoginStep(iscsitest.Security, 0, iscsitest.Names(alice, target, "AuthMethod=CHAP")...); err != nil {
		b.t.Fatal(err)
	}
	_, got, err := c.LoginStep(iscsitest.Security, 0, "CHAP_A=5")
	if err != nil {
		b.t.Fatal(err)
	}
	n, err := strconv.Atoi(got["CHAP_I"])
	if err != nil {
		b.t.Fatal(err)
	}
	if challenge, err = hex.DecodeString(strings.TrimPrefix(got["CHAP_C"], "0x")); err != nil {
		b.t.Fatal(err)
	}
	return byte(n), challenge
}

func chapMD5(id byte, secret string, challenge []byte) []byte {
	sum := md5.Sum(append(append([]byte{id}, secret...), challenge...))
	return sum[:]
}

func TestBug_LIO_85db7391310b_LongBase64Response(t *testing.T) {
	b := start(t, iscsi.Options{})
	enc := base64.StdEncoding.EncodeToString
	for _, tt := range []struct {
		name   string
		encode func(right []byte) string
		ok     bool
	}{
		{"base64", func(r []byte) string { return "0b" + enc(r) }, true},
		{"base64, more after it", func(r []byte) string { return "0b" + enc(append(r, make([]byte, 79)...)) }, false},
		{"base64, one more", func(r []byte) string { return "0b" + enc(append(r, 0)) }, false},
		{"base64, one less", func(r []byte) string { return "0b" + enc(r[:15]) }, false},
		{"base64, as long as a value can be", func([]byte) string { return "0b" + strings.Repeat("A", 2096) }, false},
		{"base64, nothing", func([]byte) string { return "0b" }, false},
		{"hexadecimal, more after it", func(r []byte) string { return "0x" + hex.EncodeToString(r) + "00" }, false},
		{"hexadecimal, upper case", func(r []byte) string { return "0X" + strings.ToUpper(hex.EncodeToString(r)) }, true},
		{"hexadecimal, half a byte", func(r []byte) string { return "0x" + hex.EncodeToString(r)[1:] }, false},
	} {
		c := b.dial()
		id, challenge := b.challenge(c, locked)
		_, _, err := c.LoginStep(iscsitest.Security, iscsitest.Operational, "CHAP_N=alice", "CHAP_R="+tt.encode(chapMD5(id, "alice-secret-123", challenge)))
		if tt.ok != (err == nil) {
			t.Errorf("%s: %v", tt.name, err)
		}
		c.Close()
	}
	b.alive()
}

// Names are text, whatever they look like.
func TestBug_LIO_NamesThatLookBinary(t *testing.T) {
	b := start(t, iscsi.Options{})
	literal := "iqn.2026-01.test:literal"
	if err := b.srv.Add(iscsi.Target{Name: literal, Initiators: []string{"*"}, Device: scsi.NewDevice(literal), CHAP: &iscsi.Credentials{User: "0x616c696365", Secret: "secret-of-hex-name"}}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		target, user, secret string
		ok                   bool
	}{
		{literal, "0x616c696365", "secret-of-hex-name", true},
		{literal, "alice", "secret-of-hex-name", false},
		{literal, "0b616c696365", "secret-of-hex-name", false},
		{locked, "alice", "alice-secret-123", true},
		{locked, "0x616c696365", "alice-secret-123", false},
		{locked, "0bYWxpY2U=", "alice-secret-123", false},
		{locked, "Alice", "alice-secret-123", false}, // and user names aren't folded
	} {
		c := b.dial()
		_, err := c.LoginCHAP(iscsitest.CHAP{Algorithm: 7, User: tt.user, Secret: tt.secret}, iscsitest.Names(alice, tt.target))
		if tt.ok != (err == nil) {
			t.Errorf("%s to %s: %v", tt.user, tt.target, err)
		}
		c.Close()
	}
}

// iSCSI names are compared in lower case, and are at most 223 bytes long.
func TestBug_SCST_LongAndFoldedNames(t *testing.T) {
	b := start(t, iscsi.Options{})
	long := "iqn.2026-01.test:" + strings.Repeat("n", 223-17)
	if err := b.srv.Add(iscsi.Target{Name: strings.ToUpper(long), Initiators: []string{strings.ToUpper(alice)}, Device: scsi.NewDevice(long)}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		initiator, target string
		status            uint16
	}{
		{alice, strings.ToUpper(open), 0},
		{strings.ToUpper(alice), long, 0},
		{alice, strings.ToUpper(long[:1]) + long[1:], 0},
		{bob, long, 0x202},
		{alice + "2", long, 0x202},
		{alice[:len(alice)-1], long, 0x202},
		{long + "n", open, 0x200},
		{alice, long + "n", 0x200},
		{alice + " ", open, 0x200},
		{"", open, 0x200},
		{alice, "", 0x200},
		{"iqn.x:%n%s%p" + strings.Repeat("x", 100), open, 0x200},
	} {
		st, _ := b.loginText(iscsitest.Text("InitiatorName="+tt.initiator, "TargetName="+tt.target))
		if st != tt.status {
			t.Errorf("%.40s to %.40s: %#04x, want %#04x", tt.initiator, tt.target, st, tt.status)
		}
	}
	if err := b.srv.Add(iscsi.Target{Name: long + "n"}); err == nil {
		t.Error("a name of 224 bytes")
	}
	b.alive()
}

// Requests that are shorter than they say, empty, or cut off.
func TestBug_CVE_2026_53176_ShortLogin(t *testing.T) {
	b := start(t, iscsi.Options{LoginTimeout: 500 * time.Millisecond})
	whole := func(c *iscsitest.Conn) []byte {
		p := rawLogin(c, iscsitest.Text(iscsitest.Names(alice, open)...))
		p.BHS[6], p.BHS[7] = byte(len(p.Data)>>8), byte(len(p.Data))
		return append(append(p.BHS[:], p.Data...), make([]byte, -len(p.Data)&3)...)
	}
	n := len(whole(b.dial()))
	for cut := 0; cut < n; cut += 1 + cut/8 {
		c := b.dial()
		if _, err := c.Write(whole(c)[:cut]); err != nil {
			t.Fatal(err)
		}
		if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		b.closed(c)
		c.Close()
	}
	if st, _ := b.loginText(nil); st != 0x207 {
		t.Errorf("no text: %#04x", st)
	}
	for _, n := range []int{1, 2, 3, 4, 8192} {
		if st, _ := b.loginText(make([]byte, n)); st != 0x207 {
			t.Errorf("%d NULs: %#04x", n, st)
		}
	}
	b.alive()
}

// What comes before, after and instead of a proper login.
func TestBug_CVE_2011_0001_LoginOutOfOrder(t *testing.T) {
	b := start(t, iscsi.Options{})
	names := iscsitest.Text(iscsitest.Names(alice, open)...)
	for op := range byte(64) {
		if op == 3 {
			continue
		}
		c := b.dial()
		p := iscsitest.PDU{Data: names}
		p.BHS[0], p.BHS[1] = op|0x40, 0x87 // what would be a whole login
		if err := c.Send(p); err == nil {
			if r, err := c.Receive(); err == nil {
				t.Errorf("operation code %#02x is answered: %v", op, &r)
			}
		}
		c.Close()
	}
	// After a refusal nothing more is heard.
	c := b.dial()
	b.send(c, rawLogin(c, []byte("nonsense")))
	b.want(c, 0x23)
	if err := c.Send(rawLogin(c, names)); err == nil {
		b.closed(c)
	}
	// Two logins at once: the second comes in the full-feature phase.
	c = b.dial()
	b.send(c, rawLogin(c, names))
	b.send(c, rawLogin(c, names))
	b.want(c, 0x23)
	b.want(c, 0x3f)
	// A continued one that never ends, again and again.
	for range 50 {
		c := b.dial()
		p := rawLogin(c, names)
		p.BHS[1] = 0x44
		b.send(c, p)
		b.want(c, 0x23)
		c.Close()
	}
	b.alive()
}

// Slow logins hold up nobody, and are cut off.
func TestBug_LIO_LoginSemaphore_Slowloris(t *testing.T) {
	const many = 400
	b := start(t, iscsi.Options{LoginTimeout: 3 * time.Second, MaxConnections: 800, MaxLogins: 500, MaxHostLogins: 450})
	before, goroutines := heap(), runtime.NumGoroutine()
	all := make([]net.Conn, many)
	for i := range all {
		nc, err := net.Dial("tcp", b.addr)
		if err != nil {
			t.Fatal(err)
		}
		all[i] = nc
		defer nc.Close()
		c, _ := iscsitest.NewConn(context.Background(), nc)
		switch i % 4 {
		case 0: // says nothing
		case 1: // half a header
			nc.Write(make([]byte, 20))
		case 2: // half the text
			p := rawLogin(c, nil)
			p.BHS[6] = 0x20
			nc.Write(append(p.BHS[:], "InitiatorName="...))
		case 3: // in the middle of CHAP
			c.LoginStep(iscsitest.Security, 0, iscsitest.Names(alice, locked, "AuthMethod=CHAP")...)
		}
	}
	begin := time.Now()
	stop := make(chan struct{})
	var trickle sync.WaitGroup
	trickle.Go(func() { // a byte now and then
		for {
			for i := 1; i < many; i += 4 {
				all[i].Write([]byte{0})
			}
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	if grown := heap() - before; grown > many*32<<10 {
		t.Errorf("%d bytes for each", grown/many)
	}
	for i := 0; time.Since(begin) < time.Second; i++ {
		within(t, "a login beside them", 0, patience, func() {
			c := b.dial()
			c.ISID[4] = byte(i)
			if _, err := c.Login(iscsitest.Names(alice, open)...); err != nil {
				t.Error(err)
			}
			c.Close()
		})
	}
	for i, nc := range all {
		nc.SetReadDeadline(begin.Add(3*time.Second + patience))
		if _, err := io.Copy(io.Discard, nc); err != nil {
			if e, ok := err.(net.Error); ok && e.Timeout() {
				t.Fatalf("connection %d is still open", i)
			}
		}
	}
	close(stop)
	trickle.Wait()
	for i := 0; runtime.NumGoroutine() > goroutines+20; i++ {
		if i == 100 {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), goroutines)
		}
		time.Sleep(20 * time.Millisecond)
	}
	b.alive()
}

// There is CHAP, and no way around it (gotgt knows only AuthMethod=None).
func TestBug_gotgt_NoWayAroundCHAP(t *testing.T) {
	b := start(t, iscsi.Options{})
	for _, tt := range []struct {
		name      string
		stage, to byte
		keys      []string
		status    uint16
	}{
		{"operational stage at once", 1, 3, nil, 0x201},
		{"out of the security stage at once", 0, 3, nil, 0x201},
		{"no method", 0, 1, nil, 0x201},
		{"None", 0, 1, []string{"AuthMethod=None"}, 0x201},
		{"None and others", 0, 1, []string{"AuthMethod=None,KRB5,SRP"}, 0x201},
		{"response without a challenge", 0, 1, []string{"CHAP_N=alice", "CHAP_R=0x00112233445566778899aabbccddeeff"}, 0x200},
		{"all at once", 0, 1, []string{"AuthMethod=CHAP", "CHAP_A=5", "CHAP_N=alice", "CHAP_R=0x00112233445566778899aabbccddeeff"}, 0x200},
	} {
		c := b.dial()
		_, _, err := c.LoginStep(tt.stage, tt.to, iscsitest.Names(alice, locked, tt.keys...)...)
		refused(t, err, tt.status)
		c.Close()
	}
	c := b.dial()
	b.challenge(c, locked)
	_, _, err := c.LoginStep(iscsitest.Security, iscsitest.FullFeature) // on, please
	refused(t, err, 0x201)
	c = b.dial()
	b.challenge(c, locked)
	_, _, err = c.LoginStep(iscsitest.Operational, iscsitest.FullFeature)
	refused(t, err, 0x200)
	// Another's session isn't touched by one who can't prove anything.
	victim := b.dial()
	if _, err := victim.LoginCHAP(iscsitest.CHAP{Algorithm: 5, User: "alice", Secret: "alice-secret-123"}, iscsitest.Names(alice, locked)); err != nil {
		t.Fatal(err)
	}
	for _, tsih := range []uint16{0, victim.TSIH} {
		thief := b.dial()
		thief.TSIH = tsih
		_, err := thief.LoginCHAP(iscsitest.CHAP{Algorithm: 5, User: "alice", Secret: "guessed-secret-1"}, iscsitest.Names(alice, locked))
		refused(t, err, 0x201)
	}
	for range 4 {
		if r := b.do(victim, iscsitest.TestUnitReady()); r.Status == 0 {
			return
		}
	}
	t.Error("the victim's session has suffered")
}
