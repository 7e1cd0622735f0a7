package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"sanstick/appliance/sys"
	"sanstick/init/internal/power"
)

// rescue is the last resort, when init itself has failed: it says so, and
// gives a shell on the console until that ends. It uses as little as it can,
// and never lets the process end.
func rescue(cause error) {
	defer func() { _ = recover() }()
	const console = "/dev/console"
	fmt.Fprintf(os.Stderr, "\ninit: cannot go on: %v\ninit: a shell follows; when it ends, init tries again\n", cause)

	// The machine can still be switched off, though not in order.
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPWR)
	defer signal.Stop(ch)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() { _ = recover() }()
		if err := rescueShell(console); err != nil {
			fmt.Fprintf(os.Stderr, "init: %v\n", err)
			<-time.After(10 * time.Second) // there may never be a shell: don't spin
		}
	}()
	for {
		select {
		case <-ended:
			return
		case sig := <-ch:
			syscall.Sync()
			var err error
			switch power.ForSignal(sig) {
			case power.Reboot:
				err = sys.KernelPower{}.Reboot()
			case power.PowerOff:
				err = sys.KernelPower{}.PowerOff()
			}
			if err != nil {
				fmt.Fprintf(os.Stderr, "init: %v\n", err)
			}
		}
	}
}

// rescueShell runs a shell and reaps whatever ends meanwhile.
func rescueShell(console string) error {
	tty, err := os.OpenFile(console, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return fmt.Errorf("cannot open console: %w", err)
	}
	fd := tty.Fd()
	pid, err := syscall.ForkExec("/bin/sh", []string{"sh"}, &syscall.ProcAttr{
		Dir: "/", Env: append(environ(), "TERM=linux"), Files: []uintptr{fd, fd, fd},
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0},
	})
	tty.Close()
	if err != nil {
		return fmt.Errorf("cannot start a shell: %w", err)
	}
	for {
		got, err := syscall.Wait4(-1, nil, 0, nil)
		switch {
		case got == pid:
			return nil
		case errors.Is(err, syscall.ECHILD): // somebody else reaped it
			return errors.New("the shell ended")
		}
	}
}
