package main

import "testing"

func TestWantsMessages(t *testing.T) {
	for cmdline, want := range map[string]bool{
		"":                                  false,
		"console=tty0 quiet panic=10\n":     false,
		"console=tty0 debug\n":              true,
		"loglevel=7 console=tty0":           true,
		"ignore_loglevel":                   true,
		"nodebug systemd.debug x=loglevel=": false,
	} {
		if got := wantsMessages(cmdline); got != want {
			t.Errorf("wantsMessages(%q) = %v, want %v", cmdline, got, want)
		}
	}
}

func TestExtraConsoles(t *testing.T) {
	for cmdline, want := range map[string]int{"": 1, "quiet panic=10\n": 1, "console=tty0 quiet": 0, "x console=ttyS1,9600\n": 0} {
		if got := extraConsoles(cmdline); len(got) != want {
			t.Errorf("extraConsoles(%q) = %q, want %d", cmdline, got, want)
		}
	}
}
