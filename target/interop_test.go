package target_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sanstick/target"
	"sanstick/target/block"
	"sanstick/target/block/filedev"
	"sanstick/target/block/memdev"
	"sanstick/target/scsi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	openIQN   = "iqn.2026-01.test:open"
	lockedIQN = "iqn.2026-01.test:locked"
	secret    = "0123456789abcdef"
	diskSize  = 64 << 20
)

// serve starts a server with a target for anyone (LUN 0 a file, LUN 1 RAM,
// LUN 2 removable) and
// one that needs CHAP, and returns its address.
func serve(t *testing.T) (addr string) {
	t.Helper()
	srv, err := target.New(target.Options{})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, diskSize); err != nil {
		t.Fatal(err)
	}
	file, err := filedev.Open(path, filedev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	mem, err := memdev.New(diskSize, memdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var luns []target.LUN
	for i, dev := range []block.Device{file, mem, mem} {
		serial := fmt.Sprint("INTEROP", i)
		u, err := scsi.NewUnit(dev, scsi.UnitOptions{Thin: i == 1, Removable: i == 2, Identity: scsi.Identity{Serial: serial, NAA: scsi.NAAFromUUID(serial)}})
		if err != nil {
			t.Fatal(err)
		}
		luns = append(luns, target.LUN{Number: uint16(i), Unit: u})
	}
	for _, c := range []target.Config{
		{IQN: openIQN, LUNs: luns, Initiators: []string{"*"}},
		{IQN: lockedIQN, LUNs: luns, Initiators: []string{"*"}, CHAP: &target.CHAP{User: "user", Secret: secret}},
	} {
		if err := srv.Add(c); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
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
		for _, l := range luns {
			if err := l.Unit.Close(); err != nil {
				t.Error(err)
			}
		}
		for _, d := range []block.Device{file, mem} {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return l.Addr().String()
}

// try runs a program with a time limit and returns what it says.
func try(t *testing.T, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath(args[0]); err != nil {
		t.Fatalf("%s is missing: make deps-test", args[0])
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = t.TempDir()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// run is try for what must succeed.
func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := try(t, args...)
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return out
}

func contains(t *testing.T, out string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("no %q in:\n%s", w, out)
		}
	}
}

func TestLibiscsiTools(t *testing.T) {
	addr := serve(t)
	lun := "iscsi://" + addr + "/" + openIQN + "/0"
	contains(t, run(t, "iscsi-ls", "iscsi://"+addr), "Target:"+openIQN+" Portal:"+addr+",1", "Target:"+lockedIQN)
	// It logs in to every target, and to one of them it can't.
	out, err := try(t, "iscsi-ls", "-s", "iscsi://"+addr)
	contains(t, out, "Lun:0    Type:DIRECT_ACCESS", "Lun:1", "Authentication failure")
	if err == nil {
		t.Error("iscsi-ls got into the target that needs CHAP")
	}
	contains(t, run(t, "iscsi-inq", lun), "Peripheral Device Type:DIRECT_ACCESS", "Vendor:SANSTICK")
	contains(t, run(t, "iscsi-inq", "-e", "1", "-c", "128", lun), "INTEROP0")
	contains(t, run(t, "iscsi-readcapacity16", lun), fmt.Sprint("Total size:", diskSize))
	contains(t, run(t, "iscsi-readcapacity16", lun+"?header_digest=crc32c"), fmt.Sprint("Total size:", diskSize))
	if out, err := try(t, "iscsi-inq", "iscsi://"+addr+"/"+openIQN+"/7"); err == nil {
		t.Errorf("LUN 7 answers: %s", out)
	}
}

func TestLibiscsiCHAP(t *testing.T) {
	addr := serve(t)
	url := func(user string) string { return "iscsi://" + user + addr + "/" + lockedIQN + "/0" }
	contains(t, run(t, "iscsi-inq", url("user%"+secret+"@")), "Vendor:SANSTICK")
	for _, user := range []string{"", "user%wrong-secret-of-us@", "nobody%" + secret + "@"} {
		if out, err := try(t, "iscsi-inq", url(user)); err == nil || strings.Contains(out, "Vendor:SANSTICK") {
			t.Errorf("%q got in: %s", user, out)
		}
	}
}

// A real image goes there and comes back the same.
func TestQEMU(t *testing.T) {
	t.Parallel()
	addr := serve(t)
	image := filepath.Join(t.TempDir(), "image")
	data := make([]byte, diskSize)
	rand.NewChaCha8([32]byte{1}).Read(data[:20<<20]) // the rest stays zero
	if err := os.WriteFile(image, data, 0o600); err != nil {
		t.Fatal(err)
	}
	digests, err := json.Marshal(map[string]any{"driver": "raw", "file": map[string]any{"driver": "iscsi", "transport": "tcp",
		"portal": addr, "target": openIQN, "lun": 0, "header-digest": "crc32c"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, disk := range []string{
		"iscsi://" + addr + "/" + openIQN + "/0",
		"iscsi://" + addr + "/" + openIQN + "/1",
		"iscsi://user%" + secret + "@" + addr + "/" + lockedIQN + "/0",
		"json:" + string(digests),
	} {
		run(t, "qemu-img", "convert", "-n", "-O", "raw", image, disk)
		contains(t, run(t, "qemu-img", "compare", image, disk), "Images are identical")
		contains(t, run(t, "qemu-img", "bench", "-n", "-t", "none", "-d", "32", "-c", "500", disk), "Run completed")
		contains(t, run(t, "qemu-img", "bench", "-n", "-t", "none", "-s", "1M", "-d", "8", "-c", "100", disk), "Run completed")
		write := []string{"qemu-img", "bench", "-n", "-t", "none", "-w", "--flush-interval", "64", "-d", "32", "-c", "500", disk}
		if !strings.HasPrefix(disk, "json:") {
			write = append(write[:2:2], append([]string{"-f", "raw"}, write[2:]...)...)
		}
		contains(t, run(t, write...), "Run completed")
	}
}
