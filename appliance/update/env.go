package update

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Env is GRUB's environment block, the file grub/grubenv on SANBOOT: what the
// boot loader and the appliance tell each other. GRUB finds the file's sectors
// by itself and overwrites them, so it is never made anew, renamed or resized.
type Env struct {
	Active Slot // boots when nothing is on trial; GRUB takes a if it is empty
	Next   Slot // on trial; empty: nothing is
	Left   int  // how often GRUB still may try Next
	Bad    Slot // GRUB couldn't read all of it, and starts the other one instead
	Others []Variable
}

// Variable is one that somebody else has put there. It is kept.
type Variable struct{ Name, Value string }

const (
	envHeader = "# GRUB Environment Block\n"
	envUnit   = 512  // the size is a multiple of it
	envMax    = 4096 // bytes; grub-editenv makes 1024
	maxLeft   = 3    // what grub.cfg can count
)

// Plain returns a block that names the slot that boots, and nothing on trial.
// What others put into e is kept, but for Bad: GRUB is to try again.
func (e Env) Plain(active Slot) Env { return Env{Active: active, Others: e.Others} }

// Armed tells whether a slot is on trial.
func (e Env) Armed() bool { return e.Next != "" }

// DecodeEnv reads a block. A number of tries that GRUB doesn't understand is
// 0: that is what it means to GRUB.
func DecodeEnv(b []byte) (Env, error) {
	var e Env
	if len(b) == 0 || len(b)%envUnit != 0 || len(b) > envMax {
		return e, fmt.Errorf("it has %d bytes, not a multiple of %d up to %d", len(b), envUnit, envMax)
	}
	rest, ok := bytes.CutPrefix(b, []byte(envHeader))
	if !ok {
		return e, fmt.Errorf("it doesn't begin with %q", strings.TrimSpace(envHeader))
	}
	for len(rest) > 0 {
		if rest[0] == '#' { // the fill, or a comment
			i := bytes.IndexByte(rest, '\n')
			if i < 0 {
				break
			}
			rest = rest[i+1:]
			continue
		}
		var line []byte
		if line, rest, ok = cutLine(rest); !ok {
			return e, errors.New("its last line has no end")
		}
		name, value, ok := strings.Cut(string(line), "=")
		if !ok {
			return e, fmt.Errorf("%.40q is no setting", line)
		}
		e.set(name, value)
	}
	return e, nil
}

func (e *Env) set(name, value string) {
	switch name {
	case "active":
		e.Active = Slot(value).known()
	case "next":
		e.Next = Slot(value).known()
	case "bad":
		e.Bad = Slot(value).known()
	case "left":
		if n, err := strconv.Atoi(value); err == nil && n >= 0 && n <= maxLeft && strconv.Itoa(n) == value {
			e.Left = n
		}
	default:
		e.Others = append(e.Others, Variable{name, value})
	}
}

// cutLine takes a line off b and undoes its escapes: a backslash stands before
// a backslash or a line end that belongs to the value.
func cutLine(b []byte) (line, rest []byte, ok bool) {
	for i := 0; i < len(b); i++ {
		switch {
		case b[i] == '\\' && i+1 < len(b):
			i++
			line = append(line, b[i])
		case b[i] == '\n':
			return line, b[i+1:], true
		default:
			line = append(line, b[i])
		}
	}
	return nil, nil, false
}

// Encode makes a block of size bytes.
func (e Env) Encode(size int) ([]byte, error) {
	if size <= 0 || size%envUnit != 0 || size > envMax {
		return nil, fmt.Errorf("a block of %d bytes isn't one of GRUB's", size)
	}
	b := []byte(envHeader)
	put := func(name, value string) {
		value = strings.NewReplacer(`\`, `\\`, "\n", "\\\n").Replace(value)
		b = append(b, name+"="+value+"\n"...)
	}
	if e.Active != "" {
		put("active", string(e.Active))
	}
	if e.Next != "" {
		put("next", string(e.Next))
		put("left", strconv.Itoa(e.Left))
	}
	if e.Bad != "" {
		put("bad", string(e.Bad))
	}
	for _, v := range e.Others {
		put(v.Name, v.Value)
	}
	if len(b) > size {
		return nil, fmt.Errorf("%d bytes don't fit into a block of %d", len(b), size)
	}
	return append(b, bytes.Repeat([]byte("#"), size-len(b))...), nil
}

// ReadEnv reads the block in a file.
func ReadEnv(path string) (Env, error) {
	b, err := readSmall(path, envMax)
	if err != nil {
		return Env{}, fmt.Errorf("cannot read the boot loader's settings: %w", err)
	}
	e, err := DecodeEnv(b)
	if err != nil {
		return e, fmt.Errorf("cannot read the boot loader's settings in %s: %w", path, err)
	}
	return e, nil
}

// WriteEnv overwrites the block in a file, at once and where it is. It is on
// the medium when WriteEnv returns.
func WriteEnv(path string, e Env) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("cannot write the boot loader's settings: %w", err)
	}
	err = overwrite(f, e)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot write the boot loader's settings: %w", err)
	}
	return nil
}

func overwrite(f *os.File, e Env) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	b, err := e.Encode(int(min(st.Size(), envMax+1)))
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		return err
	}
	return f.Sync()
}
