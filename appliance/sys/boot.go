package sys

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A BootPhase is a part of the machine's start. Begin and End are times since the
// kernel began; what the firmware did before isn't known.
type BootPhase struct {
	Name       string
	Begin, End time.Duration
}

// A BootLog is the file in which those who take part in the machine's start leave
// when they did what. The zero value is /run/sanstick/boot. Several processes may
// add to it.
type BootLog struct{ Path string }

// maxBootLog bounds what is read of a BootLog.
const maxBootLog = 64 << 10

func (l BootLog) path() string {
	if l.Path == "" {
		return "/run/sanstick/boot"
	}
	return l.Path
}

// Add adds a phase. The name must have no tab and no line feed.
func (l BootLog) Add(p BootPhase) error {
	if p.Name == "" || strings.ContainsAny(p.Name, "\t\n") {
		return fmt.Errorf("cannot note boot phase: %q is no name", p.Name)
	}
	if err := os.MkdirAll(filepath.Dir(l.path()), 0o755); err != nil {
		return fmt.Errorf("cannot note boot phase %s: %w", p.Name, err)
	}
	f, err := os.OpenFile(l.path(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("cannot note boot phase %s: %w", p.Name, err)
	}
	_, err = fmt.Fprintf(f, "%d\t%d\t%s\n", p.Begin.Microseconds(), p.End.Microseconds(), p.Name)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot note boot phase %s: %w", p.Name, err)
	}
	return nil
}

// Read returns the phases in the order in which they were added; none if there
// is no file.
func (l BootLog) Read() ([]BootPhase, error) {
	f, err := os.Open(l.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read boot phases: %w", err)
	}
	defer f.Close()
	var all []BootPhase
	for s := bufio.NewScanner(io.LimitReader(f, maxBootLog)); ; {
		if !s.Scan() {
			if err := s.Err(); err != nil {
				return all, fmt.Errorf("cannot read boot phases: %w", err)
			}
			return all, nil
		}
		begin, rest, _ := strings.Cut(s.Text(), "\t")
		end, name, _ := strings.Cut(rest, "\t")
		b, err1 := strconv.ParseInt(begin, 10, 64)
		e, err2 := strconv.ParseInt(end, 10, 64)
		if err1 != nil || err2 != nil || name == "" {
			return all, fmt.Errorf("cannot read boot phases: %s has the line %q", l.path(), s.Text())
		}
		all = append(all, BootPhase{Name: name, Begin: time.Duration(b) * time.Microsecond, End: time.Duration(e) * time.Microsecond})
	}
}

// SinceBoot is how long ago the kernel began. It is exact from the kernel's first
// reading of its clock on.
func SinceBoot() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0 // every kernel that we know has it
	}
	return time.Duration(t.Nano())
}
