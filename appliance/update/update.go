// Package update puts another version of the appliance into the slot that
// isn't running, has it booted on trial, and makes it permanent or goes back.
//
// The boot volume SANBOOT has two slots, the directories a and b, each with a
// kernel and an initramfs. GRUB boots the active one, or as often as it was
// told the next one; it counts before it boots, so that whatever happens to a
// trial, the boot after it is the active slot's again. A trial that finds the
// appliance healthy makes its slot the active one.
//
//	bundle.go   the file that an update comes in: signed, with hashes
//	env.go      what GRUB and the appliance tell each other
//	state.go    what an update goes through; pure
//	slots.go    the files of the slots
//	manager.go  does it: every step may be the last before a power cut
//	ground.go   whether the stick is still the one that a step begins with
//
// It imports nothing of sanstick: the boot volume and the place for its record
// are interfaces and functions of Options.
package update

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Slot is one of the two, "a" or "b"; empty is none.
type Slot string

// The slots, named like their directories.
const (
	SlotA Slot = "a"
	SlotB Slot = "b"
)

// Other returns the other slot.
func (s Slot) Other() Slot {
	if s == SlotA {
		return SlotB
	}
	return SlotA
}

func (s Slot) known() Slot {
	if s == SlotA || s == SlotB {
		return s
	}
	return ""
}

// Mode is how GRUB came to boot what runs.
type Mode string

// The modes.
const (
	Normal   Mode = "normal"   // the active slot
	Try      Mode = "try"      // the next one, on trial
	Fallback Mode = "fallback" // not what was to boot: a trial is over, or a slot couldn't be loaded
)

// Boot is what runs: what GRUB says of it on the kernel's command line, and
// which run of the machine it is.
type Boot struct {
	Slot Slot
	Mode Mode
	ID   string // the kernel's boot_id
}

// ParseBoot reads the kernel's command line, which doesn't tell the ID. ok is
// false if the machine wasn't booted from a slot, but from a CD, say.
func ParseBoot(cmdline string) (b Boot, ok bool) {
	for _, w := range strings.Fields(cmdline) {
		switch key, value, _ := strings.Cut(w, "="); key {
		case "slot":
			b.Slot = Slot(value).known()
		case "mode":
			b.Mode = Mode(value)
		}
	}
	switch b.Mode {
	case Normal, Try, Fallback:
		return b, b.Slot != ""
	}
	return Boot{}, false
}

// readSmall reads a file of at most limit bytes.
func readSmall(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(b)) > limit:
		return nil, fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return b, nil
}

// ErrRefused marks what a person asked for and can't have; the text says why.
var ErrRefused = errors.New("refused")

// Refusal is an error with what to do about it. It is an ErrRefused.
type Refusal struct{ What, Do string }

func (r *Refusal) Error() string {
	if r.Do == "" {
		return r.What
	}
	return r.What + "; " + r.Do
}

// Is makes it an ErrRefused.
func (r *Refusal) Is(target error) bool { return target == ErrRefused }
