package box

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"sanstick/appliance/hardware"
	"sanstick/appliance/status"
)

// records gives one with each Read, as /dev/kmsg does; an empty one stands for
// records that were overwritten.
type records []string

func (r *records) Read(p []byte) (int, error) {
	if len(*r) == 0 {
		return 0, io.EOF
	}
	next := (*r)[0]
	*r = (*r)[1:]
	if next == "" {
		return 0, unix.EPIPE
	}
	return copy(p, next), nil
}

func TestFirmwareWatch(t *testing.T) {
	sysfs := t.TempDir()
	if err := os.MkdirAll(filepath.Join(sysfs, "bus/pci/devices/0000:05:00.0/driver"), 0o755); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	w := &firmwareWatch{sysfs: sysfs, log: slog.New(slog.NewTextHandler(&log, nil))}
	in := records{
		"6,1,0,-;Linux version 6.1.0-57-amd64\n",
		"",
		"3,811,4212370,-;r8169 0000:05:00.0: firmware: failed to load rtl_nic/rtl8168e-3.fw (-2)\n SUBSYSTEM=pci\n DEVICE=+pci:0000:05:00.0\n",
		"4,812,4212381,-;r8169 0000:05:00.0: Direct firmware load for rtl_nic/rtl8168e-3.fw failed with error -2\n SUBSYSTEM=pci\n",
		"4,813,4212381,-;r8169 0000:05:00.0 enp5s0: unable to load firmware patch rtl_nic/rtl8168e-3.fw (-2)\n",
		"4,814,4300000,-;bnx2 0000:03:00.0: Direct firmware load for bnx2/a.fw failed with error -2\n",
		"4,815,4300001,-;bnx2 0000:03:00.0: Direct firmware load for bnx2/b.fw failed with error -2\n",
		"4,816,4300002,-;bnx2 0000:03:00.0: Direct firmware load for bnx2/c.fw failed with error -2\n",
		"4,817,4300003,-;bnx2 0000:03:00.0: Direct firmware load for bnx2/d.fw failed with error -2\n",
	}
	if err := w.read(&in); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	want := []status.Problem{
		{Health: status.OK, What: "device 0000:05:00.0 (r8169) wants firmware that the image doesn't have: rtl_nic/rtl8168e-3.fw",
			Do: "if it doesn't work as it should, build the image with --firmware (imagebuild build --help)"},
		{Health: status.Degraded, What: "device 0000:03:00.0 (bnx2) wants firmware that the image doesn't have: bnx2/a.fw, bnx2/b.fw, bnx2/c.fw and 1 more",
			Do: "build the image with --firmware (imagebuild build --help)"},
	}
	if diff := cmp.Diff(want, w.problems()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := strings.Count(log.String(), "\n"); n != 5 || !strings.Contains(log.String(), "device=0000:05:00.0 file=rtl_nic/rtl8168e-3.fw") {
		t.Errorf("%d lines of log:\n%s", n, log.String())
	}
	// However much is asked for, no more is kept.
	for i := range 1000 {
		w.add(hardware.MissingFirmware{Driver: "x", Device: fmt.Sprint(i), File: "y"})
	}
	if n := len(w.all); n != maxMissing {
		t.Errorf("%d are kept, want %d", n, maxMissing)
	}
	if w.driven("../../../..") || w.driven("*") {
		t.Error("what is no device is driven")
	}
}

// The watch ends with its context, also while it waits for a record.
func TestFirmwareWatchEnds(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "kmsg")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(pipe, os.O_RDWR, 0) // somebody who writes
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := &firmwareWatch{kmsg: pipe, log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.run(ctx) }()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	w.kmsg += "none"
	if err := w.run(t.Context()); err == nil {
		t.Error("no log is no error")
	}
}
