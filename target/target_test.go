package target_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sanstick/target"
	"sanstick/target/block/memdev"
	"sanstick/target/iscsitest"
	"sanstick/target/scsi"
)

func TestServer(t *testing.T) {
	dev, err := memdev.New(1<<20, memdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	unit, err := scsi.NewUnit(dev, scsi.UnitOptions{Identity: scsi.Identity{Serial: "S", NAA: scsi.NAAFromUUID("S")}})
	if err != nil {
		t.Fatal(err)
	}
	srv, err := target.New(target.Options{})
	if err != nil {
		t.Fatal(err)
	}
	config := target.Config{IQN: openIQN, LUNs: []target.LUN{{Number: 3, Unit: unit}}, Initiators: []string{"iqn.x:alice"}}
	if err := srv.Add(config); err != nil {
		t.Fatal(err)
	}
	if err := srv.Add(config); err == nil {
		t.Error("added twice")
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	var addrs []string
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, l.Addr().String())
		go func() { ended <- srv.Serve(ctx, l) }()
	}
	for i, addr := range addrs {
		c, err := iscsitest.Dial(ctx, addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.ISID[5] = byte(i)
		if _, err := c.Login(iscsitest.Names("iqn.x:alice", openIQN)...); err != nil {
			t.Fatal(err)
		}
		if err := c.Send(c.TextRequest(0xffffffff, "SendTargets=")); err != nil {
			t.Fatal(err)
		}
		p, err := c.Receive()
		if err != nil {
			t.Fatal(err)
		}
		// This portal first, then the other, if it is served already.
		keys := iscsitest.Keys(p.Data)
		if keys["TargetName"] != openIQN || !strings.HasPrefix(keys["TargetAddress"]+" ", addr+",1 ") {
			t.Errorf("SendTargets: %v", keys)
		}
		got := srv.Sessions()
		if len(got) != i+1 {
			t.Fatalf("sessions: %v", got)
		}
		if i == 0 {
			want := []target.Session{{Target: openIQN, Initiator: "iqn.x:alice", Address: c.LocalAddr().String(), PortalGroup: 1}}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(target.Session{}, "Since")); diff != "" {
				t.Errorf("sessions (-want +got):\n%s", diff)
			}
			if time.Since(got[0].Since) > time.Minute {
				t.Errorf("since %v", got[0].Since)
			}
		}
	}
	if err := srv.Remove(openIQN); err != nil {
		t.Error(err)
	}
	if got := srv.Sessions(); len(got) != 0 {
		t.Errorf("sessions after Remove: %v", got)
	}
	if err := unit.Close(); err != nil {
		t.Error(err)
	}
	cancel()
	for range addrs {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestRefusals(t *testing.T) {
	if _, err := target.New(target.Options{SessionMemory: 1}); err == nil {
		t.Error("session memory of one byte was taken")
	}
	if _, err := target.New(target.Options{QueueDepth: -1}); err == nil {
		t.Error("negative queue depth was taken")
	}
	srv, err := target.New(target.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Add(target.Config{IQN: openIQN, LUNs: []target.LUN{{Number: 1 << 15}}}); err == nil {
		t.Error("LUN 32768 was taken")
	}
	if err := srv.Add(target.Config{IQN: "not a name"}); err == nil {
		t.Error("bad name was taken")
	}
}
