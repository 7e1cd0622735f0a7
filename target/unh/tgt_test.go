package unh_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"sanstick/target"
	"sanstick/target/block/memdev"
	"sanstick/target/iscsitest"
	"sanstick/target/scsi"
)

var (
	seed = flag.Uint64("seed", 1, "of the commands that are compared with tgt")
)

// The disk that both targets have, as LUN 1.
const (
	twinBlocks = 512
	twinSize   = twinBlocks * blockSize
)

// peer is a target in the comparison, and a session with it.
type peer struct {
	name, addr, iqn string
	c               *iscsitest.Conn
	restart         func() // tgt's, which doesn't survive everything
}

// ourPeer serves a disk like tgt's.
func ourPeer(t *testing.T) *peer {
	t.Helper()
	dev, err := memdev.New(twinSize, memdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	unit, err := scsi.NewUnit(dev, scsi.UnitOptions{Thin: true, Identity: scsi.Identity{Serial: "TWIN", NAA: scsi.NAAFromUUID("TWIN")}})
	if err != nil {
		t.Fatal(err)
	}
	srv, err := target.New(target.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{name: "ours", iqn: "iqn.2026-01.test:twin"}
	if err := srv.Add(target.Config{IQN: p.iqn, LUNs: []target.LUN{{Number: 1, Unit: unit}}, Initiators: []string{"*"}}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		t.Fatal(err)
	}
	p.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, unit.Close()); err != nil {
			t.Error(err)
		}
	})
	return p
}

// tgtPeer starts Debian's tgt on a port and control socket of its own.
func tgtPeer(t *testing.T) *peer {
	t.Helper()
	for _, tool := range []string{"tgtd", "tgtadm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is missing: apt-get install tgt, or -skip Differences", tool)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{name: "tgt", addr: l.Addr().String(), iqn: "iqn.2026-01.test:twin"}
	l.Close()
	disk := filepath.Join(t.TempDir(), "disk")
	if err := errors.Join(os.WriteFile(disk, nil, 0o600), os.Truncate(disk, twinSize)); err != nil {
		t.Fatal(err)
	}
	// Its control socket, where no other tgtd has one.
	env := append(os.Environ(), "TGT_IPC_SOCKET="+filepath.Join(filepath.Dir(disk), "socket"))
	var cmd *exec.Cmd
	p.restart = func() {
		if cmd != nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
		cmd = exec.Command("tgtd", "-f", "-C", "1", "--iscsi", "portal="+p.addr)
		cmd.Env = env
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, p.addr)
		setUpTgt(t, env, p.iqn, disk)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	p.restart()
	return p
}

// setUpTgt gives a tgt its target and disk.
func setUpTgt(t *testing.T, env []string, iqn, disk string) {
	t.Helper()
	for _, args := range [][]string{
		{"--mode", "target", "--op", "new", "--tid", "1", "-T", iqn},
		{"--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", "1", "-b", disk},
		{"--mode", "logicalunit", "--op", "update", "--tid", "1", "--lun", "1", "--params", "thin_provisioning=1"},
		{"--mode", "target", "--op", "bind", "--tid", "1", "-I", "ALL"},
	} {
		ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
		cmd := exec.CommandContext(ctx, "tgtadm", append([]string{"-C", "1", "--lld", "iscsi"}, args...)...)
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		stop()
		if err != nil {
			t.Fatalf("tgtadm %v: %v: %s", args, err, out)
		}
	}
}

// waitFor waits until somebody listens.
func waitFor(t *testing.T, addr string) {
	t.Helper()
	for range 200 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatalf("nobody listens on %s", addr)
}

// connect starts a session, and clears the unit attentions.
func (p *peer) connect(ctx context.Context) error {
	if p.c != nil {
		p.c.Close()
	}
	c, err := iscsitest.Dial(ctx, p.addr)
	if err != nil {
		return err
	}
	p.c = c
	if _, err := c.Login(iscsitest.Names(alice, p.iqn, "InitialR2T=Yes", "ImmediateData=Yes", "FirstBurstLength=65536",
		"MaxBurstLength=262144", "MaxRecvDataSegmentLength=262144")...); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	for range 5 {
		if r, err := c.Do(iscsitest.Command{LUN: 1, CDB: make([]byte, 6)}); err != nil || r.Status == 0 {
			return err
		}
	}
	return fmt.Errorf("%s: LUN 1 doesn't become ready", p.name)
}

// do sends a command and bounds the wait for its end. Without an answer the
// session is begun anew.
func (p *peer) do(ctx context.Context, cmd iscsitest.Command) (r iscsitest.Result, answered bool, err error) {
	if err := p.c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return r, false, err
	}
	r, err = p.c.Do(cmd)
	if err == nil {
		return r, true, nil
	}
	if p.restart != nil {
		p.restart()
	}
	return iscsitest.Result{Status: 0xff, Sense: []byte(err.Error())}, false, p.connect(ctx)
}
