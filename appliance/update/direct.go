package update

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A Starter starts a kernel without the firmware and the boot loader: the machine's
// next restart in order goes straight into what was loaded (kexec).
type Starter interface {
	// Load reads both files to their ends.
	Load(kernel, initramfs *os.File, cmdline string) error
	// Unload forgets what was loaded.
	Unload() error
}

// What GRUB says of a trial on the kernel's command line; see grub.cfg in
// imagebuild/esp, which composes it.
const (
	trialMode  = "mode=" + string(Try)
	trialPanic = "panic=5"
)

// TrialCommandLine is the command line with which a slot is tried, from that of the
// system that runs. They differ only in what tells them apart.
func TrialCommandLine(running string, s Slot) string {
	var out []string
	for _, w := range strings.Fields(running) {
		switch key, _, _ := strings.Cut(w, "="); key {
		case "slot":
			w = "slot=" + string(s)
		case "mode":
			w = trialMode
		case "panic":
			w = trialPanic
		case "BOOT_IMAGE": // GRUB's name of the file
			continue
		}
		out = append(out, w)
	}
	return strings.Join(out, " ")
}

// Direct has the next restart go straight into the slot that is armed, without GRUB,
// and leaves the boot volume as GRUB would have: the trial is counted, so that
// whatever comes of it, the start after it is the active slot's. After an error
// nothing is loaded, and GRUB tries the slot, or the version before starts.
func (m *Manager) Direct(ctx context.Context, by Starter, running string) error {
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	now := m.get()
	s, err := now.Spend()
	if err != nil {
		return err
	}
	slot := s.Env.Next
	err = m.o.Volume.Use(ctx, false, func(dir string) error {
		d := dirOf(dir, slot)
		about, err := d.describe()
		if err != nil {
			return err
		}
		// The kernel reads what is in memory of the files after this.
		if err := d.verify(ctx, about, func(n string) string { return n }, func(int64) {}); err != nil {
			return err
		}
		return d.load(by, TrialCommandLine(running, slot))
	})
	if err != nil {
		return err
	}
	if err := m.save(s.Record); err != nil {
		m.o.Log.Warn("How the trial is started isn't kept", "error", err)
	}
	if err := m.spend(ctx, now.Env, s.Env); err != nil {
		return errors.Join(err, by.Unload(), m.save(now.Record))
	}
	m.set(s)
	return nil
}

func (d slotDir) load(by Starter, cmdline string) error {
	kernel, err := os.Open(d.path(KernelName))
	if err != nil {
		return err
	}
	defer kernel.Close()
	initramfs, err := os.Open(d.path(InitramfsName))
	if err != nil {
		return err
	}
	defer initramfs.Close()
	return by.Load(kernel, initramfs, cmdline)
}

// spend counts the trial, and reads that again from the medium, as GRUB does.
func (m *Manager) spend(ctx context.Context, before, e Env) error {
	if err := m.writeEnv(ctx, before, e); err != nil {
		return err
	}
	return m.o.Volume.Use(ctx, false, func(dir string) error {
		got, err := ReadEnv(filepath.Join(dir, EnvName))
		if err == nil && !envEqual(got, e) {
			err = fmt.Errorf("the stick doesn't keep the boot loader's settings: it has %+v, not %+v", got, e)
		}
		return err
	})
}
