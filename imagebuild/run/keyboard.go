package run

import (
	"context"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"sanstick/imagebuild/qemu"
)

// Keys with a meaning of their own.
const (
	ctrlA = 0x01 // the next key is for us, as in QEMU and screen
	ctrlC = 0x03
)

// keyboard passes the keys of a terminal to the machine. Without a terminal it does nothing.
type keyboard struct {
	tty   *os.File // nil: not a terminal
	saved unix.Termios
	wake  [2]int // a pipe that ends feed
	once  sync.Once
}

// openKeyboard takes over a terminal: each key at once, no echo, Ctrl-C is a key. Output stays as it is.
func openKeyboard(f *os.File) *keyboard {
	if f == nil {
		return &keyboard{}
	}
	saved, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return &keyboard{} // a file or a pipe
	}
	k := &keyboard{tty: f, saved: *saved}
	raw := *saved
	raw.Iflag &^= unix.BRKINT | unix.ICRNL | unix.INLCR | unix.IGNCR | unix.ISTRIP | unix.IXON
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if unix.Pipe2(k.wake[:], unix.O_CLOEXEC) != nil {
		return &keyboard{}
	}
	if unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, &raw) != nil {
		// We are in the background: leave the terminal alone.
		k.closePipe()
		return &keyboard{}
	}
	return k
}

func (k *keyboard) interactive() bool { return k.tty != nil }

// restore gives the terminal back and ends feed.
func (k *keyboard) restore() {
	if k.tty == nil {
		return
	}
	k.once.Do(func() {
		_ = unix.IoctlSetTermios(int(k.tty.Fd()), unix.TCSETS, &k.saved)
		_ = unix.Close(k.wake[1])
	})
}

func (k *keyboard) closePipe() {
	_ = unix.Close(k.wake[0])
	_ = unix.Close(k.wake[1])
}

// feed types the keys on the machine's console until restore. The first Ctrl-C calls stop, the second closes kill.
func (k *keyboard) feed(vm *qemu.VM, stop context.CancelFunc, kill chan<- struct{}) {
	if k.tty == nil {
		return
	}
	defer unix.Close(k.wake[0])
	var keys filter
	buf := make([]byte, 256)
	for k.readable() {
		n, err := unix.Read(int(k.tty.Fd()), buf)
		if err != nil || n == 0 {
			return
		}
		typed, interrupts := keys.filter(buf[:n])
		for range interrupts {
			stop()
			if keys.interrupted++; keys.interrupted == 2 {
				close(kill)
			}
		}
		if len(typed) > 0 && vm.Write(typed) != nil {
			return // the machine has ended
		}
	}
}

// readable waits for a key; false means restore was called.
func (k *keyboard) readable() bool {
	fds := []unix.PollFd{
		{Fd: int32(k.tty.Fd()), Events: unix.POLLIN},
		{Fd: int32(k.wake[0]), Events: unix.POLLIN},
	}
	for {
		if _, err := unix.Poll(fds, -1); err != nil {
			if err == unix.EINTR {
				continue
			}
			return false
		}
		return fds[1].Revents == 0
	}
}

// filter takes out the keys that are for us.
type filter struct {
	escaped     bool // the last key was Ctrl-A
	interrupted int  // how many Ctrl-C came
}

// filter returns the keys for the machine and how often Ctrl-C was typed. Ctrl-A C is a Ctrl-C for the machine, Ctrl-A
// Ctrl-A is a Ctrl-A.
func (f *filter) filter(in []byte) (typed []byte, interrupts int) {
	for _, b := range in {
		switch {
		case f.escaped:
			f.escaped = false
			if b == 'c' || b == 'C' {
				b = ctrlC
			}
			typed = append(typed, b)
		case b == ctrlA:
			f.escaped = true
		case b == ctrlC:
			interrupts++
		default:
			typed = append(typed, b)
		}
	}
	return typed, interrupts
}
