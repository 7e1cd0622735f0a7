package sys

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A Mounter mounts and unmounts filesystems. Safe for concurrent use.
type Mounter interface {
	// Mount is mount(2). The error holds the system call's.
	Mount(source, target, fstype string, flags uintptr, data string) error
	// Unmount is umount2(2). The error holds the system call's.
	Unmount(target string, flags int) error
}

// KernelMounter is the running kernel's Mounter.
type KernelMounter struct{}

// Mount implements Mounter.
func (KernelMounter) Mount(source, target, fstype string, flags uintptr, data string) error {
	if err := unix.Mount(source, target, fstype, flags, data); err != nil {
		return fmt.Errorf("cannot mount %s on %s as %s: %w", source, target, fstype, err)
	}
	return nil
}

// Unmount implements Mounter.
func (KernelMounter) Unmount(target string, flags int) error {
	if err := unix.Unmount(target, flags); err != nil {
		return fmt.Errorf("cannot unmount %s: %w", target, err)
	}
	return nil
}

// A MountPoint is a line of /proc/self/mountinfo (proc(5)).
type MountPoint struct {
	Source, Target, FSType string
	Device                 string // number of what is mounted, "8:3"
}

// Real lines are far shorter; overlay options are what makes them long.
const maxMountLine = 1 << 20

// ParseMountinfo decodes the text of /proc/self/mountinfo, oldest mount
// first. Lines of another shape are an error.
func ParseMountinfo(r io.Reader) ([]MountPoint, error) {
	var all []MountPoint
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxMountLine)
	for s.Scan() {
		// 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw
		before, after, ok := strings.Cut(s.Text(), " - ")
		head, tail := strings.Fields(before), strings.Fields(after)
		if !ok || len(head) < 6 || len(tail) < 2 {
			return nil, fmt.Errorf("cannot parse mountinfo line %q", s.Text())
		}
		all = append(all, MountPoint{
			Source: unescapeMount(tail[1]),
			Target: unescapeMount(head[4]),
			FSType: tail[0],
			Device: head[2],
		})
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("cannot read mountinfo: %w", err)
	}
	return all, nil
}

// unescapeMount undoes the kernel's three-digit octal escapes of space, tab,
// newline and backslash.
func unescapeMount(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && octal(s[i+1]) && octal(s[i+2]) && octal(s[i+3]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func octal(c byte) bool { return c >= '0' && c <= '7' }

// Mounts lists what is mounted, oldest first. procfs is where proc is
// mounted: "/proc".
func Mounts(procfs string) ([]MountPoint, error) {
	f, err := os.Open(filepath.Join(procfs, "self", "mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("cannot list mounts: %w", err)
	}
	defer f.Close()
	return ParseMountinfo(f)
}
