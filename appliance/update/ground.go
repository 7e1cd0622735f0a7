package update

import (
	"context"
	"fmt"
	"path/filepath"
)

// Another stick may be in the place of the one that was booted, also between
// two steps of an update. So each Use that writes looks first whether the
// volume is what the step begins with: otherwise it could take from that stick
// the only system that it has. The same stick, pulled out and back, will do.

// write is Use for what changes the boot volume. What runs must be on it, so
// that it boots whatever happens to the other slot.
func (m *Manager) write(ctx context.Context, f func(dir string) error) error {
	return m.o.Volume.Use(ctx, true, func(dir string) error {
		if err := m.holdsRunning(dir); err != nil {
			return err
		}
		return f(dir)
	})
}

// writeEnv changes GRUB's environment block, which must be before now.
func (m *Manager) writeEnv(ctx context.Context, before, after Env) error {
	return m.write(ctx, func(dir string) error {
		if err := holdsEnv(dir, before); err != nil {
			return err
		}
		return WriteEnv(filepath.Join(dir, EnvName), after)
	})
}

func otherStick(format string, args ...any) error {
	return &Refusal{"the stick isn't as the one that this machine was started from: " + fmt.Sprintf(format, args...),
		"plug that one in, or restart from this one first"}
}

func (m *Manager) holdsRunning(dir string) error {
	slot, want := m.o.Boot.Slot, m.o.Running
	d, err := dirOf(dir, slot).describe()
	switch {
	case err != nil:
		return otherStick("version %s runs from slot %s, and there: %v", want.Version, slot, err)
	case d.Version != want.Version || !d.Time.Equal(want.Time):
		return otherStick("version %s of %s runs from slot %s, and there is version %s of %s", want.Version, want.Time, slot, d.Version, d.Time)
	}
	return nil
}

func holdsEnv(dir string, want Env) error {
	got, err := ReadEnv(filepath.Join(dir, EnvName))
	if err != nil {
		return err
	}
	if !envEqual(got, want) {
		return otherStick("the boot loader's settings are others")
	}
	return nil
}

// holdsWritten fails unless what was written for an update is in its slot.
func holdsWritten(dir string, r Record) error {
	d, err := dirOf(dir, r.Slot).describe()
	switch {
	case err != nil:
		return otherStick("version %s was put into slot %s, and there: %v", r.Version, r.Slot, err)
	case d.Version != r.Version:
		return otherStick("version %s was put into slot %s, and there is version %s", r.Version, r.Slot, d.Version)
	}
	return nil
}
