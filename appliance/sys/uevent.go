package sys

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
)

// A Uevent is a message of the kernel about a device that came, went or
// changed (Documentation/ABI/testing/sysfs-uevent).
type Uevent struct {
	Action    string            // "add", "remove", "change", "bind", "online", ...
	DevPath   string            // the device below /sys, starting with a slash
	Subsystem string            // "block", "net", "pci", ...; the same as Env["SUBSYSTEM"]
	Env       map[string]string // all variables of the message
}

// A UeventSource hands out uevents in the order the kernel sent them.
type UeventSource interface {
	// Receive waits for the next uevent. It returns ctx's error once ctx is
	// done, ErrUeventsLost when the kernel dropped some because nobody read
	// them fast enough (the caller must look at the devices themselves, and
	// may go on receiving), and os.ErrClosed after Close.
	// One goroutine at a time.
	Receive(ctx context.Context) (Uevent, error)
	// Close gives the source up and unblocks a Receive.
	Close() error
}

// ErrUeventsLost says that the kernel dropped uevents: what is known about
// the devices may be out of date.
var ErrUeventsLost = errors.New("uevents were lost")

var errNotUevent = errors.New("not a kernel uevent")

// A message of the kernel is at most its header (action, path) and 2 KiB of
// variables (UEVENT_BUFFER_SIZE), 64 of them (UEVENT_NUM_ENVP).
const (
	maxUevent    = 16 << 10
	maxUeventEnv = 256
)

// ParseUevent decodes one datagram of NETLINK_KOBJECT_UEVENT:
// "ACTION@DEVPATH\0KEY=VALUE\0KEY=VALUE\0...". Messages of udevd, which start
// with "libudev", are refused.
func ParseUevent(b []byte) (Uevent, error) {
	if len(b) > maxUevent {
		return Uevent{}, fmt.Errorf("cannot parse uevent: %d bytes are too many", len(b))
	}
	header, rest, ok := bytes.Cut(b, []byte{0})
	if !ok {
		return Uevent{}, fmt.Errorf("cannot parse uevent: %w: header isn't terminated", errNotUevent)
	}
	action, path, ok := strings.Cut(string(header), "@")
	if !ok || action == "" || !strings.HasPrefix(path, "/") {
		return Uevent{}, fmt.Errorf("cannot parse uevent: %w: header %q", errNotUevent, header)
	}
	env, err := parseEnv(string(rest), "\x00")
	if err != nil {
		return Uevent{}, fmt.Errorf("cannot parse uevent %q: %w", header, err)
	}
	return Uevent{Action: action, DevPath: path, Subsystem: env["SUBSYSTEM"], Env: env}, nil
}

// ParseUeventFile decodes the "uevent" file of a device in sysfs: lines of
// KEY=VALUE.
func ParseUeventFile(b []byte) (map[string]string, error) {
	if len(b) > maxUevent {
		return nil, fmt.Errorf("cannot parse uevent file: %d bytes are too many", len(b))
	}
	env, err := parseEnv(string(b), "\n")
	if err != nil {
		return nil, fmt.Errorf("cannot parse uevent file: %w", err)
	}
	return env, nil
}

func parseEnv(s, sep string) (map[string]string, error) {
	env := make(map[string]string)
	for kv := range strings.SplitSeq(s, sep) {
		if kv == "" {
			continue
		}
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("variable %q has no name", kv)
		}
		if len(env) == maxUeventEnv {
			return nil, fmt.Errorf("more than %d variables", maxUeventEnv)
		}
		env[k] = v
	}
	return env, nil
}

// Await waits until done says so. It asks at once, and then after every
// uevent that match accepts (nil: any) and whenever uevents were lost; nothing
// is polled. src must have been opened before whatever the caller wants to
// see could happen. It returns the error of done, of src, or of ctx.
func Await(ctx context.Context, src UeventSource, match func(Uevent) bool, done func() (bool, error)) error {
	for {
		ok, err := done()
		if err != nil || ok {
			return err
		}
		for {
			e, err := src.Receive(ctx)
			if errors.Is(err, ErrUeventsLost) {
				break
			}
			if err != nil {
				return err
			}
			if match == nil || match(e) {
				break
			}
		}
	}
}
