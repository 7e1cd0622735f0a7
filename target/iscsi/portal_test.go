package iscsi_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/target/iscsi"
	"sanstick/target/iscsitest"
	"sanstick/target/scsi"
)

// portal serves one more portal.
func (b *bench) portal(listen string, p iscsi.Portal) (addr string) {
	b.t.Helper()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.srv.ServePortal(ctx, l, p) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("ServePortal: %v", err)
		}
	})
	addr = l.Addr().String()
	c := b.dialTo(addr) // it is open once it answers
	c.Write(make([]byte, 48))
	b.closed(c)
	return addr
}

func (b *bench) dialTo(addr string) *iscsitest.Conn {
	b.t.Helper()
	c, err := iscsitest.Dial(context.Background(), addr)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close() })
	return c
}

// targets asks a portal for all targets.
func (b *bench) targets(addr, initiator string) map[string]string {
	b.t.Helper()
	c := b.dialTo(addr)
	defer c.Close()
	if _, err := c.Login("InitiatorName="+initiator, "SessionType=Discovery"); err != nil {
		b.t.Fatal(err)
	}
	b.send(c, c.TextRequest(0xffffffff, "SendTargets=All"))
	p := b.want(c, 0x24)
	return iscsitest.Keys(p.Data)
}

// Each portal group is a target port: with its tag, its addresses, its targets
// and its sessions.
func TestPortalGroups(t *testing.T) {
	b := start(t, iscsi.Options{})
	two := b.portal("[::1]:0", iscsi.Portal{Group: 2})
	three := b.portal("127.0.0.1:0", iscsi.Portal{Group: 3, Advertise: func(net.Addr) []string { return []string{"192.0.2.3:3260"} }})
	only := "iqn.2026-01.test:only"
	if err := b.srv.Add(iscsi.Target{Name: only, Initiators: []string{bob}, Groups: []uint16{2}, Device: scsi.NewDevice(only)}); err != nil {
		t.Fatal(err)
	}
	one := b.addr
	for _, tt := range []struct {
		addr string
		want map[string]string
	}{
		{one, map[string]string{"TargetName": open, "TargetAddress": fmt.Sprintf("%s,1 %s,2 192.0.2.3:3260,3", one, two)}},
		{two, map[string]string{"TargetName": only + " " + open, "TargetAddress": fmt.Sprintf("%s,2 %s,2 %s,1 192.0.2.3:3260,3", two, two, one)}},
		{three, map[string]string{"TargetName": open, "TargetAddress": fmt.Sprintf("192.0.2.3:3260,3 %s,1 %s,2", one, two)}},
	} {
		if diff := cmp.Diff(tt.want, b.targets(tt.addr, bob)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", tt.addr, diff)
		}
	}
	_, err := b.dialTo(one).Login(iscsitest.Names(bob, only)...)
	refused(t, err, 0x0203)
	if _, err := b.dialTo(two).Login(iscsitest.Names(bob, only)...); err != nil {
		t.Error(err)
	}
	// The same initiator port has a session through each group.
	conns := map[uint16]*iscsitest.Conn{}
	for group, addr := range map[uint16]string{1: one, 2: two, 3: three} {
		c := b.dialTo(addr)
		keys, err := c.Login(iscsitest.Names(alice, open)...)
		if err != nil {
			t.Fatal(err)
		}
		if keys["TargetPortalGroupTag"] != fmt.Sprint(group) {
			t.Errorf("group %d: %v", group, keys)
		}
		conns[group] = c
	}
	for group, c := range conns {
		for range 3 {
			b.do(c, iscsitest.TestUnitReady())
		}
		r := b.do(c, iscsitest.Command{CDB: []byte{0x12, 1, 0x83, 0x04, 0, 0}, In: 1024})
		port, name := relativePort(r.Data)
		if port != group || name != fmt.Sprintf("%s,t,0x%04x", open, group) {
			t.Errorf("group %d: relative port %d, name %q", group, port, name)
		}
	}
	r := b.do(conns[1], iscsitest.Command{CDB: []byte{0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0}, In: 1024})
	want := []byte{0, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3}
	if len(r.Data) == len(want) {
		copy(r.Data[4:11], want[4:11]) // state and such
	}
	if diff := cmp.Diff(want, r.Data); diff != "" {
		t.Errorf("REPORT TARGET PORT GROUPS (-want +got)\n%s", diff)
	}
	if n := len(b.srv.Sessions()); n != 4 {
		t.Errorf("%d sessions", n)
	}
	// Reinstatement concerns the group it comes through; a session can't be
	// continued through another.
	again := b.dialTo(two)
	if _, err := again.Login(iscsitest.Names(alice, open)...); err != nil {
		t.Fatal(err)
	}
	b.closed(conns[2])
	if r := b.do(conns[1], iscsitest.TestUnitReady()); r.Status != 0 {
		t.Errorf("%+v", r)
	}
	stranger := b.dialTo(three)
	stranger.TSIH = conns[1].TSIH
	_, err = stranger.Login(iscsitest.Names(alice, open)...)
	refused(t, err, 0x020a)
	// A target that is limited, or sent away, loses the sessions that couldn't
	// be made any more.
	if err := b.srv.SetAccess(iscsi.Target{Name: open, Initiators: []string{"*"}, Groups: []uint16{2, 3}}); err != nil {
		t.Fatal(err)
	}
	b.closed(conns[1])
	if r := b.do(conns[3], iscsitest.TestUnitReady()); r.Status != 0 {
		t.Errorf("%+v", r)
	}
	if err := b.srv.SetAccess(iscsi.Target{Name: open, Initiators: []string{"*"}, Redirect: &iscsi.Redirect{Address: "192.0.2.9:3260"}}); err != nil {
		t.Fatal(err)
	}
	b.closed(conns[3])
	b.closed(again)
}

// relativePort finds the relative target port identifier and the target port
// name in VPD page 83.
func relativePort(page []byte) (port uint16, name string) {
	for page = page[min(4, len(page)):]; len(page) >= 4; {
		n := 4 + int(page[3])
		if n > len(page) {
			break
		}
		switch page[1] & 0x3f {
		case 0x14:
			port = uint16(page[6])<<8 | uint16(page[7])
		case 0x18:
			name = string(page[4:n])
			for name != "" && name[len(name)-1] == 0 {
				name = name[:len(name)-1]
			}
		}
		page = page[n:]
	}
	return port, name
}

// Who may use a target is told where it has gone; others aren't.
func TestRedirect(t *testing.T) {
	b := start(t, iscsi.Options{})
	elsewhere := "[2001:db8::7]:3260"
	chap := &iscsi.Credentials{User: "alice", Secret: "alice-secret-123"}
	for _, tt := range []iscsi.Target{
		{Name: "iqn.t:moved", Initiators: []string{alice}, Redirect: &iscsi.Redirect{Address: elsewhere}},
		{Name: "iqn.t:gone", Initiators: []string{alice}, Redirect: &iscsi.Redirect{Address: elsewhere, Permanent: true}},
		{Name: "iqn.t:hidden", Initiators: []string{alice}, Redirect: &iscsi.Redirect{Address: elsewhere}, CHAP: chap,
			Mutual: &iscsi.Credentials{User: "target", Secret: "target-secret-123"}},
	} {
		if err := b.srv.Add(tt); err != nil {
			t.Fatal(err)
		}
	}
	try := func(initiator, target string, stage, to byte, more ...string) (status uint16, address string) {
		c := b.dial()
		defer c.Close()
		p, _, err := c.LoginStep(stage, to, iscsitest.Names(initiator, target, more...)...)
		var refusal *iscsitest.LoginError
		if errors.As(err, &refusal) {
			status = refusal.Status
		}
		if status != 0 && p.BHS[1]&0x80 != 0 {
			t.Errorf("transit bit: %v", &p)
		}
		return status, iscsitest.Keys(p.Data)["TargetAddress"]
	}
	for _, tt := range []struct {
		initiator, target string
		stage, to         byte
		status            uint16
		address           string
	}{
		{alice, "iqn.t:moved", 1, 3, 0x0101, elsewhere},
		{alice, "iqn.t:moved", 0, 1, 0x0101, elsewhere},
		{alice, "iqn.t:moved", 0, 3, 0x0101, elsewhere},
		{alice, "iqn.t:gone", 1, 3, 0x0102, elsewhere},
		{bob, "iqn.t:moved", 1, 3, 0x0202, ""},
		{bob, "iqn.t:hidden", 0, 1, 0x0202, ""},
		{alice, "iqn.t:hidden", 1, 3, 0x0201, ""},
	} {
		if status, address := try(tt.initiator, tt.target, tt.stage, tt.to); status != tt.status || address != tt.address {
			t.Errorf("%s to %s, stage %d to %d: %#04x %q", tt.initiator, tt.target, tt.stage, tt.to, status, address)
		}
	}
	if status, address := try(alice, "iqn.t:hidden", 0, 1, "AuthMethod=CHAP"); status != 0 || address != "" {
		t.Errorf("before authentication: %#04x %q", status, address)
	}
	// The target proves itself, and then says where it is.
	for secret, want := range map[string]uint16{chap.Secret: 0x0101, "not the secret": 0x0201} {
		_, err := b.dial().LoginCHAP(iscsitest.CHAP{Algorithm: 7, User: "alice", Secret: secret, TargetUser: "target", TargetSecret: "target-secret-123"},
			iscsitest.Names(alice, "iqn.t:hidden"))
		refused(t, err, want)
	}
	if err := b.srv.Add(iscsi.Target{Name: "iqn.t:x", Redirect: &iscsi.Redirect{Address: "nowhere"}}); err == nil {
		t.Error("a redirect to nowhere")
	}
}
