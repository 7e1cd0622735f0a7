package honest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sanstick/target"
	"sanstick/target/block"
	"sanstick/target/block/backing"
	"sanstick/target/scsi"
)

const (
	iqn    = "iqn.2026-01.test:honest"
	serial = "HONEST"
)

// program is targetd, built once.
var program = sync.OnceValues(func() (string, error) {
	path := filepath.Join(os.Getenv(inside), "targetd")
	args := []string{"build", "-o", path}
	// What the test is made of is compiled already: with the race detector or
	// without.
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, "sanstick/target/cmd/targetd")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build targetd: %w\n%s", err, out)
	}
	return path, nil
})

var serving = regexp.MustCompile(`^serving \S+ on (\S+)$`)

// startTargetd serves a disk with options as LUN 0. stop ends it, well or the
// test fails.
func startTargetd(t *testing.T, lun string) (addr string, stop func()) {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cmd := exec.Command(path, "--listen", "127.0.0.1:0", "--iqn", iqn, "--serial", serial, "--lun", "0="+lun)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // the race detector waits a second
	cmd.Stdout, cmd.Stderr = in, in
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("cannot start targetd: %v", err)
	}
	var said strings.Builder
	listens, read := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(read)
		defer out.Close()
		lines := bufio.NewScanner(io.TeeReader(out, &said))
		for lines.Scan() {
			if m := serving.FindStringSubmatch(lines.Text()); m != nil && len(listens) == 0 {
				listens <- m[1]
			}
		}
		io.Copy(&said, out)
	}()
	stop = sync.OnceFunc(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
		defer kill.Stop()
		err := cmd.Wait()
		<-read
		if err != nil || strings.Contains(said.String(), "level=ERROR") {
			t.Errorf("targetd: %v\n%s", err, said.String())
		}
	})
	t.Cleanup(stop)
	select {
	case addr = <-listens:
	case <-read:
		t.Fatalf("targetd doesn't serve:\n%s", said.String())
	case <-time.After(20 * time.Second):
		t.Fatal("targetd doesn't serve")
	}
	return addr, stop
}

// startWrapped serves a disk as targetd does, but for what wrap does to it.
func startWrapped(t *testing.T, path string, o backing.Options, wrap func(block.Device) block.Device) (addr string, stop func()) {
	t.Helper()
	dev, err := backing.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	unit, err := scsi.NewUnit(wrap(dev), scsi.UnitOptions{
		Thin: true, Identity: scsi.Identity{Serial: serial, NAA: scsi.NAAFromUUID(serial)},
	})
	if err != nil {
		t.Fatal(err)
	}
	srv, err := target.New(target.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = srv.Add(target.Config{IQN: iqn, LUNs: []target.LUN{{Number: 0, Unit: unit}}, Initiators: []string{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		if err := unit.Close(); err != nil {
			t.Error(err)
		}
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return l.Addr().String(), stop
}
