package trial

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// device is a watchdog of the kernel (Documentation/watchdog/watchdog-api).
// Closing it without a word leaves it armed.
type device struct {
	f       *os.File
	timeout time.Duration
}

// OpenDevice arms a watchdog of the kernel.
func OpenDevice(path string) (Watchdog, error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open watchdog: %w", err)
	}
	return &device{f: f}, nil
}

// Feed implements Watchdog. One that can't wait for so long keeps its own time.
func (d *device) Feed(timeout time.Duration) error {
	if timeout != d.timeout {
		d.timeout = timeout
		if err := unix.IoctlSetPointerInt(int(d.f.Fd()), unix.WDIOC_SETTIMEOUT, int(timeout/time.Second)); err != nil {
			_, err2 := d.f.Write([]byte{0})
			return errors.Join(fmt.Errorf("cannot set a watchdog's time: %w", err), err2)
		}
	}
	if _, err := d.f.Write([]byte{0}); err != nil {
		return fmt.Errorf("cannot feed a watchdog: %w", err)
	}
	return nil
}

// Disarm implements Watchdog.
func (d *device) Disarm() error {
	_, err := d.f.Write([]byte{'V'})
	if err := errors.Join(err, d.f.Close()); err != nil {
		return fmt.Errorf("cannot disarm a watchdog: %w", err)
	}
	return nil
}
