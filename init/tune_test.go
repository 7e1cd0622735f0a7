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
