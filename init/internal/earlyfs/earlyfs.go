// Package earlyfs makes the filesystems that every program expects, out of
// an initramfs that holds files only: proc, sysfs, devices, and the tmpfs of
// /run and /tmp. What is mounted where is data (Table).
package earlyfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"sanstick/appliance/sys"
)

// A Row is a filesystem to mount.
type Row struct {
	Source, Target, FSType string
	Flags                  uintptr
	Data                   string
	// Required says that the machine isn't usable without it.
	Required bool
}

// A Link is a symbolic link to make.
type Link struct{ Path, To string }

const (
	noSuid = unix.MS_NOSUID
	noDev  = unix.MS_NODEV
	noExec = unix.MS_NOEXEC
)

// Table returns what an appliance mounts, in order. /run and /tmp may take a
// quarter of the memory each: they hold logs, locks and sockets only.
func Table() []Row {
	return []Row{
		{"proc", "/proc", "proc", noSuid | noDev | noExec, "", true},
		{"sysfs", "/sys", "sysfs", noSuid | noDev | noExec, "", true},
		{"devtmpfs", "/dev", "devtmpfs", noSuid, "mode=0755", true},
		{"devpts", "/dev/pts", "devpts", noSuid | noExec, "gid=5,mode=620,ptmxmode=666", false},
		{"tmpfs", "/run", "tmpfs", noSuid | noDev, "mode=0755,size=25%", true},
		{"tmpfs", "/tmp", "tmpfs", noSuid | noDev, "mode=1777,size=25%", true},
	}
}

// Dirs returns the directories to make after mounting.
func Dirs() []string {
	return []string{"/run/log", "/run/lock", "/run/sanstick"}
}

// Links returns the links to make after mounting.
func Links() []Link {
	return []Link{
		{"/dev/fd", "/proc/self/fd"},
		{"/dev/stdin", "/proc/self/fd/0"},
		{"/dev/stdout", "/proc/self/fd/1"},
		{"/dev/stderr", "/proc/self/fd/2"},
	}
}

// Apply makes the mount points below root ("/" but in tests), mounts the
// rows, and makes the directories and links. It does all it can: err joins
// the errors of required rows, warnings are the others. What is mounted or
// there already is fine.
func Apply(m sys.Mounter, root string, rows []Row, dirs []string, links []Link) (warnings []error, err error) {
	var failed []error
	for _, r := range rows {
		if err := mount(m, root, r); err != nil {
			if r.Required {
				failed = append(failed, err)
			} else {
				warnings = append(warnings, err)
			}
		}
	}
	for _, d := range dirs {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			warnings = append(warnings, fmt.Errorf("cannot make directory: %w", err))
		}
	}
	for _, l := range links {
		if err := os.Symlink(l.To, filepath.Join(root, l.Path)); err != nil && !errors.Is(err, os.ErrExist) {
			warnings = append(warnings, fmt.Errorf("cannot make link: %w", err))
		}
	}
	return warnings, errors.Join(failed...)
}

func mount(m sys.Mounter, root string, r Row) error {
	target := filepath.Join(root, r.Target)
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("cannot make mount point: %w", err)
	}
	err := m.Mount(r.Source, target, r.FSType, r.Flags, r.Data)
	if errors.Is(err, unix.EBUSY) { // mounted there already
		return nil
	}
	return err
}
