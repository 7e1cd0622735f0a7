package lvm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Mapper asks device-mapper what is active. It reads no disk.
type Mapper interface {
	// Targets returns a line for each target of each active device, as
	// "dmsetup status --noflush" prints them, or "dmsetup table".
	Targets(ctx context.Context, table bool) (string, error)
	// UUID is the one that a device got when it was made; LVM's is "LVM-", the
	// group's UUID and the volume's, both without hyphens.
	UUID(ctx context.Context, name string) (string, error)
	// Suspended lists the devices that hold back whatever is asked of them.
	Suspended(ctx context.Context) ([]string, error)
}

// KernelMapper asks the kernel by itself, which takes a thousandth of the time
// that starting dmsetup does. The zero value is ready; it is safe for concurrent
// use.
//
// A disk that hangs can hold up even such a question, and nothing can cancel it.
// So whoever asks leaves when its context ends, and asking goes on alone: one
// question at a time, so that no more than one hangs.
type KernelMapper struct {
	once sync.Once
	turn chan struct{}
}

var _ Mapper = (*KernelMapper)(nil)

const (
	mapperControl = "/dev/mapper/control"
	listBuffer    = 64 << 10
	maxBuffer     = 16 << 20 // some ten thousand devices
)

// Targets implements Mapper.
func (k *KernelMapper) Targets(ctx context.Context, table bool) (string, error) {
	return k.ask(ctx, func(control int) (string, error) {
		names, err := deviceNames(control)
		if err != nil {
			return "", err
		}
		flags := uint32(unix.DM_NOFLUSH_FLAG)
		if table {
			flags = unix.DM_STATUS_TABLE_FLAG
		}
		var b strings.Builder
		for _, name := range names {
			_, lines, err := deviceTargets(control, name, flags)
			if errors.Is(err, unix.ENXIO) {
				continue // it has gone since
			}
			if err != nil {
				return "", fmt.Errorf("device %s: %w", name, err)
			}
			for _, l := range lines {
				fmt.Fprintf(&b, "%s: %s\n", name, l)
			}
		}
		return b.String(), nil
	})
}

// UUID implements Mapper.
func (k *KernelMapper) UUID(ctx context.Context, name string) (string, error) {
	return k.ask(ctx, func(control int) (string, error) {
		uuid, _, err := deviceTargets(control, name, unix.DM_NOFLUSH_FLAG)
		return uuid, err
	})
}

// Suspended implements Mapper.
func (k *KernelMapper) Suspended(ctx context.Context) ([]string, error) {
	out, err := k.ask(ctx, func(control int) (string, error) {
		names, err := deviceNames(control)
		if err != nil {
			return "", err
		}
		var b strings.Builder
		for _, name := range names {
			_, head, err := mapperCall(control, unix.DM_DEV_STATUS, name, 0)
			if errors.Is(err, unix.ENXIO) {
				continue // it has gone since
			}
			if err != nil {
				return "", fmt.Errorf("device %s: %w", name, err)
			}
			if head.Flags&unix.DM_SUSPEND_FLAG != 0 {
				fmt.Fprintln(&b, name)
			}
		}
		return b.String(), nil
	})
	return strings.Fields(out), err
}

// ask has do talk to the kernel until ctx ends.
func (k *KernelMapper) ask(ctx context.Context, do func(control int) (string, error)) (string, error) {
	k.once.Do(func() { k.turn = make(chan struct{}, 1) })
	select {
	case k.turn <- struct{}{}:
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	type answer struct {
		text string
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		defer func() { <-k.turn }()
		control, err := os.OpenFile(mapperControl, os.O_RDWR, 0)
		if errors.Is(err, os.ErrNotExist) {
			done <- answer{} // without device-mapper nothing is active
			return
		}
		if err != nil {
			done <- answer{err: err}
			return
		}
		defer control.Close()
		text, err := do(int(control.Fd()))
		done <- answer{text, err}
	}()
	select {
	case a := <-done:
		return a.text, a.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// deviceNames lists the devices.
func deviceNames(control int) ([]string, error) {
	data, _, err := mapperCall(control, unix.DM_LIST_DEVICES, "", 0)
	if err != nil {
		return nil, fmt.Errorf("cannot list devices: %w", err)
	}
	return parseDeviceNames(data)
}

// parseDeviceNames decodes a chain of struct dm_name_list (linux/dm-ioctl.h): the
// number (8 bytes), how far on the next one is (4 bytes), and the name.
func parseDeviceNames(data []byte) ([]string, error) {
	const head = 12
	var names []string
	for len(data) >= head {
		next := binary.NativeEndian.Uint32(data[8:])
		if name := cString(data[head:]); name != "" {
			names = append(names, name)
		}
		if next == 0 {
			return names, nil
		}
		if next < head || int64(next) > int64(len(data)) {
			return nil, errors.New("the kernel's list of devices can't be understood")
		}
		data = data[next:]
	}
	return names, nil
}

// deviceTargets returns a device's UUID and a line for each of its targets.
func deviceTargets(control int, name string, flags uint32) (uuid string, lines []string, err error) {
	data, head, err := mapperCall(control, unix.DM_TABLE_STATUS, name, flags)
	if err != nil {
		return "", nil, err
	}
	lines, err = parseTargets(data, int(head.Target_count))
	return cString(head.Uuid[:]), lines, err
}

// parseTargets decodes n targets: struct dm_target_spec (linux/dm-ioctl.h: start
// and length in sectors, 8 bytes each, status, 4, where the next one begins, 4,
// and the type, 16), followed by what the target says of itself.
func parseTargets(data []byte, n int) ([]string, error) {
	const head = 40
	var lines []string
	for at := 0; len(lines) < n; {
		if at < 0 || at+head > len(data) {
			return nil, errors.New("the kernel's list of targets can't be understood")
		}
		t := data[at:]
		start, length := binary.NativeEndian.Uint64(t), binary.NativeEndian.Uint64(t[8:])
		next := binary.NativeEndian.Uint32(t[20:])
		line := fmt.Sprintf("%d %d %s %s", start, length, cString(t[24:head]), cString(t[head:]))
		lines = append(lines, strings.TrimRight(line, " "))
		if len(lines) < n && int64(next) < int64(at+head) {
			return nil, errors.New("the kernel's list of targets can't be understood")
		}
		at = int(next)
	}
	return lines, nil
}

// mapperCall makes one call, with a buffer that is large enough for the answer.
func mapperCall(control int, command uint, name string, flags uint32) ([]byte, unix.DmIoctl, error) {
	for size := listBuffer; size <= maxBuffer; size *= 4 {
		buf := make([]byte, size)
		head := (*unix.DmIoctl)(unsafe.Pointer(unsafe.SliceData(buf)))
		head.Version = [3]uint32{4, 0, 0}
		head.Data_size, head.Data_start = uint32(size), unix.SizeofDmIoctl
		head.Flags = flags
		if len(name) >= len(head.Name) {
			return nil, *head, unix.ENAMETOOLONG
		}
		for i := range name {
			head.Name[i] = name[i]
		}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(control), uintptr(command), uintptr(unsafe.Pointer(head))); errno != 0 {
			return nil, *head, errno
		}
		if head.Flags&unix.DM_BUFFER_FULL_FLAG != 0 {
			continue
		}
		data, err := mapperAnswer(buf, head)
		return data, *head, err
	}
	return nil, unix.DmIoctl{}, fmt.Errorf("the kernel's answer is longer than %d bytes", maxBuffer)
}

// mapperAnswer is what follows the head of an answer. A device without a table, as
// one is that is being made, has no answer but the head, and not all of that.
func mapperAnswer(buf []byte, head *unix.DmIoctl) ([]byte, error) {
	from, to := int64(head.Data_start), int64(head.Data_size)
	switch {
	case from < unix.SizeofDmIoctl || from > int64(len(buf)) || to > int64(len(buf)):
		return nil, errors.New("the kernel's answer can't be understood")
	case to <= from:
		return nil, nil
	}
	return buf[from:to], nil
}

func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// VolumeUUID is the UUID of a logical volume, as LVM writes it, from that of its
// device; empty if that isn't a volume's.
func VolumeUUID(device string) string {
	const half = 32
	rest, ok := strings.CutPrefix(device, "LVM-")
	if !ok || len(rest) != 2*half {
		return ""
	}
	var parts []string
	id := rest[half:]
	for _, n := range []int{6, 4, 4, 4, 4, 4, 6} {
		parts, id = append(parts, id[:n]), id[n:]
	}
	return strings.Join(parts, "-")
}
