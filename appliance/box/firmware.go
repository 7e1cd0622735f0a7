package box

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sanstick/appliance/hardware"
	"sanstick/appliance/status"
)

// Bounds for what is remembered and shown.
const (
	maxMissing = 64 // files
	shownFiles = 3  // of a device
)

// kmsgRecord is more than the kernel's log has in one record.
const kmsgRecord = 16 << 10

// firmwareWatch finds in the kernel's log which firmware drivers asked for in
// vain. Safe for concurrent use.
type firmwareWatch struct {
	kmsg  string // the kernel's log: /dev/kmsg
	sysfs string
	log   *slog.Logger

	mu  sync.Mutex
	all []hardware.MissingFirmware
}

// run reads what the log has, and what comes, until ctx is done.
func (w *firmwareWatch) run(ctx context.Context) error {
	// Not blocking, so that Close ends a read.
	f, err := os.OpenFile(w.kmsg, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("cannot read the kernel's log: %w", err)
	}
	defer f.Close()
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	err = w.read(f)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// read reads records, each of which comes by one Read.
func (w *firmwareWatch) read(r io.Reader) error {
	buf := make([]byte, kmsgRecord)
	for {
		n, err := r.Read(buf)
		switch {
		case errors.Is(err, unix.EPIPE): // records were overwritten before they were read
			continue
		case err != nil:
			return fmt.Errorf("cannot read the kernel's log: %w", err)
		}
		if m, ok := hardware.ParseMissingFirmware(hardware.KernelMessage(string(buf[:n]))); ok {
			w.add(m)
		}
	}
}

func (w *firmwareWatch) add(m hardware.MissingFirmware) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if slices.Contains(w.all, m) || len(w.all) >= maxMissing {
		return
	}
	w.all = append(w.all, m)
	w.log.Warn("Firmware that a driver asked for isn't in the image", "driver", m.Driver, "device", m.Device, "file", m.File)
}

// problems says it for each device. One that has its driver nevertheless may
// work without: that is no trouble of the appliance.
func (w *firmwareWatch) problems() []status.Problem {
	w.mu.Lock()
	all := slices.Clone(w.all)
	w.mu.Unlock()
	var out []status.Problem
	var done []string
	for _, m := range all {
		if slices.Contains(done, m.Device) {
			continue
		}
		done = append(done, m.Device)
		var files []string
		for _, o := range all {
			if o.Device == m.Device && !slices.Contains(files, o.File) {
				files = append(files, o.File)
			}
		}
		more := ""
		if n := len(files) - shownFiles; n > 0 {
			files, more = files[:shownFiles], fmt.Sprintf(" and %d more", n)
		}
		p := status.Problem{Health: status.Degraded,
			What: fmt.Sprintf("device %s (%s) wants firmware that the image doesn't have: %s%s", m.Device, m.Driver, strings.Join(files, ", "), more),
			Do:   "build the image with --firmware (imagebuild build --help)"}
		if w.driven(m.Device) {
			p.Health = status.OK
			p.Do = "if it doesn't work as it should, " + p.Do
		}
		out = append(out, p)
	}
	return out
}

// driven tells whether a device has a driver.
func (w *firmwareWatch) driven(device string) bool {
	if strings.ContainsAny(device, "/*?[\\") {
		return false
	}
	bound, _ := filepath.Glob(filepath.Join(w.sysfs, "bus/*/devices", device, "driver")) // the pattern is right
	return len(bound) > 0
}
