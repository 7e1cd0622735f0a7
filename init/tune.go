package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// Errors and worse come to the consoles; the rest is in dmesg.
	consoleLevel = 4
	// For many initiators, each with a socket, and a file for each volume.
	maxFiles = 65536

	syslogConsoleLevel = 8 // SYSLOG_ACTION_CONSOLE_LEVEL, syslog(2)
)

// tune sets what is global to the kernel and what all processes inherit.
func tune(cmdline string) error {
	var failed []error
	if !wantsMessages(cmdline) {
		if _, err := unix.Klogctl(syslogConsoleLevel, make([]byte, consoleLevel)); err != nil {
			failed = append(failed, fmt.Errorf("cannot quieten the kernel: %w", err))
		}
	}
	// Without this, the kernel drops messages when more than ten come at once.
	// It wants the newline.
	if err := os.WriteFile("/proc/sys/kernel/printk_devkmsg", []byte("on\n"), 0); err != nil {
		failed = append(failed, fmt.Errorf("cannot open the kernel's log to init: %w", err))
	}
	limit := unix.Rlimit{Cur: maxFiles, Max: maxFiles}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		failed = append(failed, fmt.Errorf("cannot allow more open files: %w", err))
	}
	return errors.Join(failed...)
}

// wantsMessages reports whether the kernel's command line asks for its
// messages on the consoles.
func wantsMessages(cmdline string) bool {
	return slices.ContainsFunc(strings.Fields(cmdline), func(w string) bool {
		return w == "debug" || w == "ignore_loglevel" || strings.HasPrefix(w, "loglevel=")
	})
}

// extraConsoles are consoles beside the kernel's own: the first serial port, unless the kernel's command line says which
// there are.
func extraConsoles(cmdline string) []string {
	if slices.ContainsFunc(strings.Fields(cmdline), func(w string) bool { return strings.HasPrefix(w, "console=") }) {
		return nil
	}
	return []string{"ttyS0"}
}

// openKmsg opens the kernel's log for writing. It stays open for good.
func openKmsg() io.Writer {
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return io.Discard // the consoles have it, too
	}
	return f
}
