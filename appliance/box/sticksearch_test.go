package box

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sanstick/appliance/sys"
	"sanstick/appliance/sys/systest"
)

// onUSB tells of a USB interface of mass storage. It has a disk if name isn't empty.
func (p *port) onUSB(number, name string) {
	p.t.Helper()
	dir := filepath.Join(p.sysfs, "bus/usb/devices", number)
	err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "bInterfaceClass"), []byte("08\n"), 0o600))
	if name != "" {
		err = errors.Join(err, os.MkdirAll(filepath.Join(dir, "host1/target1:0:0/1:0:0:0/block", name), 0o700))
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// TestAwaitStick: a second stick that has been plugged, but isn't a disk yet when the
// first is found, isn't missed; one that never becomes a disk is waited for for a
// moment. Without any, nothing is.
func TestAwaitStick(t *testing.T) {
	for _, tt := range []struct {
		name    string
		pending bool
		second  string
		two     bool
	}{
		{name: "one"},
		{name: "one, and a reader that has no disk", pending: true},
		{name: "two", pending: true, second: "sdb", two: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPort(t)
			p.plug("sda", "1", t.TempDir())
			p.onUSB("1-1:1.0", "sda")
			if tt.pending {
				p.onUSB("1-2:1.0", "")
			}
			if pending := usbPending(p.sysfs); pending != tt.pending {
				t.Errorf("pending: %v", pending)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				if tt.second != "" {
					time.Sleep(100 * time.Millisecond)
					p.plug(tt.second, "2", t.TempDir())
					p.onUSB("1-2:1.0", tt.second)
				}
			}()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			part, err := awaitStick(ctx, &Options{SysDir: p.sysfs, OpenDisk: p.open, ListenUevents: func() (sys.UeventSource, error) { return systest.NewUevents(), nil }})
			<-done
			if two := err != nil && strings.Contains(err.Error(), "2 partitions are labelled"); two != tt.two || !two && (err != nil || part.Name != "sda3") {
				t.Errorf("found %+v, error %v", part, err)
			}
		})
	}
}

// TestSecondStick: one that is plugged in beside the stick in use is told of.
func TestSecondStick(t *testing.T) {
	p := newPort(t)
	p.plug("sda", "1", t.TempDir())
	s := p.stick()
	w := newStickWatch(&Options{SysDir: p.sysfs, OpenDisk: p.open})
	second := func(want bool) {
		t.Helper()
		for range 2 {
			w.look(t.Context(), s)
			if got := w.problems(); (len(got) > 0) != want || want && !strings.Contains(got[0].What, "/dev/sda3 is used, and there is /dev/sdb3") {
				t.Errorf("problems %+v", got)
			}
		}
	}
	second(false)
	p.plug("sdb", "2", t.TempDir())
	second(true)
	p.pull("sdb")
	second(false)
	// With two in the place of the one, none is used.
	p.plug("sdb", "3", t.TempDir())
	p.plug("sdc", "4", t.TempDir())
	p.pull("sda")
	if err := s.check(t.Context()); !errors.Is(err, errGone) || !strings.Contains(err.Error(), "2 partitions") {
		t.Errorf("two sticks, and %v", err)
	}
}
