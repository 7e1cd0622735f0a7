package power

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"sanstick/appliance/sys"
	"sanstick/init/internal/guard"
)

// linux/input.h and linux/input-event-codes.h.
const (
	evKey    = 1
	keyPower = 116
	pressed  = 1
	// struct input_event on 64 bits: two 8-byte times, type, code, value.
	eventLen = 8 + 8 + 2 + 2 + 4
)

// Button waits for a power button: the PC's own (ACPI), a keyboard's, or one
// that is plugged in later. It is a task.Task.
type Button struct {
	sysfs, dev string
	listen     func() (sys.UeventSource, error)
	wishes     chan<- Action
	log        *slog.Logger

	once  sync.Once
	ready chan struct{}
}

// NewButton makes a Button. sysfs and dev are "/sys" and "/dev".
func NewButton(sysfs, dev string, listen func() (sys.UeventSource, error), wishes chan<- Action, log *slog.Logger) *Button {
	return &Button{sysfs: sysfs, dev: dev, listen: listen, wishes: wishes, log: log, ready: make(chan struct{})}
}

func (b *Button) String() string         { return "power button" }
func (b *Button) Ready() <-chan struct{} { return b.ready }

// Run implements task.Task.
func (b *Button) Run(ctx context.Context) error {
	src, err := b.listen()
	if err != nil {
		return err
	}
	defer src.Close()
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()

	var mu sync.Mutex
	watched := make(map[string]bool)
	err = sys.Await(ctx, src,
		func(e sys.Uevent) bool { return e.Subsystem == "input" && e.Action == "add" },
		func() (bool, error) { // after every new input device, forever
			for _, name := range b.buttons() {
				mu.Lock()
				known := watched[name]
				watched[name] = true
				mu.Unlock()
				if known {
					continue
				}
				wg.Go(func() {
					if err := guard.Call(func() error { return b.watch(ctx, name) }); err != nil && ctx.Err() == nil {
						b.log.Debug("Power button is gone", "device", name, "err", err)
					}
					mu.Lock()
					delete(watched, name)
					mu.Unlock()
				})
			}
			b.once.Do(func() { close(b.ready) })
			return false, nil
		})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// buttons returns the input devices that have a power key: "event0".
func (b *Button) buttons() []string {
	// A bad pattern is the only error there is.
	paths, _ := filepath.Glob(filepath.Join(b.sysfs, "class", "input", "event*", "device", "capabilities", "key"))
	var names []string
	for _, p := range paths {
		mask, err := os.ReadFile(p)
		if err == nil && hasKey(string(mask), keyPower) {
			name, _, _ := strings.Cut(strings.TrimPrefix(p, filepath.Join(b.sysfs, "class", "input")+"/"), "/")
			names = append(names, name)
		}
	}
	return names
}

// hasKey reads a bit of a mask as sysfs shows it: hexadecimal words of 64
// bits, the most significant first.
func hasKey(mask string, key int) bool {
	words := strings.Fields(mask)
	i := len(words) - 1 - key/64
	if i < 0 {
		return false
	}
	w, err := strconv.ParseUint(words[i], 16, 64)
	return err == nil && w>>(key%64)&1 == 1
}

// watch reads the device's events until it is gone or ctx is done.
func (b *Button) watch(ctx context.Context, name string) error {
	f, err := os.OpenFile(filepath.Join(b.dev, "input", name), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer stop()
	buf := make([]byte, 64*eventLen)
	for {
		n, err := f.Read(buf)
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		if powerPressed(buf[:n]) {
			b.log.Info("The power button was pressed", "device", name)
			wish(b.wishes, PowerOff)
		}
	}
}

// powerPressed looks for a press of the power key among input events.
func powerPressed(events []byte) bool {
	for ; len(events) >= eventLen; events = events[eventLen:] {
		kind := binary.NativeEndian.Uint16(events[16:])
		code := binary.NativeEndian.Uint16(events[18:])
		value := binary.NativeEndian.Uint32(events[20:])
		if kind == evKey && code == keyPower && value == pressed {
			return true
		}
	}
	return false
}
